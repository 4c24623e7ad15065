"""README's first block of commands runs as it stands, pasted whole into bash."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from owmesos.system.task_ports import HeldPorts
from tests.cli.running import environment

README = Path(__file__).parents[2] / "README.md"
BLOCK = re.findall(r"^```bash\n(owmesos .*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
END = """\
echo "ended"
kill -TERM %2 && wait %2 || exit 2
kill -TERM %1 && wait %1 || exit 1
"""


def pasted(path: Path, folder: Path, port: int) -> tuple[str, str]:
    """What the block prints, and the log of `run`. `port` is the master's, then agents, then the admin API."""
    block = BLOCK.replace("127.0.0.1:5050 ", f"127.0.0.1:{port} ").replace("--agents 3", f"--agents 3 --port {port}")
    assert block.count(str(port)) == 2
    variables = environment(PATH=f"{path}{os.pathsep}{os.environ['PATH']}", OWMESOS_ADMIN=f"127.0.0.1:{port + 2}")
    said, log = folder / "said", folder / "run.log"
    with said.open("w") as out:
        shell = subprocess.Popen(
            ["bash", "-e"],
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=out,
            text=True,
            cwd=folder,
            env=variables,
            start_new_session=True,
        )
        try:
            shell.communicate(block + END, timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    text = said.read_text()
    assert shell.returncode == 0, text + log.read_text()
    return text, log.read_text()


def test_the_first_block_runs_pasted_whole(tmp_path: Path) -> None:
    """Each command's exit code is 0, and it shows why the last launch waits."""
    command = tmp_path / "bin" / "owmesos"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m owmesos "$@"\n')
    command.chmod(0o755)
    held, _ = HeldPorts.shared_by(1)
    with held:
        text, log = pasted(command.parent, tmp_path, held.blocks[0] + 1)
    assert re.search(r"one-more-\w+ is PENDING", text), text
    assert "has room only in its buffer" in text
    assert text.endswith("ended\n"), text
    assert "Traceback" not in text + log
