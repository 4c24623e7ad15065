"""`owmesos run --standalone` as a process, and the commands for actions against it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import shutil
import signal
import tarfile
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from owmesos.cli.columns import ACTIVATIONS
from owmesos.core.pool.containers import ContainerShape
from owmesos.openwhisk.activation import SUCCESS
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.results import decode_result
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.sizing.trace import TracePart
from owmesos.sizing.trace_files import read_trace
from tests.cli.conftest import Ask
from tests.cli.running import Ran, Running, owmesos, owmesos_process, running, started
from tests.fixtures.task_ports import TaskPorts
from tests.waiting import eventually_async

HELLO = """\
def main(args):
    print("called")
    if "fail" in args:
        return {"error": "as asked"}
    return {"got": args}
"""
HUGE = "import sys\ndef main(args):\n    sys.set_int_max_str_digits(0)\n    return {'n': 10 ** 5000}"
FILL = ("launch", "--count", "2", "--mem", "900", "--command", "sleep 60", "--wait", "running")
TWICE = "function main({ n }) { console.log('called'); return { n: n * 2 } }"


@pytest.fixture
def cluster(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=2, resources=task_ports.resources(2)) as cluster:
        yield cluster


@pytest.fixture
async def process(cluster: SimulatedCluster, tmp_path: Path) -> AsyncIterator[Running]:
    """`hello` is deployed."""
    (tmp_path / "hello.py").write_text(HELLO)
    state = str(tmp_path / "state")
    async with running("--standalone", "--master", cluster.master, "--state", state) as process:
        assert (
            await process.ask("action", "create", "hello", str(tmp_path / "hello.py"))
        ).out == "ok: created action hello\n"
        yield process
        ended = await process.end()
        assert (ended.code, "Traceback" in ended.err) == (0, False), ended.err
        assert "stopping: action containers end; launches go on running" in ended.err


def columns(ran: Ran) -> list[str]:
    """The first cell of each row of a table, without the heading."""
    assert ran.code == 0, ran.err
    return [line.split()[0] for line in ran.out.splitlines()[1:]]


async def test_an_action_from_its_making_to_its_end(process: Running, tmp_path: Path) -> None:
    file = str(tmp_path / "hello.py")
    assert "hello already exists: update it" in (await process.ask("action", "create", "hello", file)).line
    updated = await process.ask("action", "update", "/_/hello", "--memory", "128", "-t", "5000", "-c", "2", "-l", "0")
    assert updated.out == "ok: updated action hello\n"
    action = (await process.ask("action", "get", "hello", "-o", "json")).json
    assert action["limits"] == {"memory": 128, "timeout": 5000, "concurrency": 2, "logs": 0}
    assert (action["version"], action["exec"]["kind"], action["exec"]["code"]) == ("0.0.2", "python:3", HELLO)
    assert (await process.ask("action", "get", "hello")).out.startswith("ok: got action hello\n{\n")
    assert columns(await process.ask("action", "list")) == ["/guest/hello"]
    assert [each["name"] for each in (await process.ask("action", "list", "-o", "json")).json] == ["hello"]
    assert (await process.ask("action", "delete", "hello")).out == "ok: deleted action hello\n"
    assert (await process.ask("action", "list", "-o", "json")).json == []
    assert (await process.ask("action", "delete", "hello")).line == "owmesos action: unknown action hello"
    assert (await process.ask("invoke", "hello")).line == "owmesos invoke: unknown action hello"


async def test_an_action_is_invoked_by_the_command_of_wsk_too(process: Running) -> None:
    ran = await process.ask("action", "invoke", "hello", "--param", "name", "you", "--result")
    assert ran.json == {"got": {"name": "you"}}


async def test_an_invocation_and_what_is_to_be_seen_of_it(process: Running) -> None:
    ran = await process.ask("invoke", "hello", "--param", "name", "you", "--blocking")
    line, _, text = ran.out.partition("\n")
    document = json.loads(text)
    activation_id = document["activationId"]
    assert (ran.code, line) == (0, f"ok: invoked /_/hello with id {activation_id}")
    assert document["response"]["result"] == {"got": {"name": "you"}}
    (log,) = (await process.ask("activation", "logs", activation_id)).out.splitlines()
    assert log.endswith("stdout: called")
    assert (await process.ask("activation", "logs", "--last")).out == f"{log}\n"
    assert (await process.ask("activation", "result", activation_id)).json == {"got": {"name": "you"}}
    record = (await process.ask("activation", "get", activation_id, "-o", "json")).json
    assert record == {**document, "logs": [log]}
    (row,) = (await process.ask("activation", "list")).out.splitlines()[1:]
    assert row.split()[1:3] == [activation_id, "python:3"]
    assert "cold" in row
    (container,) = (await process.ask("containers", "-o", "json")).json
    assert list(container) == [
        *("container_id", "action", "kind", "state", "agent_id", "hostname", "address", "memory", "active", "last_used")
    ]
    assert (container["action"], container["state"], container["memory"]) == ("guest/hello", "warm", 256)
    assert columns(await process.ask("containers")) == [container["container_id"]]
    story = (await process.ask("story", container["container_id"], "-o", "json")).json
    assert story["state"] == "RUNNING"


@pytest.mark.parametrize(
    ("duration", "status", "annotations", "cells"),
    [
        (12, 0, {"kind": "python:3", "waitTime": 1, "initTime": 2}, ["python:3", "cold", "12ms"]),
        (0, 0, {"kind": "python:3", "waitTime": 1}, ["python:3", "warm", "0ms"]),
        # cut off by a stop or a crash
        (None, 3, {"kind": "python:3", "waitTime": 1}, ["python:3", "-", "-"]),
        (0, 3, {"kind": "unknown"}, ["-", "-", "-"]),
        (0, 1, {"kind": "python:3"}, ["python:3", "-", "-"]),  # cancelled
    ],
)
def test_what_is_not_known_of_an_activation_is_not_made_up(
    duration: int | None, status: int, annotations: dict[str, Any], cells: list[str]
) -> None:
    row = {
        "duration": duration,
        "statusCode": status,
        "annotations": [{"key": key, "value": value} for key, value in annotations.items()],
    }
    shown = {column.title: column.text for column in ACTIVATIONS.columns}
    assert [shown[title](row) for title in ("KIND", "START", "DURATION")] == cells


async def test_parameters_are_json_where_they_can_be(process: Running, tmp_path: Path) -> None:
    (tmp_path / "params.json").write_text('{"a": "file", "f": [1]}')
    given: dict[str, tuple[str, Any]] = {
        "a": ("1", 1),
        "b": ("text", "text"),
        "c": ('{"d": null}', {"d": None}),
        "e": ("NaN", "NaN"),
        "g": ("1 2", "1 2"),
    }
    options = [word for key, (text, _) in given.items() for word in ("-p", key, text)]
    ran = await process.ask("invoke", "hello", "-P", str(tmp_path / "params.json"), *options, "--result")
    assert ran.json == {"got": {**{key: value for key, (_, value) in given.items()}, "f": [1]}}


async def test_activations_are_exported_as_a_trace(process: Running, tmp_path: Path) -> None:
    assert (await process.ask("activation", "export")).line == "owmesos activation: no activation has ended yet"
    of_one = await process.ask("activation", "export", "--name", "nobody")
    assert of_one.line == "owmesos activation: no activation of nobody has ended yet"
    before = time.time()
    for _ in range(2):
        await process.ask("invoke", "hello", "--blocking")
    file = tmp_path / "trace.csv"
    ran = await process.ask("activation", "export", str(file))
    assert (ran.code, ran.out, ran.err) == (0, "", "exported 2 activations\n")
    assert (await process.ask("activation", "export", "--name", "hello")).out == file.read_text()
    trace = read_trace(file, TracePart())
    assert [(each.action.name, each.namespace, each.action.shape) for each in trace.functions] == [
        ("hello", "guest", ContainerShape("python:3", 256))
    ]
    first, second = trace.invocations
    assert 0 <= first.at < second.at < time.time() - before
    records = (await process.ask("activation", "list", "-o", "json")).json
    ran_for = [each["duration"] - _noted(each).get("initTime", 0) for each in reversed(records)]
    assert [round(1000 * each.duration) for each in trace.invocations] == ran_for
    last = file.read_text().splitlines()[1].split(",")
    assert last[0] == f"{(records[0]['start'] - _noted(records[0])['waitTime']) / 1000:.3f}"


def _noted(record: dict[str, Any]) -> dict[str, Any]:
    return {each["key"]: each["value"] for each in record["annotations"]}


async def test_an_invocation_that_is_not_waited_for(process: Running) -> None:
    ran = await process.ask("invoke", "hello")
    assert ran.out.startswith("ok: invoked /_/hello with id ")
    activation_id = ran.out.split()[-1]
    assert list((await process.ask("invoke", "hello", "-o", "json")).json) == ["activationId"]

    async def is_there() -> bool:
        return (await process.ask("activation", "result", activation_id)).code == 0

    await eventually_async(is_there)


async def test_an_action_that_fails_exits_1_and_shows_why(process: Running) -> None:
    ran = await process.ask("invoke", "hello", "-p", "fail", "1", "--blocking")
    assert ran.code == 1
    assert ran.out.startswith("failed: application error: invoked /_/hello with id ")
    assert '"error": "as asked"' in ran.out
    ran = await process.ask("invoke", "hello", "-p", "fail", "1", "--result")
    assert (ran.code, ran.document) == (1, {"error": "as asked"})


async def test_a_result_with_a_number_beyond_all_floats_is_shown(process: Running, tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_text(HUGE)
    await process.ask("action", "create", "huge", str(tmp_path / "huge.py"))
    assert (await process.ask("invoke", "huge", "--result")).json == {"n": "1" + "0" * 5000}
    assert (await process.ask("activation", "result", "--last")).json == {"n": "1" + "0" * 5000}
    assert columns(await process.ask("activation", "list")) != []
    assert columns(await process.ask("activation", "list", "--wide")) != []


async def test_a_zip_file_and_another_entry_point(process: Running, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("__main__.py", "def entry(args):\n    return {'zip': 1}")
    archive = str(tmp_path / "a.zip")
    assert "give --kind" in (await process.ask("action", "create", "zip", archive)).line
    await process.ask("action", "create", "zip", archive, "--kind", "python:3", "--main", "entry", "-p", "a", "1")
    assert (await process.ask("invoke", "zip", "--result")).json == {"zip": 1}
    assert (await process.ask("action", "get", "zip", "-o", "json")).json["parameters"] == [{"key": "a", "value": 1}]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_a_tar_gz_archive(process: Running, tmp_path: Path) -> None:
    (tmp_path / "it.js").write_text("exports.main = () => ({ tar: 1 })")
    for name in ("a.tar.gz", "b.tgz"):
        with tarfile.open(tmp_path / name, "w:gz") as file:
            file.add(tmp_path / "it.js", "it.js")
        await process.ask("action", "create", "tar", str(tmp_path / name), "--kind", "nodejs:20", "--main", "it.main")
        assert (await process.ask("invoke", "tar", "--result")).json == {"tar": 1}
        await process.ask("action", "delete", "tar")


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_an_exception_between_runs_costs_its_container_and_no_run(process: Running, tmp_path: Path) -> None:
    code = "let n = 0\nfunction main() { setTimeout(() => { throw new Error('late') }, 100); n += 1; return { n } }"
    (tmp_path / "late.js").write_text(code)
    await process.ask("action", "create", "late", str(tmp_path / "late.js"))
    for _ in range(2):
        assert (await process.ask("invoke", "late", "--result")).json == {"n": 1}

        async def gone() -> bool:
            return "guest/late" not in (await process.ask("containers")).out

        await eventually_async(gone, interval=0.2)


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_a_file_in_javascript(process: Running, tmp_path: Path) -> None:
    (tmp_path / "twice.js").write_text(TWICE)
    await process.ask("action", "create", "twice", str(tmp_path / "twice.js"))
    assert (await process.ask("invoke", "twice", "-r", "-p", "n", "21")).json == {"n": 42}


async def test_an_action_larger_than_any_agent_says_why_it_waits(process: Running) -> None:
    await process.ask("action", "update", "hello", "--memory", "100000")
    activation_id = (await process.ask("invoke", "hello", "-o", "json")).json["activationId"]

    async def explained() -> bool:
        return "lack memory" in (await process.ask("explain", activation_id)).out

    await eventually_async(explained)
    assert (await process.ask("explain", activation_id, "-o", "json")).json["state"] == "waiting"
    said = (await process.ask("activation", "get", activation_id)).line
    assert f"{activation_id} still waits for a container: it has no record, result or log before its end" in said


REFUSED: list[tuple[tuple[str, ...], int, str]] = [
    (("action", "create", "x"), 2, "Missing argument 'FILE'"),
    (("action", "create", "x", "none.py"), 2, "the code in none.py cannot be read: No such file"),
    (("action", "update", "hello", "--kind", "python:3"), 2, "--kind and --main need FILE"),
    (("action", "update", "hello", "--memory", "1"), 1, "memory must be 128 to"),
    (("action", "update", "x"), 1, "unknown action x: a new action needs code"),
    (("action", "get", "/other/x"), 2, "unknown namespace in '/other/x'"),
    (("invoke", "hello", "--param-file", "none.json"), 2, "cannot be read"),
    (("invoke", "hello", "-P", "/dev/zero"), 2, "owmesos invoke: the parameters in /dev/zero are larger than 8 MB"),
    (("action", "create", "x", "/dev/zero", "--kind", "python:3"), 2, "the code in /dev/zero is larger than 48 MB"),
    (("invoke", "hello", "-p", "a", "1e999"), 2, "parameter a cannot be sent: the number 1e999 is too large"),
    (
        ("invoke", "hello", "-p", "a", '{"b": [-1e999]}'),
        2,
        "parameter a cannot be sent: the number -1e999 is too large",
    ),
    (("invoke", "a" * 100_000), 1, "actions/aaa"),
    (("explain", "ü" * 5000), 1, "and an address at most 8000: give a shorter name"),
    (("activation", "get"), 2, "give either the ID of an activation or --last"),
    (("activation", "get", "abc"), 1, "unknown activation abc"),
    (("activation", "list", "--limit", "1000"), 1, "limit must be 1 to 200"),
]


async def test_what_is_refused(process: Running) -> None:
    """One process for all: it is left as it was."""
    for arguments, code, says in REFUSED:
        ran = await process.ask(*arguments)
        assert (ran.code, says in ran.line) == (code, True), (arguments, ran)


async def test_code_and_parameters_that_are_no_text(process: Running, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe")
    assert "is not valid UTF-8" in (await process.ask("action", "create", "bad", str(tmp_path / "bad.py"))).line
    for text, says in (
        ("[1]", "are not a JSON object"),
        ("{", "are not valid JSON: "),
        ('{"a": 1e999}', "1e999 is too large"),
    ):
        (tmp_path / "bad.json").write_text(text)
        assert says in (await process.ask("invoke", "hello", "-P", str(tmp_path / "bad.json"))).line


# -- where there is no such mode, or it cannot start


async def test_a_framework_without_actions_says_so(ask: Ask) -> None:
    for command in (("action", "list"), ("invoke", "hello"), ("activation", "list"), ("action", "delete", "a b")):
        assert (await ask(*command)).line.endswith("the framework has no actions: start it with --standalone")
    assert (await ask("containers", "-o", "json")).json == []


@pytest.mark.parametrize(
    ("manifest", "says"),
    [
        ("{", "the runtimes manifest cannot be read"),
        ('{"runtimes": {"a": [{"kind": "a:1"}]}}', "kind a:1 needs either an image or a command"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_manifest_with_errors(tmp_path: Path, manifest: str | None, says: str) -> None:
    file = tmp_path / "runtimes.json"
    if manifest is not None:
        file.write_text(manifest)
    ran = owmesos("run", "--standalone", "--master", "127.0.0.1:1", "--admin", "127.0.0.1:0", "--runtimes", str(file))
    assert (ran.code, says in ran.line, str(file) in ran.line) == (2, True, True), ran


def test_a_manifest_without_the_mode() -> None:
    ran = owmesos("run", "--master", "127.0.0.1:1", "--admin", "127.0.0.1:0", "--runtimes", "x")
    assert (ran.code, "--runtimes needs --standalone or --kafka" in ran.line) == (2, True)


def test_launch_settings_and_a_drain_are_for_an_invoker(tmp_path: Path) -> None:
    file = tmp_path / "launches.toml"
    file.write_text("task-launch = 0\n")
    address = ("--master", "127.0.0.1:1", "--admin", "127.0.0.1:0", "--launch-settings", str(file))
    ran = owmesos("run", *address)
    assert (ran.code, "--launch-settings needs --standalone or --kafka" in ran.line) == (2, True)
    ran = owmesos("run", *address[:4], "--drain", "5")
    assert (ran.code, "--drain needs --standalone or --kafka" in ran.line) == (2, True)
    ran = owmesos("run", "--standalone", *address)
    assert (ran.code, "deadline" in ran.line) == (2, True)


async def test_a_manifest_of_ones_own(tmp_path: Path) -> None:
    command = "exec python3 -m http.server $PORT"
    stem = [{"initialCount": 1, "memory": "128 MB"}]
    kinds = {"web": [{"kind": "web:1", "command": command, "stemCells": stem}]}
    (tmp_path / "runtimes.json").write_text(json.dumps({"runtimes": kinds}))
    (tmp_path / "code.py").write_text(HELLO)
    options = ("--standalone", "--master", "local", "--runtimes", str(tmp_path / "runtimes.json"))
    async with running(*options) as process:
        refused = await process.ask("action", "create", "x", str(tmp_path / "code.py"))
        assert "unknown kind 'python:default'; the manifest has web:1" in refused.line

        async def prewarmed() -> bool:
            rows = (await process.ask("containers", "-o", "json")).json
            return [(row["kind"], row["state"], row["action"]) for row in rows] == [("web:1", "prewarmed", None)]

        await eventually_async(prewarmed)


async def test_settings_of_the_commands_within_a_command(
    tmp_path: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "owmesos.toml"
    file.write_text("[action.list]\noutput = 'json'\n")
    monkeypatch.setenv("OWMESOS_CONFIG", str(file))
    assert "start it with --standalone" in (await ask("action", "list")).line
    for text, says in (("[action.lst]\na = 1\n", "unknown command [action.lst]"), ("[action]\na = 1\n", "[action.a]")):
        file.write_text(text)
        ran = await ask("action", "list")
        assert (ran.code, says in ran.line) == (2, True), ran
    monkeypatch.delenv("OWMESOS_CONFIG")
    monkeypatch.setenv("OWMESOS_ACTIVATION_LIST_LIMIT", "x")
    assert "'x' is not a valid integer" in (await ask("activation", "list")).line


async def test_what_runs_may_end_before_the_process_does(process: Running, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(f"""import os, time
def main(args):
    while not os.path.exists({str(tmp_path / "go")!r}):
        time.sleep(0.05)
    return args
""")
    await process.ask("action", "create", "slow", str(tmp_path / "slow.py"))
    activation_id = (await process.ask("invoke", "slow", "-o", "json")).json["activationId"]

    async def runs() -> bool:
        return [row["state"] for row in (await process.ask("containers", "-o", "json")).json] == ["busy"]

    await eventually_async(runs)
    process.process.send_signal(signal.SIGTERM)
    await process.said("activations that run: 1; waiting for their end, at most 30 s or until a second signal")
    (tmp_path / "go").touch()
    assert (await process.ended()).code == 0
    store = EmbeddedStore(tmp_path / "state", embedded_manifest())
    record = await store.activation(activation_id)
    await store.close()
    assert record is not None
    assert (record.response.status_code, decode_result(record.response.result)) == (SUCCESS, {})  # type: ignore[arg-type]


async def test_who_waits_at_the_end_is_told_and_a_second_signal_hurries_it(process: Running, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef main(args):\n    time.sleep(60)")
    await process.ask("action", "create", "slow", str(tmp_path / "slow.py"))
    of_process = {"OWMESOS_ADMIN": process.url}
    waiting = asyncio.ensure_future(owmesos_process("invoke", "slow", "--blocking", variables=of_process))

    async def runs() -> bool:
        return [row["state"] for row in (await process.ask("containers", "-o", "json")).json] == ["busy"]

    await eventually_async(runs)
    process.process.send_signal(signal.SIGTERM)
    await process.said("activations that run: 1; waiting for their end, at most 30 s")
    began = time.monotonic()
    assert (await process.end()).code == 0
    assert time.monotonic() - began < 25
    assert "a second signal: what runs is not waited for" in process.log
    line = (await waiting).line
    assert line.startswith("owmesos invoke: no framework answers at "), line
    assert line.endswith(" s, since at first: the framework process is stopping: retry when it is running again)"), line


def stdin_of(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data)))


async def test_code_and_parameters_may_come_from_stdin(process: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    stdin_of(monkeypatch, HELLO.encode())
    created = await process.ask("action", "create", "piped", "-", "--kind", "python:default")
    assert created.out == "ok: created action piped\n"
    stdin_of(monkeypatch, b'{"a": 1}')
    assert (await process.ask("invoke", "piped", "-P", "-", "-r")).json == {"got": {"a": 1}}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("__main__.py", HELLO)
    stdin_of(monkeypatch, packed.getvalue())
    assert (await process.ask("action", "update", "piped", "-", "--kind", "python:default")).code == 0
    assert (await process.ask("invoke", "piped", "-p", "b", "2", "-r")).json == {"got": {"b": 2}}
    stdin_of(monkeypatch, b"[1]")
    assert "parameters in stdin are not a JSON object" in (await process.ask("invoke", "piped", "-P", "-")).line


async def test_code_from_stdin_needs_its_kind_and_stdin_for_itself(process: Running) -> None:
    assert "give --kind" in (await process.ask("action", "create", "piped", "-")).line
    both = await process.ask("action", "create", "piped", "-", "-P", "-", "--kind", "python:default")
    assert "cannot both be read from stdin" in both.line


async def test_one_that_finds_no_room_says_why_and_can_be_cancelled(process: Running, tmp_path: Path) -> None:
    of_process = {"OWMESOS_ADMIN": process.url}
    assert (await process.ask("launch", "--count", "2", "--mem", "900", "--command", "sleep 60", "--wait", "running"))[
        0
    ] == 0
    waiting = asyncio.ensure_future(owmesos_process("invoke", "hello", "--result", variables=of_process))

    async def waits() -> str:
        rows = (await process.ask("activation", "list", "-o", "json")).json
        return next((row["activationId"] for row in rows if row.get("state") == "waiting" and row["summary"]), "")

    activation_id = await eventually_async(waits)
    assert "lack memory" in (await process.ask("activation", "list")).out
    assert (await process.ask("story", activation_id[:8], "-o", "json")).json["state"] == "waiting"
    cancelled = await process.ask("activation", "cancel", activation_id[:8])
    assert cancelled.out == f"ok: cancelled activation {activation_id}\n"
    ran = await waiting
    assert (ran.code, ran.document) == (1, {"error": "The activation was cancelled before it began."})
    again = await process.ask("activation", "cancel", activation_id)
    assert again.line == f"owmesos activation: activation {activation_id} has ended already"
    (row,) = (await process.ask("activation", "list")).out.splitlines()[1:]
    assert row.split()[2:5] == ["python:3", "-", "-"]
    exported = await process.ask("activation", "export")
    assert exported.out == "at,namespace,action,kind,memory,duration\n"
    assert exported.err == "exported 0 activations; 1 that did not run is left out\n"


async def test_a_blocking_invocation_that_still_waits_at_the_end_fails(
    process: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owmesos.cli.openwhisk.BLOCKING_WAIT", 4.0)
    monkeypatch.setattr("owmesos.cli.openwhisk._LOOK", 0.4)
    assert (await process.ask("launch", "--count", "2", "--mem", "900", "--command", "sleep 60", "--wait", "running"))[
        0
    ] == 0
    ran = await process.ask("invoke", "hello", "--result")
    assert (ran.code, ran.out) == (1, "")
    *reasons, last = ran.err.splitlines()
    assert reasons
    stays = re.match(r"owmesos invoke: activation ([0-9a-f]{32}) still waits: .*lack memory.*activation get \1`", last)
    assert stays is not None
    assert all(line.startswith(f"owmesos invoke: activation {stays[1]} waits: ") for line in reasons)


async def test_ctrl_c_while_an_invocation_waits_names_the_activation_that_goes_on(process: Running) -> None:
    assert (await process.ask(*FILL)).code == 0
    invoking = await started("action", "invoke", "hello", "--result", variables={"OWMESOS_ADMIN": process.url})
    assert invoking.stderr is not None
    first = (await asyncio.wait_for(invoking.stderr.readline(), 60)).decode()
    waits = re.match("owmesos action invoke: activation ([0-9a-f]{32}) waits: ", first)
    assert waits is not None, first
    invoking.send_signal(signal.SIGINT)
    out, err = await asyncio.wait_for(invoking.communicate(), 60)
    assert (invoking.returncode, out) == (130, b"")
    assert err.decode().splitlines()[-1] == (
        f"owmesos action: interrupted: activation {waits[1]} goes on; `owmesos activation get {waits[1]}` shows its"
        f" result once it has ended, `owmesos activation cancel {waits[1]}` ends it while it waits"
    )
    assert (await process.ask("activation", "cancel", waits[1])).code == 0


async def test_as_a_process_of_its_own(process: Running) -> None:
    ran = await owmesos_process("invoke", "hello", "--result", variables={"OWMESOS_ADMIN": process.url})
    assert ran.json == {"got": {}}
