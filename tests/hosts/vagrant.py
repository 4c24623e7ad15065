"""Vagrant's machines, reached as `vagrant ssh` reaches them."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from tests.hosts.control import HostsError
from tests.hosts.plan import VAGRANT, read_plan

CONFIGURATION_VARIABLE = "OWMESOS_VAGRANT_SSH_CONFIG"
_TIMEOUT = 110.0


class Vagrant:
    """`Hosts` that `vagrant up` has made.

    `vagrant ssh` takes seconds to find out where a machine is. So that is asked once, by `vagrant ssh-config`; a file
    that has its answer may be named by OWMESOS_VAGRANT_SSH_CONFIG.
    """

    def __init__(self) -> None:
        self.plan = read_plan()
        self._files = ExitStack()

    def __enter__(self) -> Vagrant:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def run(self, host: str, *command: str, text: str = "") -> str:
        """See `Hosts`."""
        remote = ["ssh", "-F", str(self.configuration), host, "--", f"sudo {shlex.join(command)}"]
        done = self._do(remote, text)
        if done.returncode:
            said = f"{done.stdout}{done.stderr}".strip()[-2000:]
            raise HostsError(f"{host}: {shlex.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    @cached_property
    def configuration(self) -> Path:
        """Of ssh. Raises HostsError where Vagrant has no such machines."""
        named = os.environ.get(CONFIGURATION_VARIABLE)
        if named:
            return Path(named)
        done = self._do(["vagrant", "ssh-config"], "")
        if done.returncode:
            raise HostsError(f"`vagrant ssh-config` failed, is everything up? {done.stderr.strip()[-500:]}")
        folder = Path(self._files.enter_context(tempfile.TemporaryDirectory(prefix="owmesos-vagrant-")))
        file = folder / "ssh-config"
        file.write_text(done.stdout, encoding="utf-8")
        return file

    def _do(self, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command, check=False, cwd=VAGRANT, input=text, capture_output=True, text=True, timeout=_TIMEOUT
            )
        except FileNotFoundError:
            raise HostsError(f"no {command[0]} on this machine") from None
