"""What a machine must have to build and run Apache Mesos, checked before anything is fetched."""

from __future__ import annotations

import os
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
        """This machine."""
        glibc = "CS_GNU_LIBC_VERSION" in getattr(os, "confstr_names", {})
        return cls(platform.system(), platform.machine(), glibc and _confstr_is_glibc())


@dataclass(frozen=True)
class Toolchain:
    """Paths of the programs that a build runs."""

    gcc: str
    gxx: str
    nm: str


def _confstr_is_glibc() -> bool:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except OSError:  # musl knows the name and refuses it
        return False


def toolchain(host: Host) -> Toolchain:
    """The programs to build with. Raises BuildError where the platform is not the one, or a program lacks."""
    if (host.system, host.machine) != ("Linux", "x86_64"):
        raise BuildError(f"Apache Mesos runs here on Linux x86_64 only, and this is {host.system} {host.machine}")
    if not host.glibc:
        raise BuildError("Apache Mesos needs a Linux with the GNU C library, and this one has another")
    found = {name: host.which(name) for name in ("gcc", "g++", "nm")}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise BuildError(f"building Apache Mesos needs {', '.join(missing)}: install gcc, g++ and binutils")
    return Toolchain(*(str(path) for path in found.values()))
