"""The unit of systemd: what it starts is run, without systemd."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.running import Running, owmesos_process, started

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "owmesos.service"


def setting(name: str) -> str:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNIT)
    return parser["Service"][name]


def arguments(config: Path, state: Path) -> list[str]:
    program, *rest = setting("ExecStart").split()
    assert program == "/opt/owmesos/bin/owmesos"
    return [
        {"/etc/owmesos/owmesos.toml": str(config), "${STATE_DIRECTORY}": str(state)}.get(each, each) for each in rest
    ]


async def test_its_command_runs_and_ends_by_sigterm(tmp_path: Path) -> None:
    config, state = tmp_path / "owmesos.toml", tmp_path / "state"
    config.write_text('[run]\nmaster = "local"\nadmin = "127.0.0.1:0"\n')
    config.chmod(0o600)
    service = Running(await started(*arguments(config, state)))
    await service.said("subscribed")
    assert (await service.end()).code == 0
    assert list(state.iterdir())


async def test_a_setting_that_is_not_valid_is_not_tried_again(tmp_path: Path) -> None:
    config = tmp_path / "owmesos.toml"
    config.write_text('[run]\nmaster = "zk:///"\n')
    config.chmod(0o600)
    ran = await owmesos_process(*arguments(config, tmp_path / "state"))
    assert str(ran.code) == setting("RestartPreventExitStatus"), ran


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_systemd_understands_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"/opt/owmesos/bin/owmesos", "/bin/sh", UNIT.read_text()))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
