"""OpenWhisk in one process: actions that are put, changed and invoked, by the class and over the admin API."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import secrets
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from owmesos.core.pool.settings import PoolSettings
from owmesos.errors import Ambiguous, InvalidInput
from owmesos.invoker.action_rules import MAX_CODE, WantedAction, WantedCode, WantedLimits, WantedParameter
from owmesos.invoker.invoker import CANCELLED
from owmesos.invoker.no_controller import MAX_PARAMETERS
from owmesos.invoker.routes import add_routes
from owmesos.invoker.standalone import ActionExists, CannotCancel, Standalone
from owmesos.openwhisk.activation import APPLICATION_ERROR, WHISK_ERROR
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.manifest import StemCell
from owmesos.openwhisk.results import decode_result
from owmesos.openwhisk.store.journal_batch import JournalFailed
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from owmesos.service.admin import AdminServer
from owmesos.service.errors import NotKnown
from owmesos.service.framework import Framework
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.storage import SQLiteStore
from tests.fakes.memory_cluster import MemoryCluster
from tests.fixtures.admin import AUTHORIZED, TOKENS
from tests.fixtures.task_ports import TaskPorts
from tests.waiting import eventually_async

ECHO = "def main(args):\n    print('said')\n    return {'got': args}"
SLEEPS = "__import__('time').sleep(60)"
SLOW = "import time\ndef main(args):\n    time.sleep(60)\n    return {}"
HUGE = "import sys\ndef main(args):\n    sys.set_int_max_str_digits(0)\n    return {'n': 10 ** 5000}"
VARIABLE = "import os\ndef main(args):\n    return {'got': [args, os.environ.get('SECRET')]}"


def wanted(code: str = ECHO, **limits: int) -> WantedAction:
    return WantedAction(WantedCode("python:default", code), WantedLimits(**limits))


@pytest.fixture(scope="module")
def cluster(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=2, resources=task_ports.resources(2, "cpus:4;mem:2048;disk:1024")) as cluster:
        yield cluster


@pytest.fixture
async def standalone(cluster: SimulatedCluster) -> AsyncIterator[Standalone]:
    standalone = Standalone()
    async with Framework(master=cluster.master, name="standalone", pool=standalone.pool) as framework:
        await standalone.start(framework)
        yield standalone
        await standalone.close()


async def test_it_runs_on_a_cluster_that_is_not_mesos(tmp_path: Path) -> None:
    standalone = Standalone()
    async with MemoryCluster(standalone.pool, tmp_path) as cluster:
        await standalone.start(cluster)
        await standalone.put_action("hello", wanted())
        invoked = await standalone.invoke("hello", {"n": 1})
        assert invoked.result == {"got": {"n": 1}}
        record = await standalone.ended(invoked.activation_id)
        assert [line.partition("stdout: ")[2] for line in record.logs] == ["said"]
        assert standalone.counts().cold == 1
        await standalone.close()
        assert not standalone.counts().running


class TestActions:
    async def test_an_action_is_got_as_it_was_put(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted(memory=128))
        found = await standalone.action("hello")
        assert (found.namespace, found.name, found.version) == ("guest", "hello", "0.0.1")
        assert (found.exec.kind, found.exec.code) == ("python:3", ECHO)
        assert msgspec.structs.astuple(found.limits) == (60_000, 128, 10, 1)
        assert found.annotation("exec") == "python:3"
        assert [each.exec.code for each in standalone.actions()] == [None]

    async def test_an_update_keeps_what_it_does_not_name(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", WantedAction(wanted().exec, parameters=[WantedParameter("a", 1)]))
        await standalone.put_action("hello", WantedAction(limits=WantedLimits(timeout=1000)))
        found = await standalone.action("hello")
        assert (found.version, found.exec.code, found.limits.timeout) == ("0.0.2", ECHO, 1000)
        assert found.parameters == [{"key": "a", "value": 1}]

    async def test_what_is_there_is_only_changed_on_purpose(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted(), overwrite=False)
        with pytest.raises(ActionExists, match="hello already exists"):
            await standalone.put_action("hello", wanted("other"), overwrite=False)
        assert (await standalone.action("hello")).exec.code == ECHO

    async def test_a_deleted_action_is_not_known(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        await standalone.delete_action("hello")
        assert standalone.actions() == []
        for attempt in (standalone.action("hello"), standalone.delete_action("hello"), standalone.invoke("hello")):
            with pytest.raises(NotKnown, match="unknown action hello"):
                await attempt

    @pytest.mark.parametrize("name", ["a", "a b", "_a-b.c@d", "9", "x" * 256])
    async def test_names_that_openwhisk_takes(self, standalone: Standalone, name: str) -> None:
        await standalone.put_action(name, wanted())
        assert (await standalone.invoke(name)).result == {"got": {}}

    @pytest.mark.parametrize("name", ["", " a", "a ", "-a", "a/b", "a\n", "é", "x" * 257])
    async def test_names_that_it_does_not(self, standalone: Standalone, name: str) -> None:
        with pytest.raises(InvalidInput, match="is not a valid name of an action"):
            await standalone.put_action(name, wanted())

    @pytest.mark.parametrize(
        ("action", "says"),
        [
            (wanted(memory=127), "memory must be 128 to .* MB, not 127"),
            (wanted(timeout=99), "timeout must be 100 to 600000 ms, not 99"),
            (wanted(timeout=600_001), "timeout must be"),
            (wanted(logs=11), "logs must be 0 to 10 MB, not 11"),
            (wanted(concurrency=0), "concurrency must be 1 to 500, not 0"),
            (WantedAction(WantedCode("cobol:1", "x")), "unknown kind 'cobol:1'; the manifest has python:3"),
            (WantedAction(WantedCode("blackbox", "x")), "unknown kind 'blackbox'"),
            (wanted(" \n"), "the code is empty"),
            (wanted("x" * (MAX_CODE + 1)), "the code is 48.0 MB; at most 48 MB are allowed"),
            (WantedAction(WantedCode("python:3", "é", True)), "binary code is not valid base64"),
            (WantedAction(), "unknown action hello: a new action needs code"),
        ],
    )
    async def test_what_cannot_be_deployed(self, standalone: Standalone, action: WantedAction, says: str) -> None:
        with pytest.raises(InvalidInput, match=says):
            await standalone.put_action("hello", action)
        assert standalone.actions() == []

    async def test_actions_and_records_outlive_the_process(self, cluster: SimulatedCluster, tmp_path: Path) -> None:
        ids: list[str] = []
        for _ in range(2):
            standalone = Standalone(tmp_path)
            async with Framework(master=cluster.master, name="again", pool=standalone.pool) as framework:
                await standalone.start(framework)
                if not standalone.actions():
                    await standalone.put_action("hello", wanted())
                ids.append((await standalone.invoke("hello")).activation_id)
                await standalone.ended(ids[-1])
                await standalone.close()
        assert len(ids) == 2
        standalone = Standalone(tmp_path)
        async with Framework(master=cluster.master, name="again", pool=standalone.pool) as framework:
            await standalone.start(framework)
            assert [each.activation_id for each in await standalone.activations()] == ids[::-1]
            await standalone.close()

    async def test_a_folder_that_cannot_be_used_is_said(self, cluster: SimulatedCluster, tmp_path: Path) -> None:
        standalone = Standalone(tmp_path / "none")
        async with Framework(master=cluster.master, name="none", pool=standalone.pool) as framework:
            with pytest.raises(JournalFailed, match="cannot be used"):
                await standalone.start(framework)
            await standalone.close()


class TestInvocations:
    async def test_parameters_are_laid_over_the_actions_own(self, standalone: Standalone) -> None:
        own = [WantedParameter("a", 1), WantedParameter("b", {"c": 2})]
        await standalone.put_action("hello", WantedAction(wanted().exec, parameters=own))
        assert (await standalone.invoke("hello", {"a": "x"})).result == {"got": {"a": "x", "b": {"c": 2}}}

    async def test_a_parameter_for_init_becomes_a_variable(self, standalone: Standalone) -> None:
        own = [WantedParameter("SECRET", "s", init=True), WantedParameter("a", 1)]
        await standalone.put_action("hello", WantedAction(wanted(VARIABLE).exec, parameters=own))
        assert (await standalone.invoke("hello")).result == {"got": [{"a": 1}, "s"]}

    async def test_a_number_that_python_does_not_read_is_text(self, standalone: Standalone) -> None:
        await standalone.put_action("huge", wanted(HUGE))
        invoked = await standalone.invoke("huge")
        assert invoked.result == {"n": "1" + "0" * 5000}
        record = await standalone.activation(invoked.activation_id)
        assert decode_result(record.response.result) == invoked.result

    @pytest.mark.parametrize("logs", [0, 10])
    async def test_a_half_of_a_surrogate_pair_is_text_as_any_other(self, standalone: Standalone, logs: int) -> None:
        await standalone.put_action("half", WantedAction(wanted().exec, WantedLimits(logs=logs)))
        invoked = await standalone.invoke("half", {"a": "\ud800"}, key="k")
        assert invoked.result == {"got": {"a": "\ud800"}}
        record = await standalone.activation(invoked.activation_id)
        assert decode_result(record.response.result) == invoked.result

    async def test_a_zip_file_runs(self, standalone: Standalone, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.writestr("__main__.py", "from other import N\ndef entry(args):\n    return {'n': N}")
            file.writestr("other.py", "N = 7")
        code = base64.b64encode((tmp_path / "a.zip").read_bytes()).decode()
        await standalone.put_action("zip", WantedAction(WantedCode("python:3", code, True, "entry")))
        assert (await standalone.invoke("zip")).result == {"n": 7}

    async def test_who_does_not_wait_gets_the_id_and_finds_the_record_later(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        invoked = await standalone.invoke("hello", {"n": 1}, blocking=False)
        assert (invoked.activation, invoked.result) == (None, None)
        record = await standalone.ended(invoked.activation_id)
        assert decode_result(record.response.result) == {"got": {"n": 1}}
        assert [line[31:] for line in record.logs] == ["stdout: said"]

    async def test_a_record_asked_for_at_once_has_its_log(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        for _ in range(5):
            invoked = await standalone.invoke("hello")
            (last,) = await standalone.activations(limit=1)
            assert (last.activation_id, [line[31:] for line in last.logs]) == (invoked.activation_id, ["stdout: said"])
            invoked = await standalone.invoke("hello")
            assert [line[31:] for line in (await standalone.activation(invoked.activation_id)).logs] == ["stdout: said"]

    async def test_a_result_that_does_not_come_in_time_comes_later(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted(SLOW, timeout=1000))
        invoked = await standalone.invoke("hello", wait=0.1)
        assert invoked.activation is None
        with pytest.raises(NotKnown, match=r"still (running|waits for a container): it has no record, result or log"):
            await standalone.activation(invoked.activation_id)
        record = await standalone.ended(invoked.activation_id)
        assert "exceeded its time limits" in str(decode_result(record.response.result))

    async def test_an_update_runs_from_then_on(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        await standalone.invoke("hello")
        await standalone.put_action("hello", wanted("def main(args):\n    return {'new': 1}"))
        assert (await standalone.invoke("hello")).result == {"new": 1}

    async def test_parameters_that_are_too_large(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        with pytest.raises(InvalidInput, match="bytes; at most"):
            await standalone.invoke("hello", {"a": "x" * MAX_PARAMETERS})

    async def test_the_last_records_come_first(self, standalone: Standalone) -> None:
        for name in ("one", "two"):
            await standalone.put_action(name, wanted(logs=0))
        ids = [(await standalone.invoke(name)).activation_id for name in ("one", "two", "one", "one")]
        await standalone.activation(ids[-1])
        assert [each.activation_id for each in await standalone.activations()] == ids[::-1]
        found = await standalone.activations(name="one", limit=1, skip=1)
        assert [each.activation_id for each in found] == [ids[2]]

    async def test_what_has_not_ended_at_the_end_is_told_and_kept(
        self, cluster: SimulatedCluster, tmp_path: Path
    ) -> None:
        began = tmp_path / "began"
        standalone = Standalone(tmp_path)
        async with Framework(master=cluster.master, name="end", pool=standalone.pool) as framework:
            await standalone.start(framework)
            await standalone.put_action(
                "hello", wanted(f"def main(args):\n    open({str(began)!r}, 'w')\n    {SLEEPS}")
            )
            waiting = asyncio.ensure_future(standalone.invoke("hello"))
            await eventually_async(began.exists)
            await standalone.close()
            invoked = await waiting
        store = EmbeddedStore(tmp_path, standalone.manifest)
        record = await store.activation(invoked.activation_id)
        await store.close()
        assert record is not None
        assert invoked.result == decode_result(record.response.result)
        assert invoked.result == {"error": "The invoker was stopped before the activation ended."}
        assert record.response.status_code == WHISK_ERROR


class TestUnfinished:
    """Activations that wait or run."""

    @pytest.fixture
    async def waiting(self, standalone: Standalone) -> str:
        """One for which the others leave no room."""
        await standalone.put_action("slow", wanted(SLOW, memory=512))
        for _ in range(6):
            await standalone.invoke("slow", blocking=False)
        await eventually_async(lambda: standalone.counts().running == 6)
        return (await standalone.invoke("slow", blocking=False)).activation_id

    async def test_they_are_listed_the_last_first_with_the_reason(self, standalone: Standalone, waiting: str) -> None:
        await eventually_async(lambda: standalone.counts().waiting == 1)
        first, *others = standalone.unfinished()
        assert (first["activationId"], first["state"], first["end"]) == (waiting, "waiting", None)
        assert " MB short" in (first["summary"] or "")
        assert {(row["state"], row["summary"]) for row in others} == {("running", None)}
        assert all(row["containerId"] for row in others)
        assert standalone.unfinished(limit=2, skip=1) == others[:2]
        assert standalone.unfinished(name="other") == []

    async def test_one_that_waits_can_be_cancelled_and_its_caller_hears_of_it(
        self, standalone: Standalone, waiting: str
    ) -> None:
        caller = asyncio.ensure_future(standalone.invoke("slow"))
        await eventually_async(lambda: standalone.counts().waiting == 2)
        second = next(row["activationId"] for row in standalone.unfinished() if row["activationId"] != waiting)
        record = await standalone.cancel(second)
        assert record.response.status_code == APPLICATION_ERROR
        assert record.annotation("kind") == "python:3"
        assert (await caller).result == {"error": CANCELLED}
        assert standalone.counts().waiting == 1
        with pytest.raises(CannotCancel, match=f"{second} has ended already"):
            await standalone.cancel(second)
        with pytest.raises(NotKnown):
            await standalone.cancel("f" * 32)

    async def test_one_that_was_just_received_can_be_cancelled_too(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        activation_id = (await standalone.invoke("hello", blocking=False)).activation_id
        record = await standalone.cancel(activation_id)
        assert decode_result(record.response.result) == {"error": CANCELLED}  # type: ignore[arg-type]
        assert (await standalone.invoke("hello")).result == {"got": {}}

    async def test_one_that_runs_cannot(self, standalone: Standalone, waiting: str) -> None:
        running = standalone.unfinished()[-1]["activationId"]
        with pytest.raises(CannotCancel, match="has begun already"):
            await standalone.cancel(running)
        assert standalone.counts().running == 6

    async def test_their_story_and_that_of_one_that_has_ended(self, standalone: Standalone, waiting: str) -> None:
        story = await standalone.story(waiting[:10])
        assert story is not None
        assert (story["activation_id"], story["state"]) == (waiting, "waiting")
        assert [line["state"] for line in story["story"]] == ["received", "waiting"]
        running = await standalone.story(standalone.unfinished()[-1]["activationId"])
        assert running is not None
        assert [line["state"] for line in running["story"]] == ["received", "running"]
        assert running["container_id"] is not None
        await standalone.cancel(waiting)
        ended = await standalone.story(waiting)
        assert ended is not None
        assert [line["state"] for line in ended["story"]] == ["received", "waiting", "ended"]
        received, waited, end = (line["text"] for line in ended["story"])
        assert ended["story"][0] == story["story"][0]
        assert received == "received for guest/slow"
        assert re.fullmatch(r"waited \d+ ms for a container, and got none", waited)
        assert end == f"failed: {CANCELLED}"
        assert await standalone.story("f" * 32) is None

    async def test_a_beginning_that_one_that_has_ended_has_too_is_ambiguous(
        self, standalone: Standalone, waiting: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the story or the log would be that of the one that waits or runs, and nothing would say so."""
        begin, made = waiting[:8], secrets.token_hex
        monkeypatch.setattr(secrets, "token_hex", lambda size: f"{begin}{made(size)[8:]}")
        ended = (await standalone.invoke("slow", blocking=False)).activation_id
        await standalone.cancel(ended)
        for ask in (standalone.whole_id, standalone.story, standalone.find):
            with pytest.raises(Ambiguous, match=f"{begin} is ambiguous: "):
                await ask(begin)
        assert await standalone.whole_id(waiting[:16]) == waiting

    async def test_the_beginning_of_an_id_is_enough_where_one_has_it(self, standalone: Standalone) -> None:
        await standalone.put_action("hello", wanted())
        ids = [(await standalone.invoke("hello")).activation_id for _ in range(17)]  # two begin alike
        assert await standalone.find(ids[0][:-1]) == ids[0]
        with pytest.raises(NotKnown):
            await standalone.find("x")
        twice = next(each[0] for each in ids if sum(other[0] == each[0] for other in ids) > 1)
        with pytest.raises(Ambiguous, match=f"{twice} is ambiguous: "):
            await standalone.find(twice)


class TestEnd:
    async def test_containers_end_with_the_process(self, cluster: SimulatedCluster, tmp_path: Path) -> None:
        standalone = Standalone(tmp_path)
        async with Framework(master=cluster.master, name="end", state=tmp_path, pool=standalone.pool) as framework:
            await standalone.start(framework)
            await standalone.put_action("hello", wanted())
            await standalone.invoke("hello")
            await standalone.close()
            assert {each["state"] for each in framework.launches()} == {"KILLED"}
            await framework.teardown()

    async def test_containers_that_outlast_it_are_said(
        self, cluster: SimulatedCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        standalone = Standalone(tmp_path)
        async with Framework(master=cluster.master, name="end", pool=standalone.pool) as framework:
            await standalone.start(framework)
            await standalone.put_action("hello", wanted())
            await standalone.invoke("hello")
            cluster.kill("master")
            await eventually_async(lambda: not framework.subscribed)
            await standalone.close()
            cluster.start("master")
            await eventually_async(lambda: framework.subscribed)
        assert "not all containers have ended yet: those that were told to are killed" in caplog.text

    async def test_after_a_teardown_nothing_is_left_to_stop(
        self, cluster: SimulatedCluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        standalone = Standalone(tmp_path)
        async with Framework(master=cluster.master, name="end", state=tmp_path, pool=standalone.pool) as framework:
            await standalone.start(framework)
            await standalone.put_action("hello", wanted())
            await standalone.invoke("hello")
            await framework.teardown()
            await standalone.close()
        store = SQLiteStore(tmp_path)
        assert store.load()[:3] == (None, [], [])
        store.close()
        assert "not all containers" not in caplog.text


class TestCounts:
    async def test_each_start_is_counted_by_its_kind(self, cluster: SimulatedCluster) -> None:
        standalone = Standalone(manifest=embedded_manifest(stem_cells=(StemCell("128 MB", 1),)))
        async with Framework(master=cluster.master, name="counts", pool=standalone.pool) as framework:
            await standalone.start(framework)
            await eventually_async(lambda: {each["state"] for each in framework.containers()} == {"prewarmed"})
            await standalone.put_action("small", wanted(memory=128, logs=0))
            await standalone.put_action("large", wanted(memory=300, logs=0))
            for name in ("small", "small", "large", "large", "large"):
                await standalone.invoke(name)
            counts = standalone.counts()
            assert (counts.prewarmed, counts.cold, counts.warm) == (1, 1, 3)
            assert (counts.evicted, counts.failed, counts.waiting, counts.running) == (0, 0, 0, 0)
            await standalone.close()

    async def test_containers_that_made_room_are_counted(self, cluster: SimulatedCluster) -> None:
        standalone = Standalone(settings=PoolSettings(idle_grace=0.0))
        async with Framework(master=cluster.master, name="room", pool=standalone.pool) as framework:
            await standalone.start(framework)
            for name in ("one", "two", "three"):
                await standalone.put_action(name, wanted(memory=1500, logs=0))
            for name in ("one", "two"):  # each has an agent to itself
                await standalone.invoke(name)
            assert standalone.counts().evicted == 0
            assert (await standalone.invoke("three", {"n": 1})).result == {"got": {"n": 1}}
            counts = standalone.counts()
            assert (counts.cold, counts.evicted) == (3, 1)
            await standalone.close()


# -- over HTTP


class Api:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def __call__(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, kind: str = "application/json"
    ) -> tuple[int, Any]:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        headers = {} if data is None else {"Content-Type": kind}
        sent = None if data is None else io.BytesIO(data)
        async with self._session.request(method, f"{self._url}/api/v1/{path}", data=sent, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()


@pytest.fixture
async def api(cluster: SimulatedCluster) -> AsyncIterator[Api]:
    standalone = Standalone(add_routes=add_routes)
    async with Framework(master=cluster.master, name="api", pool=standalone.pool) as framework:
        await standalone.start(framework)
        server = AdminServer("127.0.0.1", 0)
        await server.start(framework, TOKENS, standalone)
        async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
            yield Api(server.url, session)
        await server.stop()
        await standalone.close()


PUT = {"exec": {"kind": "python:default", "code": ECHO}}


class TestApi:
    async def test_an_action_from_its_making_to_its_end(self, api: Api) -> None:
        status, made = await api("PUT", "actions/hello", PUT)
        assert (status, made["version"]) == (200, "0.0.1")
        assert made["exec"] == {"kind": "python:3", "code": ECHO, "binary": False}
        assert await api("PUT", "actions/hello", PUT) == (409, {"error": "action hello already exists: update it"})
        assert (await api("PUT", "actions/hello?overwrite=1", {"limits": {"memory": 128}}))[1]["version"] == "0.0.2"
        status, (listed,) = await api("GET", "actions")
        assert (listed["name"], "code" in listed["exec"]) == ("hello", False)
        assert (await api("GET", "actions/hello"))[1]["limits"]["memory"] == 128
        assert (await api("DELETE", "actions/hello"))[0] == 200
        assert await api("GET", "actions/hello") == (404, {"error": "unknown action hello"})
        assert await api("GET", "actions") == (200, [])

    async def test_an_invocation_and_all_that_is_to_be_seen_of_it(self, api: Api) -> None:
        await api("PUT", "actions/hello", PUT)
        status, ran = await api("POST", "actions/hello/invoke", {"params": {"n": 1}, "blocking": True})
        assert (status, ran["response"]["result"]) == (200, {"got": {"n": 1}})
        assert (ran["response"]["status"], ran["response"]["success"]) == ("success", True)
        one = f"activations/{ran['activationId']}"
        record = (await api("GET", one))[1]
        assert record == {**ran, "logs": record["logs"]}
        assert await api("GET", f"{one}/logs") == (200, {"logs": record["logs"]})
        result = {"result": {"got": {"n": 1}}, "status": "success", "success": True}
        assert await api("GET", f"{one}/result") == (200, result)
        (listed,) = (await api("GET", "activations?name=hello&limit=5&skip=0"))[1]
        assert (listed["activationId"], listed["statusCode"]) == (ran["activationId"], 0)
        assert await api("GET", "activations?name=other") == (200, [])

    async def test_an_invocation_that_is_not_waited_for(self, api: Api) -> None:
        await api("PUT", "actions/slow", {"exec": {"kind": "python:3", "code": SLOW}, "limits": {"timeout": 1000}})
        for body in ({}, {"blocking": True, "timeout": 0.1}):
            status, answer = await api("POST", "actions/slow/invoke", body)
            assert (status, list(answer)) == (202, ["activationId"])
        assert (await api("GET", f"explain/{answer['activationId']}"))[0] == 200

    async def test_of_one_that_has_ended_explain_names_the_commands_that_know_it(self, api: Api) -> None:
        await api("PUT", "actions/hello", PUT)
        ended = (await api("POST", "actions/hello/invoke", {"blocking": True}))[1]["activationId"]
        assert (await api("GET", f"activations/{ended}"))[0] == 200  # its log is there, too
        says = (
            f"activation {ended} has ended: `owmesos story {ended}` says what happened to it,"
            f" its record has its result (`owmesos activation get {ended}`, or with Kafka `wsk`'s)"
        )
        for name in (ended, ended[:12]):
            assert await api("GET", f"explain/{name}") == (404, {"error": says})

    async def test_an_action_that_fails_is_answered_like_others(self, api: Api) -> None:
        await api("PUT", "actions/bad", {"exec": {"kind": "python:3", "code": "def main(:"}})
        status, ran = await api("POST", "actions/bad/invoke", {"blocking": True})
        assert (status, ran["response"]["status"], ran["response"]["success"]) == (200, "action developer error", False)

    async def test_code_may_be_large_and_nothing_else(self, api: Api) -> None:
        code = ECHO + "\n#" + "x" * (MAX_CODE - len(ECHO) - 2)
        assert (await api("PUT", "actions/large", {"exec": {"kind": "python:3", "code": code}}))[0] == 200
        assert (await api("POST", "actions/large/invoke", {"blocking": True}))[1]["response"]["result"] == {"got": {}}
        status, answer = await api("POST", "actions/large/invoke", {"params": {"a": "x" * 1_100_000}})
        assert (status, answer) == (413, {"error": "the request is too large"})

    @pytest.mark.parametrize(("method", "path"), [("PUT", "actions/x"), ("POST", "actions/x/invoke")])
    async def test_only_json_is_taken(self, api: Api, method: str, path: str) -> None:
        refused = (415, {"error": "the Content-Type must be application/json"})
        assert await api(method, path, raw=b"{}", kind="text/plain") == refused

    @pytest.mark.parametrize(
        ("method", "path", "body", "status", "says"),
        [
            ("POST", "actions/hello/invoke", b'{"params": [1]}', 400, "Expected `object`, got `array` - at `$.params`"),
            ("POST", "actions/hello/invoke", b'{"params": 1e', 400, "the request's body cannot be used"),
            ("POST", "actions/hello/invoke", b'{"parms": {}}', 400, "`parms`"),
            ("POST", "actions/hello/invoke", b'{"timeout": 61}', 400, "timeout must be more than 0 and at most 60"),
            ("POST", "actions/none/invoke", b"{}", 404, "unknown action none"),
            ("PUT", "actions/x", b'{"exec": {"kind": "python:3"}}', 400, "`code`"),
            ("PUT", "actions/x", b'{"limits": {"memori": 1}}', 400, "`memori`"),
            ("PUT", "actions/x?overwrite=yes", b"{}", 400, "overwrite must be 0 or 1"),
            ("GET", "actions?x=1", None, 400, "has no parameter 'x'"),
            ("GET", "activations/abc", None, 404, "unknown activation abc"),
            ("GET", "activations/abc/logs", None, 404, "unknown activation abc"),
            ("GET", "activations?limit=0", None, 400, "limit must be 1 to 200, not '0'"),
            ("GET", "activations?skip=-1", None, 400, "skip must be"),
            ("DELETE", "activations/abc", None, 405, "DELETE is not allowed for"),
            ("GET", "explain/abc", None, 404, "unknown launch, task, container or unfinished activation abc"),
        ],
    )
    async def test_what_it_refuses(
        self, api: Api, method: str, path: str, body: bytes | None, status: int, says: str
    ) -> None:
        await api("PUT", "actions/hello", PUT)
        found, answer = await api(method, path, raw=body)
        assert (found, says in answer["error"]) == (status, True), answer
