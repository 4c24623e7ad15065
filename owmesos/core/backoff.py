"""Agents that get no starts for a while, because a broken agent always looks free.

A start that fails gives its room back at once, so the best fit would choose the same agent again and again.
"""

from __future__ import annotations

import msgspec


class _Record(msgspec.Struct):
    failed: int = 0  # in a row
    pauses: int = 0  # in a row
    until: float | None = None


class Backoff:
    """`limit` failed starts in a row on one agent: none there for `first` seconds, doubling up to `most`."""

    def __init__(self, limit: int, first: float, most: float) -> None:
        self._limit = limit
        self._first = first
        self._most = most
        self._records: dict[str, _Record] = {}

    def failed(self, agent_id: str, now: float) -> float | None:
        """A start failed there. Until when it gets none now, or None when that goes on being allowed."""
        record = self._records.setdefault(agent_id, _Record())
        record.failed += 1
        if record.failed < self._limit:
            return None
        record.failed = 0
        record.until = now + min(self._most, self._first * 2.0**record.pauses)
        record.pauses += 1
        return record.until

    def started(self, agent_id: str) -> None:
        """A start succeeded there: the count begins anew, and so does the doubling."""
        self._records.pop(agent_id, None)

    def over(self, agent_id: str) -> None:
        """The pause is over; the next one is longer, unless a start succeeds."""
        record = self._records.get(agent_id)
        if record is not None:
            record.until = None

    def until(self, agent_id: str) -> float | None:
        record = self._records.get(agent_id)
        return None if record is None else record.until

    def forget(self, agent_id: str) -> None:
        """The agent is gone for good."""
        self._records.pop(agent_id, None)
