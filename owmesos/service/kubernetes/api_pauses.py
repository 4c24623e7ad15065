"""An API server that has too much to do, and says for how long it is to be left alone (429 with Retry-After).

API Priority and Fairness answers so to the requests of one account while others are served. While it wants a pause
nothing is sent; after it, half as many at once as before, and one more with each that is done.
"""

from __future__ import annotations

import logging

from owmesos.core.listings import instant
from owmesos.kubernetes.events import ApiFailure

QUIET = 30.0
"""Seconds without a rejection until it counts as over: so it is one outage, and one line of the log."""
_log = logging.getLogger("owmesos.service")


class ApiPauses:
    """`now` is in seconds, of one clock throughout."""

    def __init__(self, at_once: int) -> None:
        self.until = 0.0
        """Nothing is to be sent before."""
        self.limit = at_once
        """Most requests to have under way."""
        self._most = at_once
        self._since: float | None = None  # when the outage began
        self._last = 0.0  # when a request was last rejected
        self._rejected = 0
        self._said = ""

    def wanted(self, failure: ApiFailure, now: float) -> None:
        if self._since is not None and self._is_over(now):
            self._end()
        if now >= self.until:  # those that were under way with the first say the same
            self.limit = max(1, self.limit // 2)
        self.until = max(self.until, now + failure.pause)
        self._last, self._said = now, failure.message
        self._rejected += 1
        if self._since is None:
            self._since = now
            _log.warning(
                "the API server takes no more requests for now, the next one in %g s and fewer at once: %s",
                failure.pause,
                failure.message,
            )

    def done(self, now: float) -> None:
        """A request was taken."""
        self.limit = min(self._most, self.limit + 1)
        if self._since is not None and self._is_over(now):
            self._end()

    def text(self, now: float) -> str | None:
        """What to say of it, while it lasts."""
        if self._since is None or self._is_over(now):
            return None
        next_one = f"; the next one in {self.until - now:.0f} s" if now < self.until else ""
        since = instant(self._since)
        return f"{self._rejected} requests for pods were rejected since {since}{next_one}: {self._said}"

    def _is_over(self, now: float) -> bool:
        return now >= max(self.until, self._last + QUIET)

    def _end(self) -> None:
        _log.info("the API server takes requests again; it has rejected %d", self._rejected)
        self._since, self._rejected = None, 0
