"""Where settings come from: flags before the environment, the environment before the file."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from owmesos.cli.settings import read_table
from owmesos.errors import InvalidInput
from tests.cli.conftest import Ask
from tests.cli.running import owmesos

LAUNCH = ("launch", "--command", "sleep 60", "-o", "json")


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that OWMESOS_CONFIG names; only its owner may read it."""
    file = tmp_path / "owmesos.toml"
    file.touch(mode=0o600)
    monkeypatch.setenv("OWMESOS_CONFIG", str(file))
    return file


def say(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


async def memory(ask: Ask, *flags: str) -> float:
    (launch,) = (await ask(*LAUNCH, *flags)).json
    return float(launch["resources"]["mem"])


async def test_flags_then_the_environment_then_the_file(
    ask: Ask, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await memory(ask) == 64
    say(config, "[launch]\nmem = 100")
    assert await memory(ask) == 100
    monkeypatch.setenv("OWMESOS_LAUNCH_MEM", "200")
    assert await memory(ask) == 200
    assert await memory(ask, "--mem", "300") == 300


async def test_a_file_may_be_named_by_a_flag(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "other.toml").write_text("[launch]\nmem = 100", encoding="utf-8")
    assert await memory(ask, "--config", str(tmp_path / "other.toml")) == 100


async def test_lists_and_both_spellings(ask: Ask, config: Path) -> None:
    say(config, '[launch]\nkill-grace = 1\nconstraint = ["rack == r2"]\nwait = "running"')
    (launch,) = (await ask(*LAUNCH)).json
    assert launch["hostname"] == "node2"
    say(config, '[launch]\nkill_grace = 1\nconstraint = ["rack == r1"]\nwait = "running"')
    (launch,) = (await ask(*LAUNCH)).json
    assert launch["hostname"] == "node1"


async def test_several_in_one_variable_are_one_a_line(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWMESOS_LAUNCH_CONSTRAINT", "rack LIKE r[12]\n@hostname == node2")
    (launch,) = (await ask(*LAUNCH, "--wait", "running")).json
    assert launch["hostname"] == "node2"


def test_the_admin_api_stands_at_the_top_for_all_commands(config: Path) -> None:
    say(config, 'admin = "127.0.0.1:1"')
    assert "http://127.0.0.1:1:" in owmesos("launches").line
    say(config, 'admin = "127.0.0.1:1"\n[launches]\nadmin = "127.0.0.1:2"')
    assert "http://127.0.0.1:2:" in owmesos("launches").line


def test_what_stands_at_the_top_for_run_is_no_setting_of_others(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo or a listing does not go to the cluster that `run` uses."""
    say(config, 'master = "nonsense://"\nadmin = "127.0.0.1:1"')
    monkeypatch.setenv("OWMESOS_MASTER", "nonsense://")
    assert "no framework answers" in owmesos("nodes").line
    assert owmesos("demo", "--launches", "--engine", "simulator").code == 0
    assert "is not a master" in owmesos("run").line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nothing = 1", "unknown setting 'nothing'"),
        ("mem = 1", "unknown setting 'mem'"),
        ("[launch]\nmemory = 1", "unknown setting 'memory' in [launch]"),
        ("[lunch]\nmem = 1", "unknown command [lunch]"),
        ("[launch]\nmem = [1]", "launch.mem must be one value"),
        ("[launch]\nmem = true", "launch.mem must be one value"),
        ("[launch]\nenv = 'A=b'", "launch.env must be a list"),
        ("[launch]\nforce-pull = 1", "launch.force-pull must be true or false"),
        ("[launch]\nmem = 'much'", "'much' is not a valid float"),
        ("[launch", "is not valid TOML"),
        ("\udcff", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_meant(config: Path, text: str, reason: str) -> None:
    config.write_bytes(text.encode(errors="surrogateescape"))
    ran = owmesos("launch", "--command", "true")
    assert ran.code == 2
    assert reason in ran.line


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ran = owmesos("launches", "--config", str(tmp_path / "nothing"))
    assert ran.code == 2
    assert "cannot be read: No such file or directory" in ran.line


def test_a_file_that_goes_while_it_is_read(tmp_path: Path) -> None:
    """A named pipe: whoever opens it waits for the writer, who removes it first."""
    pipe = tmp_path / "owmesos.toml"
    os.mkfifo(pipe, 0o600)

    def remove_and_write() -> None:
        with pipe.open("w") as file:
            pipe.unlink()
            file.write('master = "http://me:secret@127.0.0.1:1"')

    with ThreadPoolExecutor() as threads:
        threads.submit(remove_and_write)
        ran = owmesos("run", "--config", str(pipe))
    assert (ran.code, ran.line) == (2, f"owmesos run: {pipe} cannot be read: No such file or directory")


# -- credentials: never where every user of the machine can read them


@pytest.mark.parametrize("master", ["http://me:secret@127.0.0.1:1", "zk://me:secret@127.0.0.1:1/mesos", "me:s@h:1"])
@pytest.mark.parametrize("command", ["run", "nodes", "demo"])
def test_no_credentials_on_the_command_line(command: str, master: str) -> None:
    ran = owmesos(command, "--master", master)
    assert ran.code == 2
    assert "credentials in a master's URL are taken only from" in ran.line
    assert "secret" not in ran.line


def test_credentials_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OWMESOS_MASTER", "http://me:secret@127.0.0.1:1")
    (tmp_path / "file").touch()
    assert "is not a folder" in owmesos("run", "--state", str(tmp_path / "file"), "--admin", "127.0.0.1:0").line


def test_credentials_in_the_file(config: Path, tmp_path: Path) -> None:
    say(config, 'master = "http://me:secret@127.0.0.1:1"')
    (tmp_path / "file").touch()
    assert "is not a folder" in owmesos("run", "--state", str(tmp_path / "file"), "--admin", "127.0.0.1:0").line
    config.chmod(0o644)
    assert owmesos("run").line.endswith(f"holds credentials and can be read by others: chmod 600 {config}")


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("OWMESOS_LAUNCH_MEN", "OWMESOS_LAUNCH_MEM"),
        ("OWMESOS_LUNCH_CPUS", "OWMESOS_LAUNCH_CPUS"),
        ("OWMESOS_ADMN", "OWMESOS_ADMIN"),
    ],
)
async def test_a_misspelt_variable_is_a_warning(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, variable: str, meant: str
) -> None:
    monkeypatch.setenv(variable, "200")
    ran = await ask(*LAUNCH)
    assert ran.code == 0
    assert f"owmesos: unknown variable {variable}: did you mean {meant}?\n" in ran.err


async def test_other_variables_are_none(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other commands, those that tasks get, and what is nothing like ours."""
    for name in ("OWMESOS_LAUNCH_ID", "OWMESOS_ACTION_CREATE_MEMORY", "OWMESOS_RUN_ADMIN", "OWMESOS_MINE"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("OWMESOS_LAUNCHES_NAME", "x")
    assert (await ask(*LAUNCH)).err == ""


def test_an_error_without_a_number_says_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> str:
        raise OSError("the mount is gone")

    monkeypatch.setattr(Path, "read_text", fails)
    with pytest.raises(InvalidInput, match=r"x\.toml cannot be read: the mount is gone"):
        read_table(tmp_path / "x.toml")
