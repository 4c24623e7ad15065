"""Pods are created and deleted many at a time, those of one pod in order; what becomes of it goes back as an event."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from owmesos.kubernetes.effects import DeletePod, PostPod
from owmesos.kubernetes.events import ApiFailure, DeleteRejected, KubernetesEvent, PodCreated, PostRejected
from owmesos.kubernetes.messages import ObjectMeta, Pod
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.service.kubernetes.api_pauses import ApiPauses
from owmesos.service.kubernetes.outbox import PodOutbox
from owmesos.system.clock import process_time
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


async def test_many_rejections_are_one_pause_one_line_and_fewer_requests_at_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene(at_once=4)
    for name in "abcdefgh":
        scene.api.failures[f"post {name}"] = failed(429, "TooManyRequests", certain=True, retry_after=0.2)
        scene.post(name)
    await scene.begun(*(f"post {name}" for name in "abcd"))
    scene.api.let(*(f"post {name}" for name in "abcd"))
    await scene.begun(*(f"post {name}" for name in "abcdef"))  # two at once after it
    said = scene.outbox.pauses.text(process_time())
    assert said is not None
    assert said.startswith("4 requests for pods were rejected since ")
    assert said.endswith(": said")
    del scene.api.failures["post e"], scene.api.failures["post f"]
    scene.api.let("post e")
    await scene.begun(*(f"post {name}" for name in "abcdefgh"))  # each that is done allows one more
    scene.api.failures.clear()
    scene.api.let(*(f"post {name}" for name in "fgh"))
    await eventually_async(lambda: len(scene.told) == 8)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    await scene.outbox.close()


async def test_the_next_outage_is_told_anew(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    pauses, busy = ApiPauses(32), ApiFailure(429, "TooManyRequests", "later", True)
    for now in (100.0, 101.5, 128.0):
        pauses.wanted(busy, now)
        assert pauses.until == now + 1.0  # which it is without a Retry-After
        pauses.done(now + 2.0)
    assert pauses.text(150.0) is not None
    pauses.done(160.0)
    assert (pauses.text(160.0), len(caplog.records)) == (None, 2)
    assert caplog.records[1].message == "the API server takes requests again; it has rejected 3"
    pauses.wanted(busy, 161.0)
    assert len(caplog.records) == 3


async def test_a_denial_wants_no_pause_whatever_its_status() -> None:
    scene = Scene()
    denied = ApiFailure(429, "TooManyRequests", 'admission webhook "policy" denied the request: no', True, 60.0)
    scene.api.failures["post a"] = ApiRequestFailed(denied)
    scene.post("a")
    scene.api.let("post a", "post b")
    await eventually_async(lambda: len(scene.told) == 1)
    scene.post("b")
    await eventually_async(lambda: len(scene.told) == 2)
    await scene.outbox.close()


async def test_what_waits_can_be_withdrawn_and_what_was_sent_cannot() -> None:
    scene = Scene(at_once=1)
    for name in "abc":
        scene.post(name)
    scene.delete("c")
    await scene.begun("post a")
    for name in "abcd":
        scene.outbox.withdraw(name)
    await eventually_async(lambda: len(scene.told) == 2)
    rejected = {each.name: each.failure for each in scene.told if isinstance(each, PostRejected)}
    assert {name: (each.reason, each.certain) for name, each in rejected.items()} == {
        "b": ("Withdrawn", True),
        "c": ("Withdrawn", True),
    }
    scene.api.let("post a", "delete c")
    await scene.begun("post a", "delete c")
    await scene.outbox.close()


async def test_at_the_end_what_was_asked_for_is_still_sent() -> None:
    scene = Scene(at_once=1)
    scene.delete("a")
    scene.delete("b")
    scene.api.let("delete a", "delete b")
    await scene.outbox.close()
    assert scene.api.ended == ["delete a", "delete b"]
