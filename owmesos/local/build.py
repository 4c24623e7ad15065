"""Builds Apache Mesos 1.11.0 into the user's cache folder, once, from a published package and our launcher.

Concurrent builds wait for each other, and an interrupted build leaves nothing that looks finished: everything is
made in a temporary folder that is renamed at the end. The name contains a digest of the sources, so another version
of owmesos builds its own.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from owmesos.errors import InvalidInput
from owmesos.local.archive import FILE, LIBRARY, SHA256, Fetch, fetch_from_index, unpack
from owmesos.local.mesos.stubs import PYTHON, StubLibrary, stub_libraries
from owmesos.local.toolchain import BuildError, Host, Toolchain, toolchain
from owmesos.system.file_lock import FileLock
from owmesos.system.private_files import check_not_written_by_others
from owmesos.system.user_folders import user_cache_folder

VERSION = "1.11.0"
SOURCES = Path(__file__).parent / "mesos"
_BUILD_TIMEOUT = 900.0  # seconds
_COMPILE_TIMEOUT = 300.0  # seconds
_log = logging.getLogger("owmesos.local")


@dataclass(frozen=True)
class Build:
    folder: Path

    @property
    def mesosd(self) -> Path:
        """The program that runs a master or an agent."""
        return self.folder / "mesosd"

    @property
    def lib(self) -> Path:
        """The folder for MESOSD_LIB."""
        return self.folder / "lib"

    @property
    def exists(self) -> bool:
        """Whether it exists; it is complete then."""
        return self.mesosd.is_file()


def cache_folder() -> Path:
    """The folder of builds: OWMESOS_CACHE, else the user's cache folder for owmesos."""
    own = os.environ.get("OWMESOS_CACHE")
    return Path(own).absolute() if own else user_cache_folder()


def expected_build(cache: Path | None = None) -> Build:
    """The build that this version of owmesos would use, whether it exists or not."""
    recipe = hashlib.sha256(SHA256.encode())
    for name in ("mesosd.cpp", "stubs.py"):
        recipe.update((SOURCES / name).read_bytes())
    return Build((cache or cache_folder()) / f"mesos-{VERSION}" / recipe.hexdigest()[:12])


def build(cache: Path | None = None, *, host: Host | None = None, fetch: Fetch = fetch_from_index) -> Build:
    """The build, created if it does not exist: 27 MB are fetched and about 125 MB kept. Raises BuildError."""
    tools = toolchain(host or Host.here())
    result = expected_build(cache)
    home = result.folder.parent
    if result.exists:
        _check(home)
        _check(result.folder)
        return result
    try:
        home.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check(home)
        lock = FileLock(home / "lock")
        if not lock.acquire(_BUILD_TIMEOUT):
            raise BuildError(f"another build in {home} has not ended within {_BUILD_TIMEOUT:g} s")
        try:
            if not result.exists:
                _make(home, result, tools, fetch)
        finally:
            lock.release()
    except OSError as error:
        raise BuildError(
            f"cannot build Apache Mesos in {home}: {error} (OWMESOS_CACHE names another folder)"
        ) from error
    return result


def _check(folder: Path) -> None:
    """What is in it is run as this user. Raises BuildError."""
    try:
        check_not_written_by_others(folder)
    except (InvalidInput, OSError) as error:
        advice = "Remove it, or set OWMESOS_CACHE to a folder of your own"
        raise BuildError(f"the build in {folder} is not used: {error}. {advice}") from None


def _make(home: Path, result: Build, tools: Toolchain, fetch: Fetch) -> None:
    for leftover in home.glob("unfinished-*"):
        shutil.rmtree(leftover)
    library = home / LIBRARY
    if not library.is_file():
        _log.info("fetching %s (27 MB) from the package index", FILE)
        with tempfile.TemporaryDirectory(prefix="unfinished-", dir=home) as folder:
            archive, unpacked = Path(folder, FILE), Path(folder, LIBRARY)
            fetch(archive)
            unpack(archive, unpacked)
            unpacked.rename(library)
    _log.info("compiling the launcher of Apache Mesos %s", VERSION)
    made = Build(Path(tempfile.mkdtemp(prefix="unfinished-", dir=home)))
    try:
        _compile(made, library, tools)
        if result.folder.exists():  # without its program: somebody removed files by hand
            shutil.rmtree(result.folder)
        made.folder.chmod(0o755)  # tasks may run as other users
        made.folder.rename(result.folder)
    except BaseException:
        shutil.rmtree(made.folder)
        raise


def _compile(made: Build, library: Path, tools: Toolchain) -> None:
    made.lib.mkdir()
    (made.lib / LIBRARY).symlink_to(os.path.relpath(library, made.lib))
    for stub in stub_libraries(_run(tools.nm, "-D", "--undefined-only", str(library))):
        _compile_stub(stub, made.lib, tools)
    source = str(SOURCES / "mesosd.cpp")
    _run(tools.gxx, "-O1", "-std=c++11", "-Wall", "-o", str(made.mesosd), source, "-ldl")
    _run(str(made.mesosd), "check", environment={"MESOSD_LIB": str(made.lib)})


def _compile_stub(stub: StubLibrary, folder: Path, tools: Toolchain) -> None:
    target = folder / stub.soname
    source, script = target.with_name(f"{stub.soname}.c"), target.with_name(f"{stub.soname}.map")
    source.write_text(stub.source, encoding="ascii")
    script.write_text(stub.version_script, encoding="ascii")
    options = ["-w", "-O1", "-shared", "-fPIC", "-fno-builtin", f"-Wl,-soname,{stub.soname}"]
    if stub.soname != PYTHON:
        options.append(f"-Wl,--version-script={script}")
    _run(tools.gcc, *options, "-o", str(target), str(source))


def _run(*command: str, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_COMPILE_TIMEOUT,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"{Path(command[0]).name} did not end within {_COMPILE_TIMEOUT:g} s") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or ["it wrote no output"]
        first = next((line for line in said if "error" in line), said[0])
        raise BuildError(f"{Path(command[0]).name} failed ({done.returncode}) while building Apache Mesos: {first}")
    return done.stdout
