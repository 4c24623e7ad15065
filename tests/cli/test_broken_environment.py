"""The command line where the machine, or what it is given, is not as it should be: one line, and never a traceback."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path

import pytest

from tests.cli.running import ROOT, Ran, environment, owmesos, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.fakes.odd_server import ODD_ANSWERS, OddServer
from tests.waiting import eventually_async

NOBODY = """
import pwd
def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")
pwd.getpwuid = unknown
"""
NAMELESS = {"USER": "", "LOGNAME": "", "LNAME": "", "USERNAME": ""}
HERE = ("--admin", "127.0.0.1:0")
BAD_HOSTS = ("a..b", ".", f"{'a' * 64}.com", f"{'a.' * 127}b")


async def shell(script: str, **variables: str) -> Ran:
    """`owmesos` in it is the command."""
    pipe = asyncio.subprocess.PIPE
    whole = f'owmesos() {{ "{sys.executable}" -m owmesos "$@"; }}\n{script}'
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", whole, stdout=pipe, stderr=pipe, env=environment(**{"PYTHONPATH": str(ROOT), **variables})
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """The environment of a process whose user id has no name on this machine, as in many containers."""
    (tmp_path / "sitecustomize.py").write_text(NOBODY, encoding="utf-8")
    return {**NAMELESS, "PYTHONPATH": f"{tmp_path}:{ROOT}"}


class TestTheUser:
    async def test_one_without_a_name_is_told_what_to_say(self, nobody: dict[str, str], tmp_path: Path) -> None:
        flags = ("--master", "127.0.0.1:1", "--state", str(tmp_path / "state"), *HERE)
        ran = await owmesos_process("run", *flags, variables=nobody)
        assert (ran.code, ran.out) == (2, "")
        assert "has no user name: give the user that tasks run as (`user`, --user), or set USER" in ran.err
        assert "Traceback" not in ran.err

    @pytest.mark.parametrize("how", ["flag", "variable"])
    async def test_who_says_it_is_served(
        self, fake_cluster: FakeCluster, nobody: dict[str, str], tmp_path: Path, how: str
    ) -> None:
        flags = ("--user", "build") if how == "flag" else ()
        variables = nobody if how == "flag" else {**nobody, "USER": "build"}
        where = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"))
        async with running(*where, *flags, variables=variables) as process:
            await eventually_async(lambda: bool(fake_cluster.master.subscribes))
            await process.end()
        assert fake_cluster.master.subscribes[0]["subscribe"]["framework_info"]["user"] == "build"

    @pytest.mark.parametrize("home", [None, "", "/nowhere/at/all", "/dev/null"])
    async def test_a_home_that_is_none(self, home: str | None, tmp_path: Path) -> None:
        said = "unset HOME" if home is None else f"export HOME={home!r}"
        ran = await shell(f"{said}; cd {tmp_path}; owmesos nodes --admin 127.0.0.1:1; owmesos --help")
        assert ran.code == 0
        assert ran.err.startswith("owmesos nodes: no framework answers at")
        assert "Traceback" not in ran.err
        assert await asyncio.to_thread(lambda: not list(tmp_path.iterdir()))  # nothing is left

    async def test_without_a_home_the_state_is_asked_for(self, nobody: dict[str, str], tmp_path: Path) -> None:
        """An empty HOME is none to platformdirs, nor to `~`."""
        script = (
            f"unset HOME XDG_STATE_HOME; cd {tmp_path}; owmesos run --master 127.0.0.1:1 --user u --admin 127.0.0.1:0"
        )
        ran = await shell(script, **nobody)
        assert ran.code == 2
        assert "has no home folder for owmesos's state: set HOME, or XDG_STATE_HOME, or give --state" in ran.line


class TestFolders:
    async def test_a_working_folder_that_is_gone(self, tmp_path: Path) -> None:
        gone = tmp_path / "gone"
        ran = await shell(f"mkdir {gone}; cd {gone}; rmdir {gone}; owmesos nodes --admin 127.0.0.1:1")
        assert (ran.code, ran.err.startswith("owmesos nodes: no framework answers")) == (1, True)
        run = "owmesos run --master 127.0.0.1:1 --state here --admin 127.0.0.1:0"
        ran = await shell(f"mkdir {gone}; cd {gone}; rmdir {gone}; {run}")
        assert ran.line == "owmesos run: the folder here for the state cannot be created: No such file or directory"

    @pytest.mark.parametrize("limit", [0, 4])  # KB
    async def test_a_disk_that_is_full_at_the_start(self, tmp_path: Path, limit: int) -> None:
        """A file may not grow any more: what is written fails as on a full disk."""
        state = tmp_path / "state"
        run = f"owmesos run --master 127.0.0.1:1 --state {state} --admin 127.0.0.1:0"
        ran = await shell(f"trap '' XFSZ; ulimit -f {limit}; {run}")
        assert ran.code == 1
        assert str(state) in ran.err.splitlines()[-1]
        assert "Traceback" not in ran.err

    async def test_output_that_cannot_be_written(self) -> None:
        for command in ("owmesos --help", "owmesos --version", "owmesos run --help", "owmesos completion bash"):
            ran = await shell(f"{command} >/dev/full")
            assert ran.code == 1
            assert ran.line.endswith(": the output cannot be written: No space left on device")

    @pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
    async def test_streams_that_are_closed(self, closed: str) -> None:
        assert await shell(f"owmesos --version {closed}") == Ran(0, "", "")
        ran = await shell(f"owmesos logs x --admin 127.0.0.1:1 {closed}")
        assert ran.code == 1
        assert ran.err.startswith("owmesos logs: no framework answers at") or "2>&-" in closed
        assert "Traceback" not in ran.err


class TestTexts:
    @pytest.mark.parametrize("command", ["explain", "story", "kill", "invoke"])
    def test_an_argument_that_is_not_utf_8(self, command: str) -> None:
        ran = owmesos(command, "a\udcff", "--admin", "127.0.0.1:1")
        assert ran.code in (1, 2)
        assert ran.line.isprintable()

    @pytest.mark.parametrize("option", ["--name", "--role", "--user", "--principal"])
    def test_what_a_master_is_told_and_is_not_utf_8(self, tmp_path: Path, option: str) -> None:
        secret = tmp_path / "secret"
        secret.touch(mode=0o600)
        secret.write_text("s", encoding="utf-8")
        more = ("--secret-file", str(secret)) if option == "--principal" else ()
        ran = owmesos("run", "--master", "h:1", "--state", str(tmp_path / "state"), *HERE, option, "a\udcff", *more)
        assert ran.code == 2
        assert ran.err.splitlines()[-1].endswith(f"the framework's {option[2:]} is not valid Unicode: 'a\\udcff'")

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (b'name = "\xe9"', "is not valid TOML: 'utf-8' codec can't decode byte 0xe9"),
            (b"\xff\xfen\0a\0", "is not valid TOML: 'utf-8' codec can't decode"),
            (b"name = " + b"[" * 100_000, "is not valid TOML"),
            (b"a." * 2_000 + b"a = 1", "owmesos.toml"),  # valid or not, as the version of the parser has it
            (b"id = " + b"9" * 6000, "is not valid TOML"),
            (b'state = "a\\u0000b"', "state must not contain a NUL character"),
            (b'role = ["r", "a\\u0000b"]', "role must not contain a NUL character"),
            (b'tls-ca = "\\u0000"', "tls-ca must not contain a NUL character"),
        ],
        ids=itertools.count(),
    )
    def test_a_configuration_that_is_none(self, tmp_path: Path, content: bytes, reason: str) -> None:
        file = tmp_path / "owmesos.toml"
        file.write_bytes(content)
        ran = owmesos("run", "--master", "h:1", *HERE, "--config", str(file))
        assert ran.code == 2
        assert reason in ran.line

    async def test_a_terminal_without_unicode(self) -> None:
        variables = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
        for command in ("owmesos --help", "owmesos run --help", "owmesos nodes --master '\u00fc:1'"):
            ran = await shell(command, **variables)
            assert ran.code in (0, 2)
            assert "Traceback" not in ran.err


class TestAddresses:
    @pytest.mark.parametrize("host", BAD_HOSTS)
    def test_a_host_that_cannot_be_looked_up(self, tmp_path: Path, host: str) -> None:
        state = ("--state", str(tmp_path / "state"))
        for arguments in (
            ("nodes", "--master", f"{host}:1"),
            ("nodes", "--admin", f"{host}:1"),
            ("run", "--master", f"{host}:1", *state, *HERE),
            ("run", "--master", f"zk://{host}:1/mesos", *state, *HERE),
            ("run", "--master", "h:1", *state, "--admin", f"{host}:1"),
        ):
            ran = owmesos(*arguments)
            assert ran.code == 2
            assert "is not the name of a host" in ran.line

    @pytest.mark.parametrize(
        "url",
        [
            "http://u:secret@a:x", "http://u:secret@a:99999", "http://u:secret@a:0", "http://u:secret@a:-1",
            "http://u:secret@[::1", "http://u:secret@", "http://u:secret@a b", "http://u:secret@a..b:1",
            "http://u:secret@h:1?x", "http://u:secret@h:1#x", "ftp://u:secret@h", "h:1", "//h:1",
            f"http://u:secret@{'a' * 70}.com",
        ],
    )  # fmt: skip
    def test_a_couchdb_that_is_none(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
        pytest.importorskip("kafka")
        monkeypatch.setenv("OWMESOS_COUCHDB", url)
        flags = ("--master", "h:1", "--kafka", "127.0.0.1:1", "--id", "0", "--state", str(tmp_path / "state"), *HERE)
        ran = owmesos("run", *flags)
        assert ran.code == 2
        assert "secret" not in ran.err
        assert "Traceback" not in ran.err
        assert not (tmp_path / "state").exists()


class TestAnswers:
    @pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
    async def test_what_is_no_framework(self, answer: bytes) -> None:
        async with OddServer(answer) as server:
            for arguments in (("nodes",), ("explain", "x"), ("kill", "x"), ("invoke", "x")):
                ran = await asyncio.to_thread(owmesos, *arguments, "--admin", server.address)
                assert ran.code == 1
                assert len(ran.line) < 600

    @pytest.mark.parametrize("answer", ODD_ANSWERS.values(), ids=ODD_ANSWERS)
    async def test_what_is_no_master(self, answer: bytes) -> None:
        async with OddServer(answer) as server:
            ran = await asyncio.to_thread(owmesos, "nodes", "--master", server.address)
        assert ran.code == 1
        assert len(ran.line) < 600


def test_a_fault_of_ours_is_one_line_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a fault")

    monkeypatch.setattr("owmesos.cli.client.AdminClient.get", broken)
    ran = owmesos("nodes", "--admin", "127.0.0.1:1")
    assert ran.line.startswith("owmesos nodes: internal error, please report it: LookupError: a fault")
    monkeypatch.setenv("OWMESOS_TRACEBACK", "1")
    with pytest.raises(LookupError):
        owmesos("nodes", "--admin", "127.0.0.1:1")
