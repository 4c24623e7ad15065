"""A lock between processes: the kernel drops it when its holder ends, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

_RETRY = 0.05


class FileLock:
    """An exclusive `flock` on a file, which is made where it lacks and never removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, timeout: float) -> bool:
        """Takes the lock within `timeout` seconds; False where another holder keeps it longer."""
        deadline = time.monotonic() + timeout
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(_RETRY)
        return True

    def _try(self) -> bool:
        import fcntl  # not on every system; those are turned away before they come here

        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._descriptor = descriptor
        return True

    def release(self) -> None:
        """Gives the lock back; without effect where it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @property
    def held(self) -> bool:
        """Whether this object has the lock."""
        return self._descriptor is not None
