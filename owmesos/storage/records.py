"""Reads launches from their stored form. A record that cannot be read is set aside and does not affect the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.mesos.scheduler.launches import LaunchRecord, Unreadable

_decode = msgspec.json.Decoder(LaunchRecord).decode


class StoredCounts(NamedTuple):
    """What is stored. `unreadable` launches are set aside; `unreadable_answers` says why each is left out."""

    launches: int
    unreadable: list[Unreadable]
    framework_id: str | None = None
    answers: int = 0
    unreadable_answers: Sequence[str] = ()


def read(rows: Iterable[tuple[object, object]]) -> tuple[list[LaunchRecord], list[Unreadable]]:
    """From pairs of launch id and JSON. The records are in the order in which the launches were requested."""
    records: list[LaunchRecord] = []
    unreadable: list[Unreadable] = []
    for row in rows:
        found = _read_one(*row)
        if isinstance(found, LaunchRecord):
            records.append(found)
        else:
            unreadable.append(found)
    records.sort(key=lambda record: (record.place, record.id))
    return _one_a_place(records, unreadable), unreadable


def _read_one(launch_id: object, data: object) -> LaunchRecord | Unreadable:
    try:
        return _record(launch_id, data)
    except InvalidInput as error:
        return Unreadable(launch_id if isinstance(launch_id, str) else repr(launch_id)[:100], str(error))


def _record(launch_id: object, data: object) -> LaunchRecord:
    """Raises InvalidInput."""
    if not isinstance(data, (bytes, str)):
        raise InvalidInput(f"it is not JSON, but a {type(data).__name__}")
    try:
        record = _decode(data)
    except NOT_READABLE as error:
        raise InvalidInput(" ".join(str(error).split())[:1000]) from None
    if record.id != launch_id:
        raise InvalidInput(f"it holds another launch, {record.id[:100]!r}")
    record.check()
    return record


def _one_a_place(records: list[LaunchRecord], unreadable: list[Unreadable]) -> list[LaunchRecord]:
    """The queue orders by place: of several launches in one that have not ended, the first is kept."""
    kept: list[LaunchRecord] = []
    places: dict[int, str] = {}
    for record in records:
        if record.state.ended or places.setdefault(record.place, record.id) == record.id:
            kept.append(record)
        else:
            reason = f"its place {record.place} is that of launch {places[record.place]}"
            unreadable.append(Unreadable(record.id, reason))
    return kept
