"""Pods are created and deleted many at a time, those of one pod in order; what becomes of it goes back as an event."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from owmesos.kubernetes.effects import DeletePod, PostPod
from owmesos.kubernetes.events import ApiFailure, DeleteRejected, KubernetesEvent, PodCreated, PostRejected
from owmesos.kubernetes.messages import ObjectMeta, Pod
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.service.kubernetes.outbox import PodOutbox
from tests.waiting import eventually_async


class HeldApi:
    """Requests wait until the test lets them go on. `begun` and `ended` name them in their order."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.failures: dict[str, Exception] = {}
        self.held: dict[str, asyncio.Event] = {}

    def let(self, *requests: str) -> None:
        for each in requests:
            self.held.setdefault(each, asyncio.Event()).set()

    async def post_pod(self, namespace: str, body: Mapping[str, Any]) -> Pod:
        await self._request(f"post {body['name']}")
        return Pod(metadata=ObjectMeta(name=body["name"], namespace=namespace))

    async def delete_pod(self, namespace: str, name: str, *, uid: str | None, grace: int) -> None:
        await self._request(f"delete {name}")

    async def _request(self, text: str) -> None:
        self.begun.append(text)
        await self.held.setdefault(text, asyncio.Event()).wait()
        self.ended.append(text)
        if text in self.failures:
            raise self.failures[text]


class Scene:
    def __init__(self, at_once: int = 32) -> None:
        self.api = HeldApi()
        self.told: list[KubernetesEvent] = []
        self.outbox = PodOutbox(self.api, "default", self.told.append, at_once=at_once)

    def post(self, name: str) -> None:
        self.outbox.send(PostPod(name, {"name": name}))

    def delete(self, name: str) -> None:
        self.outbox.send(DeletePod(name, None, 2))

    async def begun(self, *requests: str) -> None:
        """Exactly these."""
        await eventually_async(lambda: len(self.api.begun) >= len(requests))
        assert sorted(self.api.begun) == sorted(requests)


def failed(status: int, reason: str, *, certain: bool, retry_after: float | None = None) -> ApiRequestFailed:
    return ApiRequestFailed(ApiFailure(status, reason, "said", certain, retry_after))


async def test_requests_for_different_pods_do_not_wait_for_each_other() -> None:
    scene = Scene()
    scene.post("a")
    scene.delete("b")
    scene.post("c")
    await scene.begun("post a", "delete b", "post c")
    scene.api.let("post c")
    await eventually_async(lambda: len(scene.told) == 1)
    assert scene.api.ended == ["post c"]
    scene.api.let("post a", "delete b")
    await scene.outbox.close()


async def test_a_pod_is_not_deleted_before_its_creation_was_answered() -> None:
    scene = Scene()
    scene.post("a")
    scene.delete("a")
    scene.post("b")
    await scene.begun("post a", "post b")
    scene.api.let("post a", "post b", "delete a")
    await eventually_async(lambda: scene.api.ended[-1:] == ["delete a"])
    assert [type(each) for each in scene.told] == [PodCreated, PodCreated]
    await scene.outbox.close()


async def test_only_so_many_are_under_way() -> None:
    scene = Scene(at_once=2)
    for name in "abcd":
        scene.post(name)
    await scene.begun("post a", "post b")
    scene.api.let("post b")
    await scene.begun("post a", "post b", "post c")
    scene.api.let("post a", "post c", "post d")
    await eventually_async(lambda: len(scene.told) == 4)
    assert scene.api.begun == ["post a", "post b", "post c", "post d"]
    await scene.outbox.close()


async def test_an_error_is_told_as_it_is() -> None:
    scene = Scene()
    scene.api.failures = {
        "post a": failed(409, "AlreadyExists", certain=True),
        "post b": failed(0, "Timeout", certain=False),
        "delete c": failed(404, "NotFound", certain=True),
        "post d": RuntimeError("a fault of ours"),
    }
    for name in "abd":
        scene.post(name)
    scene.delete("c")
    scene.api.let(*scene.api.failures)
    await eventually_async(lambda: len(scene.told) == 4)
    rejected = [each for each in scene.told if isinstance(each, (PostRejected, DeleteRejected))]
    told = {(type(each), each.name): each.failure for each in rejected}
    assert told[PostRejected, "a"].reason == "AlreadyExists"
    assert (told[PostRejected, "b"].reason, told[PostRejected, "b"].certain) == ("Timeout", False)
    assert told[DeleteRejected, "c"].status == 404
    assert not told[PostRejected, "d"].certain  # it may have been created
    assert scene.outbox.counts == {
        ("create", "AlreadyExists"): 1,
        ("create", "Timeout"): 1,
        ("create", "InternalError"): 1,
        ("delete", "NotFound"): 1,
    }


async def test_nothing_is_sent_while_the_api_server_wants_a_pause() -> None:
    scene = Scene()
    scene.api.failures["post a"] = failed(429, "TooManyRequests", certain=True, retry_after=0.3)
    scene.post("a")
    scene.api.let("post a", "post b")
    await eventually_async(lambda: len(scene.told) == 1)
    began = asyncio.get_running_loop().time()
    scene.post("b")
    assert scene.api.begun == ["post a"]
    await eventually_async(lambda: len(scene.told) == 2)
    assert asyncio.get_running_loop().time() - began >= 0.25
    await scene.outbox.close()


async def test_at_the_end_what_was_asked_for_is_still_sent() -> None:
    scene = Scene(at_once=1)
    scene.delete("a")
    scene.delete("b")
    scene.api.let("delete a", "delete b")
    await scene.outbox.close()
    assert scene.api.ended == ["delete a", "delete b"]
