"""How long an idle connection may be reused, and whether its end has arrived.

A server closes an idle connection after some time (node after 5 s). A request that is sent at that moment is lost
without an answer, and it is unknown whether it was processed.
"""

from __future__ import annotations

import re
import select
from typing import Protocol

REUSE_WITHIN = 4.0  # seconds, where the server does not say: less than the shortest that is usual
LONGEST = 60.0  # seconds, whatever the server says: what lies between may forget the connection too
_MARGIN = 1.0  # seconds: for the way there and back, and for a loop that is behind
_TIMEOUT = re.compile(r"(?:^|[,;\s])timeout\s*=\s*\"?([0-9]{1,9})(?![0-9])", re.IGNORECASE)


def reuse_within(keep_alive: str | None) -> float:
    """In seconds since the answer; `keep_alive` is its `Keep-Alive` header, such as `timeout=5` (RFC 2068, 19.7.1.1).

    0 where it must not be used again.
    """
    told = _TIMEOUT.search(keep_alive or "")
    if told is None:
        return REUSE_WITHIN
    return min(LONGEST, max(0.0, int(told[1]) - _MARGIN))


class _Socket(Protocol):
    def fileno(self) -> int: ...


def has_news(sock: _Socket) -> bool:
    """Whether unread data has arrived. On an idle connection that is most likely its end.

    By poll: `select` raises for descriptors from 1024 on.
    """
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
