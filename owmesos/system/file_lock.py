"""A lock between processes: the kernel drops it when its holder ends, however it ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

from owmesos.system.private_files import open_private

_RETRY = 0.05  # seconds


class FileLock:
    """An exclusive `flock` on a file, which is created if it does not exist, and never removed: else two processes
    could lock two files of the same name."""

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

        descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
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
        return self._descriptor is not None
