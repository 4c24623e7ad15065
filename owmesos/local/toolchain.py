"""What a machine must have to build and run Apache Mesos, checked before anything is fetched."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass

from owmesos.errors import OwmesosError


class BuildError(OwmesosError):
    """Apache Mesos cannot be built on this machine."""


@dataclass(frozen=True)
class Host:
    """The facts about a machine that decide; tests make their own."""

    system: str
    machine: str
    glibc: bool
    which: Callable[[str], str | None] = shutil.which

    @classmethod
    def here(cls) -> Host:
        return cls(platform.system(), platform.machine(), platform.libc_ver()[0] == "glibc")


@dataclass(frozen=True)
class Toolchain:
    """Paths of the programs that a build runs."""

    gcc: str
    gxx: str
    nm: str


def toolchain(host: Host) -> Toolchain:
    """The programs to build with. Raises BuildError if the platform is not supported or a program is missing."""
    if (host.system, host.machine) != ("Linux", "x86_64"):
        raise BuildError(
            f"the embedded Apache Mesos needs Linux on x86_64; this machine is {host.system} {host.machine}"
        )
    if not host.glibc:
        raise BuildError("the embedded Apache Mesos needs a Linux with the GNU C library")
    found = {name: host.which(name) for name in ("gcc", "g++", "nm")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise BuildError(f"building Apache Mesos needs {', '.join(missing)}: install gcc, g++ and binutils")
    return Toolchain(*(str(path) for path in found.values()))
