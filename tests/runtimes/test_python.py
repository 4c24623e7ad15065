"""What python actions may do because OpenWhisk's own python runtime (openwhisk-runtime-python) lets them."""

from __future__ import annotations

import base64
import io
import os
import signal
import tarfile
import threading
import time
import zipfile
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.runtimes.conftest import Start
from tests.runtimes.container import SENTINEL, ActionContainer, zipped
from tests.waiting import eventually

PYTHON = "python:3"
CONCURRENT = {"__OW_ALLOW_CONCURRENT": "true"}
MAIN_THREAD: dict[str, tuple[str, list[Any]]] = {
    "event loop": (
        (
            "import asyncio\nasync def work():\n    await asyncio.sleep(0)\n    return 42\n"
            "def main(args):\n    return {'answer': asyncio.get_event_loop().run_until_complete(work())}"
        ),
        [{"answer": 42}, {"answer": 42}],
    ),
    "signal": (
        "import signal\ndef main(args):\n    signal.signal(signal.SIGALRM, lambda *a: None)\n    return {'ok': True}",
        [{"ok": True}] * 2,
    ),
    "sqlite3": (
        (
            "import sqlite3\ndb = sqlite3.connect(':memory:')\ndb.execute('create table hits (n integer)')\n"
            "def main(args):\n    db.execute('insert into hits values (1)')\n"
            "    return {'hits': db.execute('select count(*) from hits').fetchone()[0]}"
        ),
        [{"hits": 1}, {"hits": 2}],
    ),
    "decimal": (
        (
            "from decimal import Decimal, getcontext\ngetcontext().prec = 50\n"
            "def main(args):\n    return {'third': str(Decimal(1) / 3)}"
        ),
        [{"third": "0." + "3" * 50}] * 2,
    ),
    "threading.local": (
        (
            "import threading\ncache = threading.local()\ncache.hits = 0\n"
            "def main(args):\n    cache.hits += 1\n    return {'hits': cache.hits}"
        ),
        [{"hits": 1}, {"hits": 2}],
    ),
    "contextvars": (
        (
            "import contextvars\nuser = contextvars.ContextVar('user')\nuser.set('me')\n"
            "def main(args):\n    return {'user': user.get()}"
        ),
        [{"user": "me"}] * 2,
    ),
}


def initialized(start: Start, code: str, **options: Any) -> ActionContainer:
    container = start(PYTHON, **options)
    assert container.init(code) == (200, {"ok": True})
    return container


NO_THREADS = (
    'import _thread, os, time\ndef none(*_): raise RuntimeError("can\'t start new thread")\n'
    "_thread.start_new_thread = none\ndef main(args):\n    open(f'begun-{_thread.get_ident()}', 'w').close()\n"
    "    while not os.path.exists(args['file']): time.sleep(0.01)\n    "
)


class TestWhereMainRuns:
    @pytest.mark.parametrize("env", [{}, CONCURRENT], ids=["alone", "concurrency allowed"])
    @pytest.mark.parametrize("needs", list(MAIN_THREAD))
    def test_runs_that_do_not_overlap_are_in_the_main_thread(
        self, needs: str, env: dict[str, str], start: Start
    ) -> None:
        code, answers = MAIN_THREAD[needs]
        container = initialized(start, code, env=env)
        assert [container.run() for _ in answers] == [(200, answer) for answer in answers]

    def test_runs_that_overlap_have_the_context_of_the_loaded_code(self, start: Start) -> None:
        code = (
            "import os, time, threading\nfrom decimal import Decimal, getcontext\ngetcontext().prec = 50\n"
            "def main(args):\n    while not os.path.exists(args['file']): time.sleep(0.01)\n"
            "    main_thread = threading.current_thread() is threading.main_thread()\n"
            "    return {'third': str(Decimal(1) / 3), 'main': main_thread}"
        )
        container = initialized(start, code, env=CONCURRENT)
        answers = in_threads(container, 3)
        eventually(lambda: threads_of(container) == 5, what="two threads beside the three that are always there")
        (container.folder / "go").touch()
        eventually(lambda: len(answers) == 3)
        assert sorted(answer["main"] for _, answer in answers) == [False, False, True]
        assert {answer["third"] for _, answer in answers} == {"0." + "3" * 50}

    def test_after_runs_overlapped_the_main_thread_is_used_again(self, start: Start) -> None:
        code = (
            "import os, time, threading\ndef main(args):\n"
            "    while args and not os.path.exists(args['file']): time.sleep(0.01)\n"
            "    return {'main': threading.current_thread() is threading.main_thread()}"
        )
        container = initialized(start, code, env=CONCURRENT)
        answers = in_threads(container, 2)
        (container.folder / "go").touch()
        eventually(lambda: len(answers) == 2)
        assert container.run() == (200, {"main": True})

    def test_runs_that_overlap_are_answered_where_no_thread_can_be_started(self, start: Start) -> None:
        container = initialized(start, NO_THREADS + "return {}", env=CONCURRENT)
        answers = in_threads(container, 3)
        (container.folder / "go").touch()
        eventually(lambda: len(answers) == 3)
        assert answers == [(200, {})] * 3

    def test_large_ones_are_too(self, start: Start) -> None:
        """Which the proxy and the action send one another at the same time."""
        container = initialized(start, NO_THREADS + "return args", env=CONCURRENT)
        value = {"file": str(container.folder / "go"), "text": "x" * 3_000_000}
        answers = in_threads(container, 4, value)
        eventually(lambda: len(list(container.folder.glob("begun*"))) == 2, what="those that can run have begun")
        (container.folder / "go").touch()
        eventually(lambda: len(answers) == 4, timeout=20)
        assert answers == [(200, value)] * 4

    def test_none_outlives_the_proxy_where_no_thread_can_be_started(self, start: Start) -> None:
        container = initialized(start, NO_THREADS, env=CONCURRENT)
        in_threads(container, 2)
        eventually(lambda: len(list(container.folder.glob("begun*"))) == 2)
        container.process.kill()
        eventually(lambda: not container.members(), timeout=20)


def in_threads(
    container: ActionContainer, count: int, value: object = None, answers: list[tuple[int, Any]] | None = None
) -> list[tuple[int, Any]]:
    """The answers, as they come: those of `count` runs with the argument `value`, or one that names the file `go`."""
    answers = [] if answers is None else answers

    def ask() -> None:
        with suppress(OSError, HTTPException):  # the container may be ended meanwhile
            answers.append(container.run(value or {"file": str(container.folder / "go")}))

    for _ in range(count):
        threading.Thread(target=ask, daemon=True).start()
    return answers


def threads_of(container: ActionContainer) -> int:
    (action,) = (pid for pid in container.members() if pid != container.process.pid)
    return len(os.listdir(f"/proc/{action}/task"))  # noqa: PTH208


FORK = "import os, time\ndef main(args):\n    if os.fork() == 0:\n        time.sleep(600)\n    "
ENDS = {
    "CancelledError": "import asyncio\ndef main(args):\n    raise asyncio.CancelledError()",
    "KeyboardInterrupt": "def main(args):\n    raise KeyboardInterrupt",
    "GeneratorExit": "def main(args):\n    raise GeneratorExit",
    "an own BaseException": "class Own(BaseException): pass\ndef main(args):\n    raise Own",
    "sys.exit": "import sys\ndef main(args):\n    sys.exit(1)",
    "os._exit with a living child": FORK + "os._exit(3)",
    "an exit with a living child": FORK + "raise SystemExit(3)",
    "an exit with a living thread": (
        "import threading, time\ndef main(args):\n    threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "    raise SystemExit(3)"
    ),
    "SIGSEGV": "import os, signal\ndef main(args):\n    os.kill(os.getpid(), signal.SIGSEGV)",
    "all files closed": "import os\ndef main(args):\n    os.closerange(0, 100)\n    os._exit(3)",
}


class TestWhatEndsMain:
    @pytest.mark.parametrize("env", [{}, CONCURRENT], ids=["alone", "concurrency allowed"])
    @pytest.mark.parametrize("how", list(ENDS))
    def test_is_answered_at_once_as_an_error_of_the_developer(
        self, how: str, env: dict[str, str], start: Start
    ) -> None:
        container = initialized(start, ENDS[how], env=env)
        begin = time.monotonic()
        status, answer = container.run()
        assert time.monotonic() - begin < 10  # a second on a machine that has nothing else to do
        assert (status, answer) == (400, {"error": "command exited"})
        assert container.stdout().endswith(SENTINEL + "\n")
        assert container.stderr().endswith(SENTINEL + "\n")

    @pytest.mark.parametrize("how", ["CancelledError", "KeyboardInterrupt"])
    def test_has_its_traceback_in_the_log(self, how: str, start: Start) -> None:
        container = initialized(start, ENDS[how])
        container.run()
        assert "Traceback (most recent call last)" in container.stderr()
        assert ENDS[how].splitlines()[-1].strip() in container.stderr()

    def test_costs_no_run_beside_it(self, start: Start) -> None:
        code = (
            "import asyncio, os, time\ndef main(args):\n    if not args: raise asyncio.CancelledError()\n"
            "    while not os.path.exists(args['file']): time.sleep(0.01)\n    return {'done': True}"
        )
        container = initialized(start, code, env=CONCURRENT)
        answers = in_threads(container, 1)
        assert container.run()[0] == 400
        (container.folder / "go").touch()
        eventually(lambda: answers == [(200, {"done": True})])

    def test_costs_no_run_beside_it_that_was_answered_before(self, start: Start) -> None:
        """Although the proxy sees that one channel closed before it reads the answer in the other."""
        code = (
            "import os, time\ndef threads(): return len(os.listdir('/proc/self/task'))\n"
            "def main(args):\n    open(args['what'], 'w').close()\n"
            "    while not os.path.exists('go'): time.sleep(0.01)\n"
            "    if args['what'] == 'beside':\n        while not os.path.exists('closed'): time.sleep(0.01)\n"
            "        return {'done': True}\n"
            "    os.close(next(fd for fd in range(3, 99) if os.path.exists(f'/proc/self/fd/{fd}')))\n"
            "    open('closed', 'w').close()\n    while threads() > 3: time.sleep(0.01)\n    os._exit(3)"
        )
        container = initialized(start, code, env=CONCURRENT)
        answers: list[tuple[int, Any]] = []
        for what in ("ends", "beside"):
            in_threads(container, 1, {"what": what}, answers)
            eventually((container.folder / what).exists)
        container.process.send_signal(signal.SIGSTOP)
        (container.folder / "go").touch()
        eventually(lambda: len(container.members()) == 1, timeout=20, what="the action's process has ended")
        container.process.send_signal(signal.SIGCONT)
        eventually(lambda: len(answers) == 2)
        assert sorted(answers, key=str) == [(200, {"done": True}), (400, {"error": "command exited"})]

    def test_the_text_of_an_exit_is_in_the_log(self, start: Start) -> None:
        container = initialized(start, "import sys\ndef main(args):\n    sys.exit('no more paper')")
        assert container.run()[0] == 400
        assert "no more paper" in container.stderr()

    def test_an_exception_that_cannot_be_printed_is_an_error_of_the_application(self, start: Start) -> None:
        code = (
            "class Odd(Exception):\n    def __str__(self): raise KeyboardInterrupt\n    __repr__ = __str__\n"
            "def main(args):\n    raise Odd"
        )
        container = initialized(start, code)
        assert container.run() == (200, {"error": "Odd, which cannot be printed"})
        assert container.run()[0] == 200

    @pytest.mark.parametrize("stream", ["None", "7", "open('/dev/full', 'w')"])
    def test_an_exception_is_told_whatever_became_of_stderr(self, stream: str, start: Start) -> None:
        container = initialized(start, f"import sys\nsys.stderr = {stream}\ndef main(args):\n    raise ValueError('x')")
        assert container.run() == (200, {"error": "x"})
        assert "ValueError: x" in container.stderr()

    def test_an_exception_between_runs_ends_the_container(self, start: Start) -> None:
        """So that the next run gets another one, and is not charged for it."""
        code = (
            "import signal\ndef late(*_): raise TimeoutError('too late')\n"
            "def main(args):\n    signal.signal(signal.SIGALRM, late)\n"
            "    signal.setitimer(signal.ITIMER_REAL, 0.2)\n    return {}"
        )
        container = initialized(start, code)
        assert container.run() == (200, {})
        assert container.process.wait(10) == 1
        assert "TimeoutError: too late" in container.stderr()
        assert container.stdout() == f"{SENTINEL}\n"

    @pytest.mark.parametrize(
        ("ending", "status"),
        [("os._exit(3)", 3), ("os._exit(0)", 1), ("os.kill(os.getpid(), 9)", 137), ("os.abort()", 134)],
    )
    def test_any_other_end_between_runs_does_too(self, ending: str, status: int, start: Start) -> None:
        code = (
            "import os, threading\ndef late(file):\n    while not os.path.exists(file): pass\n    " + ending + "\n"
            "def main(args):\n    threading.Thread(target=late, args=[args['file']]).start()\n    return {}"
        )
        container = initialized(start, code)
        file = container.folder / "go"
        assert container.run({"file": str(file)}) == (200, {})
        file.touch()
        assert container.process.wait(10) == status

    def test_a_child_that_comes_back_from_main_answers_nothing(self, start: Start) -> None:
        container = initialized(start, "import os\ndef main(args):\n    return {'child': os.fork() == 0}")
        for _ in range(3):
            assert container.run() == (200, {"child": False})
        eventually(lambda: len(container.members()) == 2)

    def test_a_child_that_was_forked_while_another_run_was_answered_ends_too(self, start: Start) -> None:
        code = (
            "import os, sys, time\ndef sending():\n"
            "    return any(frame.f_code.co_name == 'send_all' for frame in sys._current_frames().values())\n"
            "def main(args):\n    open(args['what'], 'w').close()\n"
            "    while not os.path.exists('go'): time.sleep(0.01)\n"
            "    if args['what'] == 'answer': return {'text': 'x' * 4_000_000}\n"
            "    while args['what'] == 'fork' and not sending(): time.sleep(0.01)\n"
            "    child = args['what'] == 'fork' and os.fork() == 0\n"
            "    if args['what'] == 'fork': open('forked', 'w').close()\n    return {'child': child}"
        )
        container = initialized(start, code, env=CONCURRENT)
        answers: list[tuple[int, Any]] = []
        for what in ("wait", "answer", "fork"):  # the first has the main thread
            in_threads(container, 1, {"what": what}, answers)
            eventually((container.folder / what).exists)
        container.process.send_signal(signal.SIGSTOP)  # it reads no answer
        (container.folder / "go").touch()
        eventually((container.folder / "forked").exists)
        container.process.send_signal(signal.SIGCONT)
        eventually(lambda: len(answers) == 3)
        eventually(lambda: len(container.members()) == 2, timeout=20, what="the child has ended")


class TestResults:
    def test_a_tuple_is_an_array(self, start: Start) -> None:
        assert initialized(start, "def main(args): return (1, 'two')").run() == (200, [1, "two"])

    def test_a_lone_surrogate_is_passed_on(self, start: Start) -> None:
        container = initialized(start, "def main(args): return {'got': args['x'], 'own': '\\ud83d'}")
        assert container.run({"x": "\ud800"}) == (200, {"got": "\ud800", "own": "\ud83d"})

    def test_an_object_that_fails_while_it_is_written_is_an_error(self, start: Start) -> None:
        code = (
            "class Odd(dict):\n    def items(self): raise RuntimeError('odd')\ndef main(args): return {'x': Odd(a=1)}"
        )
        container = initialized(start, code)
        for _ in range(2):
            status, answer = container.run()
            assert (status, answer["error"].endswith(": odd")) == (502, True)

    def test_texts_are_printed_whatever_the_locale_is(self, start: Start) -> None:
        container = initialized(start, "def main(args): print('☃')", env={"PYTHONIOENCODING": "ascii"})
        container.run()
        assert container.stdout().splitlines()[0] == "☃"


def archive(files: dict[str, str], links: dict[str, str] | None = None, modes: dict[str, int] | None = None) -> str:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as made:
        for name, text in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o100000 | (modes or {}).get(name, 0o644)) << 16
            made.writestr(info, text)
        for name, target in (links or {}).items():
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = 0o120777 << 16
            made.writestr(info, target)
    return base64.b64encode(data.getvalue()).decode()


def tarred(files: dict[str, str]) -> str:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as made:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            made.addfile(info, io.BytesIO(text.encode()))
    return base64.b64encode(data.getvalue()).decode()


SIMPLE = "def main(args): return {'from': __file__.rpartition('/')[2]}"
GREETS = "import greeting\ndef main(args): return {'g': greeting.word}"
ON_WINDOWS = (
    "import os, sys\n"
    "sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'Lib'))"
)


class TestArchives:
    @pytest.mark.parametrize("entry", ["exec", "__main__.py", "main__.py"])
    @pytest.mark.parametrize("form", [zipped, tarred])
    def test_each_entry_point_of_openwhisk_is_one(self, entry: str, form: Any, start: Start) -> None:
        container = start(PYTHON)
        assert container.init(form({entry: SIMPLE}), binary=True) == (200, {"ok": True})
        assert container.run() == (200, {"from": "main__.py"})

    def test_exec_comes_before_the_others(self, start: Start) -> None:
        container = start(PYTHON)
        files = {"exec": "def main(args): return {'from': 'exec'}", "__main__.py": SIMPLE, "main__.py": SIMPLE}
        container.init(zipped(files), binary=True)
        assert container.run() == (200, {"from": "exec"})

    def test_source_may_be_in_base64_with_line_ends(self, start: Start) -> None:
        container = start(PYTHON)
        code = base64.encodebytes(b"# coding: latin-1\ndef main(args): return {'s': '\xfc'}" + b" " * 100).decode()
        assert container.init(code, binary=True) == (200, {"ok": True})
        assert container.run() == (200, {"s": "ü"})

    def test_what_is_not_base64_is_refused_and_init_may_be_repeated(self, start: Start) -> None:
        container = start(PYTHON)
        status, answer = container.init("@@@@", binary=True)
        assert status == 400
        assert "base64" in answer["error"]
        assert container.init(zipped({"exec": SIMPLE}), binary=True)[0] == 200

    @pytest.mark.parametrize(("data", "said"), [(b"PK\3\4abc", "zip"), (b"\x1f\x8babc", "tar.gz")])
    def test_a_broken_archive_is_told(self, data: bytes, said: str, start: Start) -> None:
        status, answer = start(PYTHON).init(base64.b64encode(data).decode(), binary=True)
        assert status == 502
        assert f"not a valid {said} archive" in answer["error"]

    def test_files_have_their_modes_and_links_lead_where_they_led(self, start: Start) -> None:
        code = (
            "import os, subprocess\nfrom linked import word\n"
            "def main(args): return {'said': subprocess.check_output(['./tool'], text=True), 'word': word}"
        )
        files = {"__main__.py": code, "tool": "#!/bin/sh\necho hello", "greeting.py": "word = 'hi'"}
        container = start(PYTHON)
        code = archive(files, links={"linked.py": "greeting.py"}, modes={"tool": 0o755})
        assert container.init(code, binary=True) == (200, {"ok": True})
        assert container.run() == (200, {"said": "hello\n", "word": "hi"})

    @pytest.mark.parametrize("scripts", ["bin", "Scripts"])
    def test_a_virtualenv_of_either_system_is_activated(self, scripts: str, start: Start) -> None:
        files = {
            "__main__.py": GREETS,
            f"virtualenv/{scripts}/activate_this.py": ON_WINDOWS,
            "virtualenv/Lib/greeting.py": "word = 'hi'",
        }
        container = start(PYTHON)
        assert container.init(zipped(files), binary=True) == (200, {"ok": True})
        assert container.run() == (200, {"g": "hi"})

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            ({"virtualenv/bin/activate": "", "virtualenv/pyvenv.cfg": ""}, "does not include 'activate_this.py'"),
            ({"virtualenv/invalidvirtualenv.md": ""}, "Invalid virtualenv."),
            ({"virtualenv/bin/activate_this.py": "raise OSError('torn')"}, "OSError: torn"),
            ({"virtualenv/bin/activate_this.py": "def"}, "SyntaxError"),
            ({"requirements.txt": "greeting"}, "does not install requirements.txt"),
        ],
    )
    def test_packages_that_cannot_be_used_are_told(self, files: dict[str, str], said: str, start: Start) -> None:
        container = start(PYTHON)
        status, answer = container.init(zipped({"__main__.py": GREETS, **files}), binary=True)
        assert status == 502
        assert said in answer["error"]
        assert said in container.stderr()

    def test_requirements_that_the_archive_brings_itself_are_no_error(self, start: Start) -> None:
        files = {"__main__.py": GREETS, "greeting.py": "word = 'hi'", "requirements.txt": "greeting"}
        assert start(PYTHON).init(zipped(files), binary=True) == (200, {"ok": True})


class TestLog:
    @pytest.mark.parametrize("binary", [False, True])
    def test_tracebacks_have_the_lines_of_the_source(self, binary: bool, start: Start) -> None:
        code = "def main(args):\n    return {'x': 1 / args['zero']}  # here"
        container = start(PYTHON)
        container.init(zipped({"__main__.py": code}) if binary else code, binary=binary)
        assert container.run({"zero": 0}) == (200, {"error": "division by zero"})
        assert "return {'x': 1 / args['zero']}  # here" in container.stderr()
        assert "action.py" not in container.stderr()  # ours is of no interest

    def test_a_second_init_is_in_the_log(self, start: Start) -> None:
        container = initialized(start, SIMPLE)
        container.init(SIMPLE)
        assert container.stderr() == "Cannot initialize the action more than once.\n"

    def test_an_archive_without_an_entry_point_is_in_the_log(self, start: Start) -> None:
        container = start(PYTHON)
        assert container.init(zipped({"echo.py": ""}), binary=True)[0] == 502
        assert "Zip file does not include __main__.py." in container.stderr()

    @pytest.mark.parametrize("code", ["import sys\nsys.exit(1)", "import os\nos._exit(0)", "raise KeyboardInterrupt"])
    def test_an_end_during_init_is_in_the_log(self, code: str, start: Start) -> None:
        container = start(PYTHON)
        assert container.init(code) == (502, {"error": "Cannot start action. Check logs for details."})
        assert container.stderr().splitlines()[-2:] == ["Command exited abruptly during initialization.", SENTINEL]

    @pytest.mark.parametrize("name", ["", "a=b", "a\0b"])
    def test_a_variable_that_cannot_be_set_is_told(self, name: str, start: Start) -> None:
        status, answer = start(PYTHON).init(SIMPLE, env={name: "x"})
        assert status == 502
        assert f"The variable {name!r} of the environment cannot be set" in answer["error"]


class TestPackages:
    IMPORTS = (
        "import importlib.util, sys\n"
        "def main(args): return {n: n in sys.modules or importlib.util.find_spec(n) is not None for n in args['names']}"
    )

    def test_those_of_the_runtime_are_not_the_actions(self, start: Start) -> None:
        names = ["owmesos", "aiohttp", "msgspec", "click"]
        container = initialized(start, self.IMPORTS)
        assert container.run({"names": [*names, "sqlite3"]}) == (200, {**dict.fromkeys(names, False), "sqlite3": True})

    def test_those_of_pythonpath_are(self, start: Start, tmp_path: Path) -> None:
        packages = tmp_path / "for-actions" / "site-packages"
        packages.mkdir(parents=True)
        (packages / "greeting.py").write_text("word = 'hi'")
        container = initialized(start, GREETS, env={"PYTHONPATH": str(packages)})
        assert container.run() == (200, {"g": "hi"})
