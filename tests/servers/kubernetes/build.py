"""Builds the program of `program/` into the user's cache folder, once for each state of its sources.

Concurrent builds wait for each other, and an interrupted one leaves nothing that looks finished. Go's own caches keep
what it compiled, so that a build goes on where the one before was interrupted.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from owmesos.system.file_lock import FileLock
from tests.servers.process import CACHE, ServerMissing

SOURCES = Path(__file__).parent / "program"
NEEDS_GO = (1, 26)
USUAL_PLACE = Path("/usr/local/go/bin/go")  # where go.dev says to unpack it, which is on few PATHs
TIMEOUT = 3600.0  # seconds; measured: 12 minutes with empty caches on two free cores
NICE = 5  # what waits for a time goes first; scripts/test goes on meanwhile, and its last steps wait for this
_REPORT_EVERY = 15.0  # seconds
_VERSIONS = "k8s.io/component-base/version"
Progress = Callable[[str], None]


class BuildFailed(Exception):
    """Go is here, but the build did not come to its end."""


@dataclass(frozen=True)
class Build:
    folder: Path

    @property
    def program(self) -> Path:
        return self.folder / "k8s"

    @property
    def stages(self) -> Path:
        """What kwok's nodes and pods do."""
        return self.folder / "stages.yaml"

    @property
    def exists(self) -> bool:
        """Whether it exists; it is complete then."""
        return self.program.is_file()


def expected_build(cache: Path = CACHE) -> Build:
    """The build of these sources, whether it exists or not."""
    recipe = hashlib.sha256()
    for file in sorted((*SOURCES.glob("*.go"), SOURCES / "go.mod", SOURCES / "go.sum")):
        recipe.update(f"{file.name}\n".encode() + file.read_bytes())
    return Build(cache / f"kubernetes-{version()}" / recipe.hexdigest()[:12])


def version() -> str:
    """Of Kubernetes, such as 1.37.2."""
    found = re.search(r"^\tk8s\.io/kubernetes v(\S+)$", (SOURCES / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def find_go() -> str:
    """The program `go`. Raises ServerMissing where there is none, or an older one."""
    needed = ".".join(map(str, NEEDS_GO))
    go = shutil.which("go") or (str(USUAL_PLACE) if USUAL_PLACE.exists() else None)
    if go is None:
        raise ServerMissing(f"needs Go {needed} or newer: no go on the PATH, nor {USUAL_PLACE} (https://go.dev/dl)")
    said = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, env=_environment())
    found = re.match(r"go(\d+)\.(\d+)", said.stdout)
    if found is None or (int(found[1]), int(found[2])) < NEEDS_GO:
        raise ServerMissing(f"needs Go {needed} or newer: {go} is {said.stdout.strip() or said.stderr.strip()}")
    return go


def build(progress: Progress, cache: Path = CACHE) -> Build:
    """The build, made if it does not exist; `progress` takes lines for whoever waits.

    Raises ServerMissing without Go, and BuildFailed.
    """
    result = expected_build(cache)
    if result.exists:
        return result
    go = find_go()
    home = result.folder.parent
    home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(home / "lock")
    if not lock.acquire(timeout=0):
        progress("another process builds Kubernetes: waiting for it")
        if not lock.acquire(TIMEOUT):
            raise BuildFailed(f"another build in {home} has not ended within {TIMEOUT:g} s")
    try:
        if not result.exists:
            _make(result, go, progress)
    finally:
        lock.release()
    return result


def _make(result: Build, go: str, progress: Progress) -> None:
    progress(f"building Kubernetes {version()}: about 12 minutes the first time, 4 GB for Go's caches")
    for leftover in result.folder.parent.glob("unfinished-*"):
        shutil.rmtree(leftover)
    made = Build(Path(tempfile.mkdtemp(prefix="unfinished-", dir=result.folder.parent)))
    try:
        _compile(made, go, progress)
        made.stages.write_bytes(subprocess.run([made.program, "stages"], check=True, capture_output=True).stdout)
        if result.folder.exists():  # without its program: somebody removed files by hand
            shutil.rmtree(result.folder)
        made.folder.rename(result.folder)
    except BaseException:
        shutil.rmtree(made.folder)
        raise


def _compile(made: Build, go: str, progress: Progress) -> None:
    major, minor, _ = version().split(".")
    variables = {"gitVersion": f"v{version()}", "gitMajor": major, "gitMinor": minor}
    linking = " ".join(["-s", "-w", *(f"-X {_VERSIONS}.{name}={value}" for name, value in variables.items())])
    command = [go, "build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", linking, "-o", str(made.program), "."]
    log = made.folder / "log"
    begun = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["nice", "-n", str(NICE), *command], cwd=SOURCES, stdout=output, stderr=output, env=_environment()
        )
        try:
            while process.poll() is None:
                _wait(process)
                minutes = (time.monotonic() - begun) / 60
                if minutes * 60 > TIMEOUT:
                    raise BuildFailed(f"go build has not ended within {TIMEOUT:g} s")
                progress(f"{minutes:4.1f} minutes: {_so_far(log)}")
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        lines = [line for line in log.read_text().splitlines() if not line.startswith("go: downloading")]
        raise BuildFailed("go build failed: " + "\n".join(lines[-10:]))
    log.unlink()


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(_REPORT_EVERY)
    except subprocess.TimeoutExpired:
        return


def _so_far(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    fetched = sum(line.startswith("go: downloading") for line in lines)
    return f"{fetched} modules fetched, {len(lines) - fetched} packages compiled"


def _environment() -> dict[str, str]:
    # Neither another Go fetched for this, nor a workspace around us.
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
