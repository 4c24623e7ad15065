"""Tells those who listen. One that breaks takes nothing from the others, nor from what follows."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
_log = logging.getLogger("owmesos.service")


def notify(listeners: Sequence[Callable[[T], None]], what: T) -> None:
    for listener in listeners:
        _notify_one(listener, what)


def _notify_one(listener: Callable[[T], None], what: T) -> None:
    try:
        listener(what)
    except Exception:  # noqa: BLE001  (an internal error: it is logged, and the process lives on)
        _log.exception("a listener failed on %s", type(what).__name__)
