"""What a master or an agent of Apache Mesos needs to start: its environment, and its launcher folder.

Both a cluster on one machine and a host of a cluster of several (`vagrant`) are made of this.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from owmesos.local.build import SOURCES, Build
from owmesos.system.private_files import write_private

# Failures of agents show in 3 s, not after the 75 s of Mesos's own 15secs x 5.
MASTER_FLAGS: Mapping[str, str] = {
    "agent_ping_timeout": "1secs",
    "max_agent_ping_timeouts": "3",
    "registry": "replicated_log",
}
_AGENT_FLAGS = {
    "launcher": "posix",
    "isolation": "posix/cpu,posix/mem",
    "containerizers": "mesos",
    "systemd_enable_support": "false",
    "executor_reregistration_timeout": "5secs",
    "recovery_timeout": "1mins",
    "registry": "in_memory",  # of the idle master that is in its process, too
}
_NOT_INHERITED = ("MESOS", "LIBPROCESS_", "OWMESOS_")


def agent_flags(work: Path, launchers: Path) -> dict[str, str]:
    """The flags of an agent that has no wishes; it keeps its state in `work`, and runs what is in `launchers`."""
    return {
        "work_dir": str(work),
        "runtime_dir": str(work / "run"),
        "launcher_dir": str(launchers),
        "switch_user": "true" if os.geteuid() == 0 else "false",
        **_AGENT_FLAGS,
    }


def write_launchers(folder: Path, build: Build, owner: Path | None = None) -> None:
    """Puts into `folder`, which is there, the programs that an agent looks for in its launcher folder.

    `owner` is the file that the owner of the cluster keeps locked, if it is to end with that.
    """
    containerizer = folder / "mesos-containerizer"
    containerizer.unlink(missing_ok=True)
    containerizer.symlink_to(build.mesosd)
    arguments = [] if owner is None else [str(owner)]
    command = shlex.join([sys.executable, "-I", "-S", str(SOURCES / "executor.py"), *arguments])
    write_private(folder / "mesos-executor", f"#!/bin/sh\nexec {command}\n", executable=True)


def environment(build: Build, host: str, port: int, flags: Mapping[str, str]) -> dict[str, str]:
    """For `mesosd`, which listens at that address: ours without what is meant for other daemons."""
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith(_NOT_INHERITED)},
        **{f"MESOS_{flag.upper()}": value for flag, value in flags.items() if value},
        "MESOSD_LIB": str(build.lib),
        "LIBPROCESS_IP": host,
        "LIBPROCESS_PORT": str(port),
    }
