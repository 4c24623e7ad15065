"""The activations that have ended: what each one's story needs, and the last of them for an invoker whose records are
in another process's database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from owmesos.openwhisk.activation import ERROR, SUCCESS, Activation
from owmesos.openwhisk.results import decode_result

REMEMBERED = 10_000
"""Activations, of 0.4 KB each (measured), and 1.5 KB where all have failed with a long error."""
_REMEMBERED_TEXT = 1024  # characters of an error
_SHOWN_TEXT = 4096  # characters of an error; an action may return a megabyte
_DECODED = 2**16  # bytes of a failed result; a larger one would hold the event loop


class EndedActivation(NamedTuple):
    """Times in ms: `start` and `end` since the epoch. None for what is not known."""

    activation_id: str
    action: str  # as `namespace/name`
    start: int
    end: int
    duration: int | None
    wait: int | None
    init: int | None
    error: str | None  # None after success

    @classmethod
    def of(cls, activation: Activation, most_text: int = _SHOWN_TEXT) -> EndedActivation:
        annotations = {each.key: each.value for each in activation.annotations}
        wait, init = annotations.get("waitTime"), annotations.get("initTime")
        return cls(
            activation.activation_id,
            str(annotations.get("path")),
            activation.start,
            activation.end,
            activation.duration,
            wait if isinstance(wait, int) else None,
            init if isinstance(init, int) else None,
            None if activation.response.status_code == SUCCESS else _error(activation.response.result)[:most_text],
        )


def _error(result: object) -> str:
    if isinstance(result, msgspec.Raw):
        if len(result) > _DECODED:
            return bytes(memoryview(result)[:_SHOWN_TEXT]).decode(errors="replace")
        result = decode_result(result)
    return str(result.get(ERROR) if isinstance(result, dict) else result)


class EndedActivations:
    """The last that have ended in this process, by id. The earliest are forgotten first."""

    def __init__(self, most: int = REMEMBERED) -> None:
        self._most = most
        self._by_id: dict[str, EndedActivation] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_id)

    def __contains__(self, activation_id: object) -> bool:
        return activation_id in self._by_id

    def __getitem__(self, activation_id: str) -> EndedActivation:
        return self._by_id[activation_id]

    def remember(self, activation: Activation) -> None:
        self._by_id.pop(activation.activation_id, None)  # one that was repeated ended now
        self._by_id[activation.activation_id] = EndedActivation.of(activation, _REMEMBERED_TEXT)
        if len(self._by_id) > self._most:
            del self._by_id[next(iter(self._by_id))]
