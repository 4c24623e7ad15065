"""Debian's packages for tests, without installing them: fetched into the user's cache folder, and unpacked there.

apt's own lists are used if it has them, else fresh ones in the same folder, so no rights are needed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from owmesos.system.file_lock import FileLock
from tests.servers.process import CACHE

_TIMEOUT = 100.0


class PackageMissing(Exception):
    """Why Debian's packages cannot be had."""


def unpacked(name: str, packages: Sequence[str], files: Sequence[str]) -> Path:
    """The root folder, kept as `name`, in which `packages` and so these files are. Raises PackageMissing."""
    cache = CACHE / name
    root = cache / "root"
    cache.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache / "lock")
    if not lock.acquire(timeout=3 * _TIMEOUT):
        raise PackageMissing(f"another process keeps {cache} locked")
    try:
        if not all((root / file).exists() for file in files):
            _fetch(cache, packages)
            for package in sorted(cache.glob("*.deb")):
                _run("dpkg", "-x", package.name, "root", folder=cache)
                package.unlink()
        return root
    finally:
        lock.release()


def _fetch(cache: Path, packages: Sequence[str]) -> None:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise PackageMissing(f"no {program} on this machine")
    try:
        _run("apt-get", "download", "-q", *packages, folder=cache)
    except PackageMissing:
        own = [f"-oDir::State={cache}/state", f"-oDir::Cache={cache}/cache"]
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (cache / sub).mkdir(parents=True, exist_ok=True)
        _run("apt-get", *own, "-q", "update", folder=cache)
        _run("apt-get", *own, "download", "-q", *packages, folder=cache)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT, check=False)
    if done.returncode:
        raise PackageMissing(f"{command[0]} failed: {done.stderr.strip()[-300:]}")
