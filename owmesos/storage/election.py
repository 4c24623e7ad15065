"""Which of several processes leads: the decisions, without I/O.

Each process has an ephemeral node with a number below `PATH/election`; the lowest number leads. kazoo's own recipe does
the same, but does not tell a leader that was cut off from ZooKeeper when to stop acting; hence the lease here. The
leader changes its node every PROVE_EVERY seconds. That takes most of ZooKeeper's servers, so it proves that its session
had not ended, and ZooKeeper ends a session only after its timeout. While the lease has run out the leader does nothing,
and goes on if its session turns out to live. With another session, or without its node, it has to end.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol, TypeAlias

PROVE_EVERY = 0.5
"""Seconds between two proofs of the leader."""
LEASE = 0.7
"""The part of a session's timeout for which a proof is good. The rest is for a follower of ZooKeeper that tells its
leader half a tick later whom it heard of, and for clocks that run apart."""
GIVE_UP = 60.0
"""Seconds without a proof after which the leader ends: it cannot know whether it still is."""


class Leader(NamedTuple):
    """Who leads: `holder` for people, `admin` the URL of its admin API."""

    holder: str
    admin: str


class CandidateListener(Protocol):
    """Called in the candidate's thread."""

    def lead(self) -> None:
        """This process leads while the lease holds."""

    def follow(self, leader: Leader | None) -> None:
        """Another one leads."""

    def end(self, reason: str) -> None:
        """This process led and does not any more, or can never lead. The last call."""


class TakesPart(Protocol):
    """A process's part in an election, from `start` to `close`."""

    def start(self) -> None:
        """Does not wait for a server."""

    def close(self) -> None:
        """Give the lead, if we have it, to another process. Has no effect if it is already closed."""


# -- events


class Connected(NamedTuple):
    """To ZooKeeper, in this session."""

    session: int


class NodeMade(NamedTuple):
    """Our node was made in this session, or found. Its name ends in -NUMBER."""

    node: str
    session: int


class NodesSeen(NamedTuple):
    """The nodes that are there, and what the lowest holds if it is not ours and can be read."""

    nodes: frozenset[str]
    leader: Leader | None = None


class Proven(NamedTuple):
    """Our node was changed after `began`; the session's timeout is `timeout` seconds."""

    began: float
    timeout: float


class Changed(NamedTuple):
    """There are other nodes than before."""


class Gone(NamedTuple):
    """Our node is not there."""


class TimePassed(NamedTuple):
    """Time has passed."""


ElectionEvent: TypeAlias = Connected | NodeMade | NodesSeen | Proven | Changed | Gone | TimePassed

# -- effects


class MakeNode(NamedTuple):
    """Make our node, unless it is there."""


class Look(NamedTuple):
    """See which nodes there are, now and at each change."""


class Prove(NamedTuple):
    """Change our node."""


class Renew(NamedTuple):
    """The lease holds until then."""

    until: float


class Lead(NamedTuple):
    """Act as the leader from now on, while the lease holds."""


class Follow(NamedTuple):
    """Another process leads; None if it is not known which."""

    leader: Leader | None


class Depose(NamedTuple):
    """End: this process led and must not any more, or can never lead."""

    reason: str


ElectionEffect: TypeAlias = MakeNode | Look | Prove | Renew | Lead | Follow | Depose


def shown(holder: str) -> str:
    """The name of a process that somebody wrote, on one line of a log."""
    return "".join(each if each.isprintable() else "?" for each in holder[:200])


def number_of(node: str) -> int:
    """By which the nodes are in order; nodes of other programs are the last."""
    digits = node.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 1 << 62


class Election:
    """One process's part in it. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.leading = False
        self._deposed = False
        self._session: int | None = None
        self._node: str | None = None
        self._nodes: frozenset[str] = frozenset()
        self._proven_at = 0.0
        self._asked_at = 0.0  # for a proof

    @property
    def others(self) -> int:
        """How many other processes there are, by what was seen last."""
        return len(self._nodes - {self._node})

    def handle(self, event: ElectionEvent, now: float) -> list[ElectionEffect]:
        if self._deposed:
            return []
        if isinstance(event, Connected):
            return self._connected(event.session)
        if isinstance(event, NodeMade):
            if event.session == self._session:
                self._node = event.node
                return [Look()]
            return []
        if isinstance(event, NodesSeen):
            return self._seen(event, now)
        if isinstance(event, Proven):
            return self._proven(event, now)
        if isinstance(event, Changed):
            return [Look()] if self._node is not None else []
        if isinstance(event, Gone):
            return self._gone()
        return self._ticked(now)

    def next_wake(self) -> float | None:
        """When the next TimePassed is due; None if nothing waits for one."""
        return self._asked_at + PROVE_EVERY if self._first and not self._deposed else None

    @property
    def _first(self) -> bool:
        return self._node is not None and min(self._nodes, key=number_of, default=None) == self._node

    def _connected(self, session: int) -> list[ElectionEffect]:
        before, self._session = self._session, session
        if before == session and self._node is not None:
            return [Look()]
        if self.leading:
            return self._depose("its session at ZooKeeper has ended, and another process may lead")
        self._node, self._nodes = None, frozenset()
        return [MakeNode()]

    def _seen(self, event: NodesSeen, now: float) -> list[ElectionEffect]:
        if self._node is None:
            return []
        self._nodes = event.nodes
        if self._node not in event.nodes:
            return self._gone()
        if not self._first:
            if self.leading:
                return self._depose("another process leads")
            return [Follow(event.leader)]
        if self.leading:
            return []
        self._asked_at = now
        return [Prove()]

    def _proven(self, event: Proven, now: float) -> list[ElectionEffect]:
        if not self._first:
            return []
        self._proven_at = max(self._proven_at, event.began)
        until = event.began + LEASE * event.timeout
        if self.leading:
            return [Renew(until)]
        if until <= now:
            return []  # the next one
        self.leading = True
        return [Renew(until), Lead()]

    def _gone(self) -> list[ElectionEffect]:
        if self.leading:
            return self._depose("its node in the election was removed")
        self._node = None
        return [MakeNode()]

    def _ticked(self, now: float) -> list[ElectionEffect]:
        if not self._first:
            return []
        if self.leading and now - self._proven_at > GIVE_UP:
            return self._depose(f"ZooKeeper has not answered for {GIVE_UP:g} s, and another process may lead")
        if now - self._asked_at < PROVE_EVERY:
            return []
        self._asked_at = now
        return [Prove()]

    def _depose(self, reason: str) -> list[ElectionEffect]:
        self._deposed, self.leading = True, False
        return [Depose(reason)]
