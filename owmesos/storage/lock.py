"""Who owns a folder of state. The kernel drops the lock with its process, so a kill -9 leaves nothing to clean up."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from owmesos.storage.store import StateInUse, StoreFailed

FILE = "lock"


class FolderLock:
    """Held from its making until `release`. Raises StateInUse, with the owner's process id, or StoreFailed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        file = folder / FILE
        try:
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreFailed(f"{file} cannot be opened: {error.strerror}: give another folder to --state") from None
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise self._not_taken(error) from None
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _not_taken(self, error: OSError) -> StoreFailed:
        owner = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(self._descriptor)
        if not isinstance(error, BlockingIOError):
            return StoreFailed(f"{self._folder / FILE} cannot be locked: {error.strerror}")
        return StateInUse(
            f"the state in {self._folder} is owned by process {owner}: stop that one, or give another --name or --state"
        )

    def release(self) -> None:
        """The file stays: to remove it would let two processes lock two files of one name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
