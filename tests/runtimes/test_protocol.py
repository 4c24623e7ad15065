"""The action container protocol, which both runtimes fulfil alike."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import threading
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.container import COMMANDS, SENTINEL, zipped
from tests.waiting import eventually

ECHO = {
    "python:3": "def main(args):\n    return {'got': args}",
    "nodejs:20": "function main(args) { return { got: args } }",
}
ENV = {
    "python:3": "import os\ndef main(args):\n    return {name: os.environ.get(name) for name in args['names']}",
    "nodejs:20": "const main = ({ names }) => Object.fromEntries(names.map((n) => [n, process.env[n]]))",
}
PRINT = {
    "python:3": "import sys\ndef main(args):\n    print('out', args)\n    print('err', file=sys.stderr)\n    return {}",
    "nodejs:20": "function main(args) { console.log('out', args); console.error('err') }",
}
RAISE = {
    "python:3": "def main(args):\n    raise ValueError('no luck')",
    "nodejs:20": "async function main(args) { throw new Error('no luck') }",
}
EXIT = {
    "python:3": "import os\ndef main(args):\n    print('last words')\n    os._exit(3)",
    "nodejs:20": "function main(args) { console.log('last words'); process.exit(3) }",
}
WAIT = {
    "python:3": "import os, time\ndef main(args):\n    while not os.path.exists(args['file']): time.sleep(0.01)\n"
    "    return {'done': args['id']}",
    "nodejs:20": "const fs = require('fs')\nasync function main({ file, id }) {\n"
    "  while (!fs.existsSync(file)) await new Promise((r) => setTimeout(r, 10))\n  return { done: id } }",
}


def test_code_of_one_file_is_run_again_and_again(kind: str, start: Start) -> None:
    container = start(kind)
    assert container.init(ECHO[kind])[0] == 200
    for number in range(3):
        assert container.run({"n": number, "text": "ü"}) == (200, {"got": {"n": number, "text": "ü"}})


def test_main_may_have_another_name(kind: str, start: Start) -> None:
    container = start(kind)
    assert container.init(ECHO[kind].replace("main", "niam"), main="niam")[0] == 200
    assert container.run({})[0] == 200


def installed(*cases: tuple[str, Any, Any] | tuple[str, Any]) -> list[tuple[Any, ...]]:
    """Those whose kind can run on this machine."""
    return [case for case in cases if case[0] in COMMANDS]


@pytest.mark.parametrize(
    ("kind", "files"),
    installed(
        (
            "python:3",
            {"__main__.py": "from part.one import main", "part/one.py": "def main(a): return {'from': 'part'}"},
        ),
        (
            "nodejs:20",
            {"index.js": "exports.main = () => require('./part/one')", "part/one.js": "exports.from = 'part'"},
        ),
        (
            "nodejs:20",
            {"package.json": '{"main": "lib/it.js"}', "lib/it.js": "exports.main = async () => ({ from: 'part' })"},
        ),
    ),
)
def test_a_zip_archive_is_unpacked_and_run(kind: str, files: dict[str, str], start: Start) -> None:
    container = start(kind)
    assert container.init(zipped(files), binary=True)[0] == 200
    assert container.run() == (200, {"from": "part"})


@pytest.mark.parametrize(
    "code", [base64.b64encode(b"PK torn").decode(), zipped({"other.txt": ""})], ids=("torn", "empty")
)
def test_an_archive_that_is_torn_or_has_no_entry_point_is_told(kind: str, code: str, start: Start) -> None:
    status, answer = start(kind).init(code, binary=True)
    assert status == 502
    assert answer["error"]


def test_environment_comes_with_init_and_context_with_each_run(kind: str, start: Start) -> None:
    container = start(kind)
    assert container.init(ENV[kind], env={"TEXT": "a b", "NUMBER": 3, "LIST": [1, 2], "__OW_API_KEY": "k"})[0] == 200
    names = ["TEXT", "NUMBER", "LIST", "__OW_API_KEY", "__OW_ACTIVATION_ID", "__OW_DEADLINE"]
    status, answer = container.run({"names": names}, activation_id="a1", deadline="99")
    assert status == 200
    answer["LIST"] = json.loads(answer["LIST"])
    assert answer == dict(zip(names, ["a b", "3", [1, 2], "k", "a1", "99"], strict=True))
    assert container.run({"names": ["__OW_ACTIVATION_ID"]}, activation_id="a2")[1] == {"__OW_ACTIVATION_ID": "a2"}


def test_a_second_init_is_forbidden_and_spoils_nothing(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(ECHO[kind])
    status, answer = container.init(RAISE[kind])
    assert (status, answer) == (403, {"error": "Cannot initialize the action more than once."})
    assert container.run({"still": "there"}) == (200, {"got": {"still": "there"}})


def test_init_without_code_is_forbidden_and_may_be_repeated(kind: str, start: Start) -> None:
    container = start(kind)
    assert container.init("") == (403, {"error": "Missing main/no code to execute."})
    assert container.init(ECHO[kind])[0] == 200


def test_run_before_init_is_refused(kind: str, start: Start) -> None:
    status, answer = start(kind).run()
    assert (status, answer["error"]) in [(500, "no action defined yet"), (403, "System not initialized.")]


def test_lines_go_to_their_streams_and_each_activation_ends_with_a_sentinel(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(PRINT[kind])
    container.run({})
    container.run({})
    assert container.stdout().splitlines() == ["out {}", SENTINEL] * 2
    assert container.stderr().splitlines() == ["err", SENTINEL] * 2


def test_an_exception_is_an_error_of_the_application(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(RAISE[kind])
    status, answer = container.run()
    assert status == 200
    assert "no luck" in json.dumps(answer["error"])
    assert container.run()[0] == 200


@pytest.mark.parametrize(
    ("kind", "code", "said"),
    installed(
        ("python:3", "def main(args:\n", "SyntaxError"),
        ("python:3", "import nothing_of_that_name", "ModuleNotFoundError"),
        ("python:3", "x = 1", "the action does not define a function 'main'"),
        ("python:3", "raise SystemExit(4)", "Cannot start action."),
        ("nodejs:20", "function main(args {", "SyntaxError"),
        ("nodejs:20", "const x = 1", "is not a function"),
        ("nodejs:20", "process.exit(4)", "exited unexpectedly"),
    ),
)
def test_code_that_cannot_be_loaded_is_told_with_its_reason(kind: str, code: str, said: str, start: Start) -> None:
    container = start(kind)
    status, answer = container.init(code)
    assert status == 502
    assert said in answer["error"]
    assert container.stdout().endswith(SENTINEL + "\n")
    assert container.run()[0] in (403, 500)


def test_a_result_that_is_neither_object_nor_array_is_refused(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(ECHO[kind].replace("{'got': args}", "'text'").replace("{ got: args }", "'text'"))
    assert container.run() == (502, {"error": "The action did not return a dictionary or array."})


def test_a_result_that_is_no_json_is_refused(kind: str, start: Start) -> None:
    code = {"python:3": "def main(a): return {'x': {1, 2}}", "nodejs:20": "const main = () => ({ x: 1n })"}
    container = start(kind)
    container.init(code[kind])
    status, answer = container.run()
    assert status == 502
    assert "JSON" in answer["error"]


def test_arrays_are_taken_and_given(kind: str, start: Start) -> None:
    container = start(kind)
    container.init({"python:3": "def main(a): return a[::-1]", "nodejs:20": "const main = (a) => a.reverse()"}[kind])
    assert container.run([1, "two"]) == (200, ["two", 1])


@pytest.mark.parametrize("value", ["text", 3])
def test_arguments_that_are_no_object_are_refused(value: object, kind: str, start: Start) -> None:
    container = start(kind)
    container.init(ECHO[kind])
    assert container.run(value)[0] == 403


def test_a_large_answer_comes_whole(kind: str, start: Start) -> None:
    code = {"python:3": "def main(a): return {'x': 'y' * 5_000_000}"}
    container = start(kind)
    container.init(code.get(kind, "const main = () => ({ x: 'y'.repeat(5_000_000) })"))
    status, answer = container.run()
    assert (status, len(answer["x"])) == (200, 5_000_000)


def test_a_crash_of_the_code_is_seen_and_its_last_lines_are_kept(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(EXIT[kind])
    status, answer = container.run()
    assert status in (400, 502)
    assert "exited" in answer["error"]
    assert container.stdout().splitlines() == ["last words", SENTINEL]
    assert container.stderr().splitlines()[-1] == SENTINEL
    assert container.run()[0] in (403, 500)


def test_code_that_is_killed_ends_the_container_so_that_the_agent_can_say_why(kind: str, start: Start) -> None:
    code = {
        "python:3": "import os\ndef main(a): os.kill(os.getpid(), 9)",
        "nodejs:20": "const main = () => { process.kill(process.pid, 'SIGKILL'); return new Promise(() => {}) }",
    }
    container = start(kind)
    container.init(code[kind])
    with pytest.raises((ConnectionError, OSError)):
        container.run()
    assert container.process.wait(10) == 137


def test_one_run_at_a_time_unless_concurrency_is_allowed(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(WAIT[kind])
    answers = _in_threads(container, 2)
    eventually(lambda: len(answers) == 1, what="one of two is refused")
    assert answers[0] == (403, {"error": "System not ready, status is running."})
    (container.folder / "go").touch()
    eventually(lambda: len(answers) == 2)
    assert answers[1][0] == 200


def test_runs_overlap_where_concurrency_is_allowed(kind: str, start: Start) -> None:
    container = start(kind, env={"__OW_ALLOW_CONCURRENT": "true"})
    container.init(
        WAIT[kind].replace("args['file']", "args['file'] + str(args['id'])").replace("(file)", "(file + id)")
    )
    answers = _in_threads(container, 3)
    for number in (2, 0, 1):  # each ends by itself, in any order
        before = len(answers)
        (container.folder / f"go{number}").touch()
        eventually(lambda before=before: len(answers) > before)  # type: ignore[misc]
        assert answers[-1] == (200, {"done": number})
    assert container.stdout().count(SENTINEL) == 3


def _in_threads(container: Any, count: int) -> list[tuple[int, Any]]:
    answers: list[tuple[int, Any]] = []

    def ask(number: int) -> None:
        with suppress(OSError, HTTPException):  # the container may be ended meanwhile
            answers.append(container.run({"file": str(container.folder / "go"), "id": number}))

    for number in range(count):
        threading.Thread(target=ask, args=(number,), daemon=True).start()
    return answers


def test_garbage_and_other_paths_and_methods_are_answered(kind: str, start: Start) -> None:
    container = start(kind)
    assert container.post("/init", b"{no json")[0] == 400
    assert container.post("/other", {})[0] == 404
    assert container.post("/run", b"", method="PUT")[0] == 405
    with socket.create_connection(("127.0.0.1", container.port)) as connection:
        connection.settimeout(10)
        connection.sendall(b"what is this\r\n\r\n")
        assert b" 400 " in connection.recv(1000)
    assert container.init(ECHO[kind])[0] == 200


def test_no_process_is_left_when_the_container_is_told_to_end(kind: str, start: Start) -> None:
    container = start(kind)
    container.init(WAIT[kind])
    _in_threads(container, 1)
    eventually(lambda: len(container.members()) == 2)
    container.process.terminate()
    eventually(lambda: not container.members())


def test_no_process_is_left_when_the_proxy_is_killed(kind: str, start: Start) -> None:
    code = {"python:3": "def main(a):\n    while True: pass", "nodejs:20": "const main = () => new Promise(() => {})"}
    container = start(kind)
    container.init(code[kind])
    _in_threads(container, 1)
    container.process.kill()
    eventually(lambda: not container.members())


@pytest.mark.parametrize("given", [["--port", "x"], ["--port", "0"], ["--prt", "8080"], []])
def test_a_wrong_command_line_ends_with_one_line(given: list[str], kind: str) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PORT"}
    done = subprocess.run([*COMMANDS[kind], *given], capture_output=True, text=True, env=env, timeout=20, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "usage: " in done.stderr


def test_a_port_that_is_taken_ends_with_one_line(kind: str, start: Start) -> None:
    port = str(start(kind).port)
    done = subprocess.run([*COMMANDS[kind], "--port", port], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cannot listen on 127.0.0.1:{port}: ")
    assert len(done.stderr.splitlines()) == 1
