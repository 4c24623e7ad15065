"""`owmesos run --standalone` as a process, and the commands for actions against it."""

from __future__ import annotations

import asyncio
import json
import shutil
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.conftest import Ask
from tests.cli.running import Ran, Running, owmesos, owmesos_process, running
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


def columns(ran: Ran) -> list[str]:
    """The first cell of each row of a table, without the heading."""
    assert ran.code == 0, ran.err
    return [line.split()[0] for line in ran.out.splitlines()[1:]]


async def test_an_action_from_its_making_to_its_end(process: Running, tmp_path: Path) -> None:
    file = str(tmp_path / "hello.py")
    assert "hello exists already: update it" in (await process.ask("action", "create", "hello", file)).line
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
    assert (await process.ask("action", "delete", "hello")).line == "owmesos action: there is no action hello"
    assert (await process.ask("invoke", "hello")).line == "owmesos invoke: there is no action hello"


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
        *("container_id", "action", "kind", "state", "agent_id", "address", "memory", "active", "last_used")
    ]
    assert (container["action"], container["state"], container["memory"]) == ("guest/hello", "warm", 256)
    assert columns(await process.ask("containers")) == [container["container_id"]]
    story = (await process.ask("story", container["container_id"], "-o", "json")).json
    assert story["state"] == "RUNNING"


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
    assert (ran.code, json.loads(ran.out)) == (1, {"error": "as asked"})


async def test_a_result_with_a_number_beyond_all_floats_is_shown(process: Running, tmp_path: Path) -> None:
    (tmp_path / "huge.py").write_text(HUGE)
    await process.ask("action", "create", "huge", str(tmp_path / "huge.py"))
    assert (await process.ask("invoke", "huge", "--result")).json == {"n": "1" + "0" * 5000}
    assert (await process.ask("activation", "result", "--last")).json == {"n": "1" + "0" * 5000}
    assert columns(await process.ask("activation", "list")) != []


async def test_a_zip_file_and_another_entry_point(process: Running, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr("__main__.py", "def entry(args):\n    return {'zip': 1}")
    archive = str(tmp_path / "a.zip")
    assert "give --kind" in (await process.ask("action", "create", "zip", archive)).line
    await process.ask("action", "create", "zip", archive, "--kind", "python:3", "--main", "entry", "-p", "a", "1")
    assert (await process.ask("invoke", "zip", "--result")).json == {"zip": 1}
    assert (await process.ask("action", "get", "zip", "-o", "json")).json["parameters"] == [{"key": "a", "value": 1}]


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
    assert "no record yet of the running activation" in said


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("action", "create", "x"), 2, "Missing argument 'FILE'"),
        (("action", "create", "x", "none.py"), 2, "the code in none.py cannot be read: No such file"),
        (("action", "update", "hello", "--kind", "python:3"), 2, "give its FILE too"),
        (("action", "update", "hello", "--memory", "1"), 1, "memory must be 128 to"),
        (("action", "update", "x"), 1, "there is no action x, and a new one needs code"),
        (("action", "get", "/other/x"), 2, "there is one namespace, guest"),
        (("invoke", "hello", "--param-file", "none.json"), 2, "cannot be read"),
        (("activation", "get"), 2, "give either the ID of an activation or --last"),
        (("activation", "get", "abc"), 1, "there is no activation abc"),
        (("activation", "list", "--limit", "1000"), 1, "limit must be 1 to 200"),
    ],
)
async def test_what_is_refused(process: Running, arguments: tuple[str, ...], code: int, says: str) -> None:
    ran = await process.ask(*arguments)
    assert (ran.code, says in ran.line) == (code, True), ran


async def test_code_and_parameters_that_are_no_text(process: Running, tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_bytes(b"\xff\xfe")
    assert "is no UTF-8 text" in (await process.ask("action", "create", "bad", str(tmp_path / "bad.py"))).line
    for text, says in (("[1]", "are no JSON object"), ("{", "are no JSON: ")):
        (tmp_path / "bad.json").write_text(text)
        assert says in (await process.ask("invoke", "hello", "-P", str(tmp_path / "bad.json"))).line


# -- where there is no such mode, or it cannot start


async def test_a_framework_without_actions_says_so(ask: Ask) -> None:
    for command in (("action", "list"), ("invoke", "hello"), ("activation", "list"), ("action", "delete", "a b")):
        assert (await ask(*command)).line.endswith(
            "the framework has no actions of its own: start it with --standalone"
        )
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
    assert (ran.code, "--runtimes is for --standalone" in ran.line) == (2, True)


async def test_a_manifest_of_ones_own(tmp_path: Path) -> None:
    command = "exec python3 -m http.server $PORT"
    stem = [{"initialCount": 1, "memory": "128 MB"}]
    kinds = {"web": [{"kind": "web:1", "command": command, "stemCells": stem}]}
    (tmp_path / "runtimes.json").write_text(json.dumps({"runtimes": kinds}))
    (tmp_path / "code.py").write_text(HELLO)
    options = ("--standalone", "--master", "local", "--runtimes", str(tmp_path / "runtimes.json"))
    async with running(*options) as process:
        refused = await process.ask("action", "create", "x", str(tmp_path / "code.py"))
        assert "kind 'python:default' is not known here: use one of web:1" in refused.line

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
    for text, says in (("[action.lst]\na = 1\n", "no command [action.lst]"), ("[action]\na = 1\n", "[action.a]")):
        file.write_text(text)
        ran = await ask("action", "list")
        assert (ran.code, says in ran.line) == (2, True), ran
    monkeypatch.delenv("OWMESOS_CONFIG")
    monkeypatch.setenv("OWMESOS_ACTIVATION_LIST_LIMIT", "x")
    assert "'x' is not a valid integer" in (await ask("activation", "list")).line


async def test_who_waits_at_the_end_is_told(process: Running, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ndef main(args):\n    time.sleep(60)")
    await process.ask("action", "create", "slow", str(tmp_path / "slow.py"))
    of_process = {"OWMESOS_ADMIN": process.url}
    waiting = asyncio.ensure_future(owmesos_process("invoke", "slow", "--blocking", variables=of_process))

    async def runs() -> bool:
        return [row["state"] for row in (await process.ask("containers", "-o", "json")).json] == ["busy"]

    await eventually_async(runs)
    assert (await process.end()).code == 0
    assert (await waiting).line == "owmesos invoke: the framework process stops: ask again once it is back"


async def test_as_a_process_of_its_own(process: Running) -> None:
    ran = await owmesos_process("invoke", "hello", "--result", variables={"OWMESOS_ADMIN": process.url})
    assert ran.json == {"got": {}}
