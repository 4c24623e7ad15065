"""State that ends with the process: for a framework that was asked to keep none, and tears itself down at its end."""

from __future__ import annotations

from collections.abc import Sequence

from owmesos.storage.records import decode, in_order
from owmesos.storage.store import ForgetFramework, ForgetLaunch, Saved, SaveFramework, Write


class MemoryStore:
    """Keeps what a keeper on disk would keep, so that a process can be begun anew on it in a test."""

    def __init__(self) -> None:
        self._framework_id: str | None = None
        self._launches: dict[str, bytes] = {}

    def load(self) -> Saved:
        records = [decode(launch_id, data, "memory") for launch_id, data in self._launches.items()]
        return Saved(self._framework_id, in_order(records))

    def commit(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if isinstance(write, SaveFramework):
                self._framework_id = write.framework_id
            elif isinstance(write, ForgetFramework):
                self._framework_id = None
                self._launches.clear()
            elif isinstance(write, ForgetLaunch):
                self._launches.pop(write.launch_id, None)
            else:
                self._launches[write.launch_id] = write.record

    def close(self) -> None:
        pass
