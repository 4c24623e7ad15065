"""One input after the other: what it takes, and what it finds."""

from __future__ import annotations

import gc
import resource
import signal
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.fuzz import corpus

if TYPE_CHECKING:  # atheris must see the first import of owmesos
    from tests.fuzz.target import Target

SLOW = 2.0  # seconds of CPU; a good input takes at most some milliseconds
MEMORY = 512  # MB beyond what the process has before the first input; an input has at most 64 KB
_MANY = 20  # failures of one target that are kept
_SETTLED = 2000  # inputs after which what is made once is made


class Hangs(BaseException):
    """An input took longer than SLOW. No `except Exception` of what is tried can take it for its own."""


@dataclass
class Row:
    """What was seen of one target."""

    target: str
    inputs: int = 0
    seconds: float = 0.0  # of CPU
    slowest: float = 0.0  # seconds of CPU for one input
    settled: float = 0.0  # MB of resident memory after _SETTLED inputs
    grown: float = 0.0  # MB since then
    peak: float = 0.0  # MB of resident memory
    branches: tuple[int, int] | None = None  # reached by the seeds, and by all inputs; known to atheris only
    found: dict[str, str] = field(default_factory=dict)  # by where it failed: what, and the file of the input


class Attempts:
    """The inputs of one target."""

    def __init__(self, target: Target, inputs: int) -> None:
        self.row = Row(target.name)
        self._target = target
        self._settled = min(_SETTLED, inputs // 2)
        self._began = time.process_time()

    def attempt(self, data: bytes) -> None:
        if self.row.inputs == self._settled:
            self.row.settled = _resident()
        began = time.process_time()
        try:
            run(self._target, data)
        except (Exception, Hangs) as error:  # noqa: BLE001  (that is what is looked for)
            place = _place(error)
            if place not in self.row.found and len(self.row.found) < _MANY:
                self.row.found[place] = f"{error!s:.150} ({corpus.keep(self._target.name, data)})"
        self.row.slowest = max(self.row.slowest, time.process_time() - began)
        self.row.inputs += 1

    def measured(self) -> Row:
        """At the end."""
        self.row.seconds = time.process_time() - self._began
        self.row.grown = _resident() - self.row.settled
        self.row.peak = _of_status("VmHWM")
        return self.row


def run(target: Target, data: bytes) -> None:
    """Raises what `data` has found, Hangs too. `watch_for_hangs` comes first."""
    signal.setitimer(signal.ITIMER_VIRTUAL, SLOW)
    try:
        target.run(data)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def watch_for_hangs() -> None:
    """Of this process, in attempts."""
    signal.signal(signal.SIGVTALRM, _hangs)


def bound_memory() -> None:
    """Of this process: what wants more gets a MemoryError, which is a failure like any other that is not ours."""
    at_most = int((_of_status("VmSize") + MEMORY) * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (at_most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def _hangs(*_: object) -> NoReturn:
    raise Hangs(f"it takes more than {SLOW:g} s of CPU")


def _place(error: BaseException) -> str:
    """Failures of one place are one failure."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "owmesos/" in each.filename] or [None]
    last = frames[-1]
    where = f"{last.filename.rpartition('owmesos/')[2]}:{last.lineno}" if last is not None else "?"
    return f"{type(error).__name__} at {where}"


def _resident() -> float:
    """MB, now."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize() / 2**20


def _of_status(name: str) -> float:
    """MB, of this process; what getrusage says is that of the process before execve too."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{name}:")) / 1024
