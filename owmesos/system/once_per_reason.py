"""A log that is not filled by what is wrong again and again."""

from __future__ import annotations

import logging

_REMEMBERED = 1000  # reasons


class OncePerReason:
    """Logs each reason as a warning once, then as DEBUG, because what is wrong in a message comes again and again."""

    def __init__(self, log: logging.Logger, source: object) -> None:
        self._log = log
        self._source = source
        self._reported: set[str] = set()

    def __call__(self, reason: str) -> None:
        level = logging.DEBUG if reason in self._reported else logging.WARNING
        if len(self._reported) < _REMEMBERED:
            self._reported.add(reason)
        self._log.log(level, "%s: %.1000s", self._source, reason)
