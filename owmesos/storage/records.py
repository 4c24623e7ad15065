"""From a stored launch to its record, and an error of one line where it is none."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from owmesos.core.launches import LaunchRecord
from owmesos.storage.store import StateDamaged

_decode = msgspec.json.Decoder(LaunchRecord).decode


def decode(launch_id: str, data: bytes, where: str) -> LaunchRecord:
    """Raises StateDamaged, which names `where` it is stored."""
    try:
        record = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise StateDamaged(f"launch {launch_id} in {where} cannot be read: {error}") from None
    if record.id != launch_id:
        raise StateDamaged(f"launch {launch_id} in {where} holds another launch, {record.id}")
    return record


def in_order(records: Iterable[LaunchRecord]) -> list[LaunchRecord]:
    """As their launches were asked for."""
    return sorted(records, key=lambda record: record.place)
