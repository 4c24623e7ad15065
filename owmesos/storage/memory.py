"""State in memory, for a framework without a state folder, which tears itself down at its end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from owmesos.storage.records import read
from owmesos.storage.store import (
    Answer,
    ForgetAnswer,
    ForgetFramework,
    ForgetLaunch,
    Saved,
    SaveFramework,
    StoreFailed,
    Write,
)


class MemoryStore:
    """Keeps what a store on disk would keep, so that a test can restart a process on it."""

    def __init__(self) -> None:
        self._framework_id: str | None = None
        self._launches: dict[str, bytes] = {}
        self._answers: dict[str, Answer] = {}
        self._sent_until = 0.0

    def load(self) -> Saved:
        return Saved(self._framework_id, *read(self._launches.items()), self._sent_until)

    def answers(self) -> list[Answer]:
        return list(self._answers.values())

    def commit(self, writes: Sequence[Write]) -> None:
        for write in writes:
            if isinstance(write, SaveFramework):
                self._framework_id = write.framework_id
            elif isinstance(write, ForgetFramework):
                self._framework_id = None
                self._launches.clear()
                self._answers.clear()
            elif isinstance(write, ForgetLaunch):
                self._launches.pop(write.launch_id, None)
            elif isinstance(write, Answer):
                self._answers.pop(write.key, None)
                self._answers[write.key] = write
            elif isinstance(write, ForgetAnswer):
                self._answers.pop(write.key, None)
            else:
                self._launches[write.launch_id] = write.record

    def trouble(self) -> None:
        """It has none."""

    def about_to_send(self, accepted_at: float) -> None:
        pass

    def sending(self, accepted_at: float) -> None:
        self._sent_until = max(self._sent_until, accepted_at)

    def watch(self, lost: Callable[[StoreFailed], None]) -> None:
        pass

    def close(self) -> None:
        pass
