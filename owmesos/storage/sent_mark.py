"""Stores up to which time ACCEPTs may have been sent, so that a restarted process knows which intents were never
sent.

An intent is on disk before its ACCEPT is sent, and the process may be killed between the two. A write to a file
survives the process without a sync, and takes microseconds, but does not survive the machine; so the mark contains
the id of the boot.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

from owmesos.errors import os_reason
from owmesos.storage.store import StoreFailed
from owmesos.system.private_files import open_private

FILE = "accepts-sent"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # proc(5): drawn anew at each boot
_SIZE = 100  # bytes


class SentMark:
    """In `folder`, which this process owns. The time never goes back."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._boot = _boot_id()
        self._descriptor = -1
        self._until = -math.inf

    def begin(self, accepted: float) -> float:
        """ACCEPTs of a later time were not sent; infinity if that is unknown. Raises StoreFailed.

        No stored ACCEPT is later than `accepted`. If the time was unknown once, it must not seem known at the next
        start.
        """
        if self._descriptor < 0:
            try:
                self._descriptor = open_private(self._file, os.O_RDWR | os.O_CREAT)
            except OSError as error:
                raise StoreFailed(f"{self._file} cannot be opened: {os_reason(error)}") from None
        known = self._read()
        self._until = accepted if known is None else known
        self._write()
        return math.inf if known is None else known

    def note(self, accepted_at: float) -> None:
        """ACCEPTs up to that time may be sent from now on. Raises StoreFailed; then they must not be sent."""
        if accepted_at > self._until:
            self._until = accepted_at
            self._write()

    def close(self) -> None:
        """Has no effect if it is already closed."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _read(self) -> float | None:
        try:
            boot, _, text = os.pread(self._descriptor, _SIZE, 0).decode().partition(" ")
            until = float(text)
        except (OSError, ValueError):
            return None
        return until if boot and boot == self._boot and math.isfinite(until) else None

    def _write(self) -> None:
        try:
            os.pwrite(self._descriptor, f"{self._boot} {self._until!r}".ljust(_SIZE).encode(), 0)
        except OSError as error:
            raise StoreFailed(f"{self._file} cannot be written: {os_reason(error)}") from None


def _boot_id() -> str:
    """Empty where the system does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except (OSError, ValueError):
        return ""
