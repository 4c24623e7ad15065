"""Activations on real action containers, and on some that misbehave; the pool's accounts are right after each."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from owmesos.core.pool.events import StopCause
from owmesos.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS, WHISK_ERROR, Activation
from owmesos.openwhisk.container import runner
from owmesos.openwhisk.container.protocol import was_lost
from owmesos.openwhisk.container.run_state import AckKind
from owmesos.openwhisk.executable import Executable
from tests.openwhisk.container.fake_container import HANG, FakeContainer, answer, http
from tests.openwhisk.container.real_invoker import RealInvoker
from tests.openwhisk.runs import action, order
from tests.runtimes.container import COMMANDS, free_port, zipped
from tests.waiting import eventually_async, in_time

PRINT = {
    "python:3": "import sys\ndef main(args):\n    print('out', args['n'])\n    print('err', file=sys.stderr)\n"
    "    return args",
    "nodejs:20": "function main(args) { console.log('out', args.n); console.error('err'); return args }",
}
KILLS_ITSELF = "import os, signal\ndef main(a): os.kill(os.getpid(), signal.SIGKILL)"
ENVIRONMENT = (
    "import os\n"
    "def main(args):\n"
    "    return {name: value for name, value in os.environ.items() if name.startswith('__OW') or name == 'SECRET'}"
)


@pytest.fixture
async def invoker(tmp_path: Path) -> AsyncIterator[RealInvoker]:
    async with RealInvoker(tmp_path) as invoker:
        yield invoker


def result(record: Activation) -> Any:
    return json.loads(msgspec.json.encode(record.response.result))


async def killed(invoker: RealInvoker, cause: StopCause) -> Activation:
    """The record of a run whose container gets a SIGKILL, of which the cluster says `cause`."""
    run = invoker.submit(action(code=KILLS_ITSELF))
    await eventually_async(lambda: any(each.process.poll() == 137 for each in invoker.processes.values()))
    invoker.ended(next(iter(invoker.processes)), "Command terminated with signal Killed", cause)
    return await run


async def ended_with(invoker: RealInvoker, of: Executable, **named: Any) -> tuple[int, Any]:
    """Status code and result; afterwards the pool has neither the run nor, if it failed, its container."""
    record = await in_time(invoker.invoke(of, **named))
    code = record.response.status_code
    await eventually_async(lambda: invoker.quiet() and (code <= APPLICATION_ERROR or not invoker.pool.containers))
    assert len(invoker.given[record.activation_id]) == 1
    return code, result(record)


class TestRealContainers:
    @pytest.mark.parametrize("kind", list(COMMANDS))
    async def test_an_action_is_run_cold_and_warm_with_its_logs(self, kind: str, invoker: RealInvoker) -> None:
        of = action(code=PRINT[kind], kind=kind, logs=1)
        records = [await invoker.invoke(of, {"n": number}) for number in range(3)]
        assert [result(record) for record in records] == [{"n": 0}, {"n": 1}, {"n": 2}]
        for number, record in enumerate(records):
            assert [line[31:] for line in record.logs] == [f"stdout: out {number}", "stderr: err"]
        assert [record.annotation("initTime") is not None for record in records] == [True, False, False]
        assert len(invoker.processes) == 1

    async def test_a_zip_archive_is_run(self, invoker: RealInvoker) -> None:
        code = zipped({"__main__.py": "from other import main", "other.py": "def main(args): return {'zip': True}"})
        assert await ended_with(invoker, action(code=code, binary=True)) == (SUCCESS, {"zip": True})

    async def test_the_environment_is_openwhisks(self, invoker: RealInvoker) -> None:
        record = await invoker.invoke(action(code=ENVIRONMENT), {"SECRET": {"a": 1}, "x": 2}, init_args=("SECRET",))
        env = result(record)
        assert env["SECRET"] == '{"a":1}'
        assert env["__OW_ACTIVATION_ID"] == record.activation_id
        assert env["__OW_ACTION_NAME"] == "/guest/tools/hello"
        assert env["__OW_API_KEY"]
        assert int(env["__OW_DEADLINE"]) > record.end

    async def test_arrays_come_and_go(self, invoker: RealInvoker) -> None:
        record = await invoker.invoke(action(code="def main(a): return a[::-1]"), [1, {"two": 2}])
        assert result(record) == [{"two": 2}, 1]

    async def test_runs_overlap_in_one_container_where_the_action_allows_it(self, invoker: RealInvoker) -> None:
        code = "import threading\ngate = threading.Barrier(3)\ndef main(a):\n    gate.wait()\n    return a"
        of = action(code=code, concurrency=3)
        records = await asyncio.gather(*(invoker.submit(of, {"n": number}) for number in range(3)))
        assert [result(record) for record in records] == [{"n": 0}, {"n": 1}, {"n": 2}]
        assert len(invoker.processes) == 1

    async def test_an_error_of_the_application_keeps_its_container(self, invoker: RealInvoker) -> None:
        of = action(code="def main(a): raise ValueError('no luck')")
        for _ in range(2):
            assert await ended_with(invoker, of) == (APPLICATION_ERROR, {"error": "no luck"})
        assert len(invoker.processes) == 1

    async def test_code_that_does_not_parse_is_told_with_its_line(self, invoker: RealInvoker) -> None:
        code, said = await ended_with(invoker, action(code="def main(:\n", logs=1))
        assert code == DEVELOPER_ERROR
        assert "SyntaxError" in said["error"]
        assert "line 1" in said["error"]
        (record,) = invoker.records.values()
        assert any("def main(:" in line for line in record.logs)
        assert "The action did not initialize or run as expected." in record.logs[-1]

    async def test_an_action_that_dies_in_the_middle_is_told_with_its_last_words(self, invoker: RealInvoker) -> None:
        code = "import os\ndef main(a):\n    print('last words')\n    os._exit(1)"
        assert await ended_with(invoker, action(code=code, logs=1)) == (DEVELOPER_ERROR, {"error": "command exited"})
        (record,) = invoker.records.values()
        assert record.logs[0].endswith("stdout: last words")

    async def test_an_action_that_hangs_is_ended_at_its_time_out(self, invoker: RealInvoker) -> None:
        of = action(code="import time\ndef main(a): time.sleep(60)", timeout=3000)
        text = "The action exceeded its time limits of 3000 milliseconds."
        assert await ended_with(invoker, of) == (DEVELOPER_ERROR, {"error": text})
        (record,) = invoker.records.values()
        assert record.annotation("timeout") is True
        assert 500 <= (record.duration or 0) - record.annotation("initTime") < 5000
        assert not any(process.members() for process in invoker.processes.values())

    async def test_an_answer_of_5_mb_is_cut_and_its_container_is_kept(self, invoker: RealInvoker) -> None:
        code, said = await ended_with(invoker, action(code="def main(a): return {'x': 'y' * 5_000_000}"))
        assert code == APPLICATION_ERROR
        assert said["error"].startswith(
            "The action produced a response that exceeded the allowed length: 5000009 > 1048576 bytes. The truncated"
        )
        assert [container.state.value for container in invoker.pool.containers] == ["warm"]

    async def test_a_container_that_is_killed_for_want_of_memory_says_so(self, invoker: RealInvoker) -> None:
        record = await killed(invoker, StopCause.OUT_OF_MEMORY)
        assert result(record) == {"error": "The action exhausted its memory and was aborted."}
        assert invoker.quiet()

    async def test_an_executor_that_was_killed_is_not_the_actions_fault(self, invoker: RealInvoker) -> None:
        record = await killed(invoker, StopCause.SUPERVISOR_GONE)
        assert record.response.status_code == WHISK_ERROR
        assert result(record) == {"error": "The action's container was lost while it ran."}
        assert invoker.quiet()

    async def test_log_limit_0_reads_nothing(self, invoker: RealInvoker) -> None:
        record = await invoker.invoke(action(code=PRINT["python:3"], logs=0), {"n": 1})
        assert record.logs == []
        assert invoker.agent.reads == []
        assert invoker.acks == [(AckKind.COMBINED, record.activation_id)]


class TestContainersThatMisbehave:
    async def test_one_that_never_opens_its_port(self, invoker: RealInvoker) -> None:
        invoker.unreachable = f"127.0.0.1:{free_port()}"
        text = "The action exceeded its time limits of 300 milliseconds during initialization."
        assert await ended_with(invoker, action(timeout=300)) == (DEVELOPER_ERROR, {"error": text})

    async def test_one_that_answers_garbage(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({}) if path == "/init" else http(200, b"what?"))
        text = "The action did not produce a valid JSON response: what?"
        assert await ended_with(invoker, action()) == (DEVELOPER_ERROR, {"error": text})

    async def test_one_that_does_not_speak_http(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: b"SSH-2.0-OpenSSH\r\n")
        text = "The action did not initialize and exited unexpectedly."
        assert await ended_with(invoker, action()) == (DEVELOPER_ERROR, {"error": text})

    async def test_one_that_hangs_in_init(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: HANG)
        text = "The action exceeded its time limits of 200 milliseconds during initialization."
        assert await ended_with(invoker, action(timeout=200)) == (DEVELOPER_ERROR, {"error": text})

    async def test_one_that_dies_in_the_middle_of_a_run(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({}) if path == "/init" else None)
        run = invoker.submit(action())
        await eventually_async(lambda: any(len(fake.asked) == 2 for fake in invoker.fakes.values()))
        invoker.ended(next(iter(invoker.fakes)), "Command exited with status 1")
        record = await run
        assert result(record)["error"] == "The action did not produce a valid response and exited unexpectedly."
        assert invoker.quiet()

    async def test_one_that_breaks_off_while_its_node_does_not_answer_is_lost(self, invoker: RealInvoker) -> None:
        """The cluster will say so much later: Kubernetes after 40 s."""
        runs: dict[str, bytes | None] = {"/run": answer({})}
        invoker.fake = lambda: FakeContainer(lambda path, body: runs.get(path, answer({})))
        await invoker.invoke(action(logs=0))
        await invoker.agent.stop()
        runs["/run"] = None
        record = await in_time(invoker.invoke(action(logs=0)))
        assert was_lost(record.response)

    async def test_one_that_is_gone_while_the_cluster_is_silent_is_lost(
        self, invoker: RealInvoker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As while the connection to the master is half open: nobody knows why it ended, so nobody is blamed."""
        monkeypatch.setattr(runner, "SILENCE_WAIT", 0.1)
        record = await in_time(invoker.submit(action(code=KILLS_ITSELF)))
        assert was_lost(record.response)

    async def test_one_that_is_gone_is_charged_with_it_once_the_cluster_says_so(
        self, invoker: RealInvoker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "CAUSE_WAIT", 1.0)  # the node has as long to answer
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({}) if path == "/init" else None)
        run = invoker.submit(action())
        await eventually_async(lambda: any(len(fake.asked) == 2 for fake in invoker.fakes.values()))
        ((container_id, gone),) = invoker.fakes.items()
        await gone.stop()
        asyncio.get_running_loop().call_later(2.0, invoker.ended, container_id, "Command exited with status 1")
        record = await run
        assert record.response.status_code == DEVELOPER_ERROR

    async def test_one_that_breaks_off_and_can_still_be_reached_is_charged_with_it(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({}) if path == "/init" else None)
        record = await in_time(invoker.invoke(action()))
        assert record.response.status_code == DEVELOPER_ERROR

    async def test_one_whose_agent_is_lost_ends_its_runs_without_waiting_for_their_time_out(
        self, invoker: RealInvoker
    ) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({}) if path == "/init" else HANG)
        run = invoker.submit(action())
        await eventually_async(lambda: any(len(fake.asked) == 2 for fake in invoker.fakes.values()))
        invoker.ended(next(iter(invoker.fakes)), "agent S1 is unreachable")
        record = await in_time(run)
        assert record.response.status_code == DEVELOPER_ERROR
        assert invoker.quiet()

    async def test_one_that_is_gone_when_it_is_used_again(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({"at": path}))
        first = await invoker.invoke(action())
        (gone,) = invoker.fakes.values()
        await gone.stop()
        await eventually_async(lambda: not gone.serves)
        second = await invoker.invoke(action())
        assert second.response.status_code == SUCCESS
        assert invoker.given[second.activation_id][0] == invoker.given[first.activation_id][0]
        assert len(invoker.given[second.activation_id]) == 2
        await eventually_async(invoker.quiet)


async def test_a_run_that_is_abandoned_before_it_begins_leaves_nothing(invoker: RealInvoker) -> None:
    invoker.containers.started("c", f"127.0.0.1:{free_port()}")
    invoker.containers.run("c", order(), initialize=True)
    await invoker.containers.close()
    assert (invoker.acks, invoker.records) == ([], {})
