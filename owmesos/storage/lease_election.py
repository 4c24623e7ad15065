"""Which of several processes leads, by a Lease of Kubernetes: the decisions, without I/O.

As client-go's leaderelection: whoever's name the Lease has leads while it goes on changing it, and a change is made
only to the version that was read before (`resourceVersion`). Another process takes it once it has seen no change for as
long as the Lease says, by its own clock. client-go stops a leader that could not renew; here it waits, as with
ZooKeeper (see `election`), and goes on if nobody took the Lease meanwhile.

Where there is no Lease, it may have been deleted, and whoever had it does not know that yet. So one that was made anew
makes nobody lead until it has been there for a Lease's time. Waiting before is not enough: another process may have
made one meanwhile and led by it, and that may have been deleted too.

A process that waits writes that into the Lease, in an annotation: so the leader knows that another one will follow it.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from owmesos.storage.election import GIVE_UP, LEASE, Depose, Follow, Lead, Leader, Renew, TimePassed

DURATION = 4
"""Seconds without a change after which another process may take the Lease. As with ZooKeeper: a Controller gives an
invoker up ten seconds after its last ping."""
RENEW_EVERY = 1.0  # seconds; between two changes by the leader
LOOK_EVERY = 0.5  # seconds; between two looks of a process that waits
ANNOUNCE_EVERY = 5.0  # seconds; after which whoever waits says so again
_ABSENT = 2 * RENEW_EVERY  # seconds; in which a leader makes a Lease anew that was deleted
_ANNOUNCED = 3 * ANNOUNCE_EVERY  # seconds; for which that counts


class SeenLease(NamedTuple):
    """The Lease as it is stored."""

    version: str
    holder: str  # empty: nobody
    duration: float  # seconds
    renewed: str  # a time of the holder's clock: only whether it changes counts
    admin: str | None = None  # the URL of the holder's admin API; None: not written by us
    waiting: str = ""  # who waits, and since when it said so

    @property
    def sign(self) -> tuple[str, float, str]:
        """What changes as long as its holder lives."""
        return self.holder, self.duration, self.renewed


# -- events


class LeaseSeen(NamedTuple):
    """It was read; None if there is none."""

    lease: SeenLease | None


class LeaseTaken(NamedTuple):
    """Our name is in it, since a request that was sent after `began`."""

    lease: SeenLease
    began: float


class LeaseChanged(NamedTuple):
    """A request of ours came too late: there is another version, or none, or one where there was none."""


LeaseEvent: TypeAlias = LeaseSeen | LeaseTaken | LeaseChanged | TimePassed

# -- effects


class ReadLease(NamedTuple):
    """Read it."""


class TakeLease(NamedTuple):
    """Write our name into that version, or make it where there is none."""

    version: str | None


class KeepLease(NamedTuple):
    """Change the time in it, which has our name."""


class AnnounceWait(NamedTuple):
    """Write into it that we wait."""


LeaseEffect: TypeAlias = ReadLease | TakeLease | KeepLease | AnnounceWait | Renew | Lead | Follow | Depose


class LeaseElection:
    """One process's part in it; `identity` is its name in the Lease. Times are seconds of one clock."""

    def __init__(self, identity: str) -> None:
        self.leading = False
        self._identity = identity
        self._deposed = False
        self._looked = False  # whether `_lease` says anything
        self._lease: SeenLease | None = None
        self._free_at = 0.0  # when another's lease has run out
        self._take_at = 0.0  # not before
        self._made = False  # we have made it, or tried to, and not taken it since
        self._waiting_at = -_ANNOUNCED  # when somebody last said that it waits
        self._until = 0.0  # of our own lease
        self._proven_at = 0.0
        self._due = 0.0  # of the next request

    @property
    def known(self) -> bool:
        """Whether there ever was a Lease that could be read."""
        return self._looked and (self._lease is not None or self.leading)

    def others(self, now: float) -> int:
        """1 if some process waits to lead after us."""
        return int(self.leading and now - self._waiting_at < _ANNOUNCED)

    def handle(self, event: LeaseEvent, now: float) -> list[LeaseEffect]:
        if self._deposed:
            return []
        if isinstance(event, LeaseSeen):
            return self._seen_by_leader(event.lease, now) if self.leading else self._seen(event.lease, now)
        if isinstance(event, LeaseTaken):
            return self._taken(event, now)
        if isinstance(event, LeaseChanged):
            return [ReadLease()]
        return self._ticked(now)

    def next_wake(self) -> float:
        """When the next TimePassed is due."""
        if self.leading or not self._looked:
            return self._due
        return min(self._due, max(self._free_at, self._take_at))

    # -- events

    def _ticked(self, now: float) -> list[LeaseEffect]:
        if self.leading:
            if now - self._proven_at > GIVE_UP:
                return self._depose(f"the API server has not answered for {GIVE_UP:g} s, and another process may lead")
            if now < self._due:
                return []
            self._due = now + RENEW_EVERY
            if self._lease is None:  # it was deleted, and whether we have made it anew was not answered
                return [ReadLease()]
            return [KeepLease()]
        if self._looked and max(self._free_at, self._take_at) <= now:
            return [self._take(now)]
        if now < self._due:
            return []
        self._due = now + LOOK_EVERY
        return [ReadLease()]

    def _seen(self, lease: SeenLease | None, now: float) -> list[LeaseEffect]:
        if lease is not None and lease.holder and lease.admin is None:
            return self._depose(f"it belongs to another program: its holder is {lease.holder!r:.200}")
        self._note(lease, now)
        ours = lease is not None and lease.holder == self._identity
        if ours and not self._made:
            return [KeepLease()]  # we took it, and were not told
        if self._free_at <= now:
            return [self._take(now)]
        if lease is None or ours:
            return []
        announced = lease.waiting and now - self._waiting_at < ANNOUNCE_EVERY
        return [Follow(_leader(lease)), *([] if announced else [AnnounceWait()])]

    def _seen_by_leader(self, lease: SeenLease | None, now: float) -> list[LeaseEffect]:
        if lease is None:
            if now < self._until:  # whoever sees that waits for longer
                self._note(lease, now)
                return [self._take(now)]
            return self._depose("it was deleted, and another process may lead")
        if lease.holder != self._identity:
            return self._depose("another process leads" if lease.holder else "somebody took it away by hand")
        self._note(lease, now)
        return [KeepLease()]

    def _taken(self, event: LeaseTaken, now: float) -> list[LeaseEffect]:
        self._note(event.lease, now)
        if self._made and not self.leading:
            return []
        self._proven_at = max(self._proven_at, event.began)
        self._until = event.began + LEASE * DURATION
        self._due = event.began + RENEW_EVERY
        if self.leading:
            return [Renew(self._until)]
        if self._until <= now:
            return [KeepLease()]
        self.leading = True
        return [Renew(self._until), Lead()]

    # -- within

    def _note(self, lease: SeenLease | None, now: float) -> None:
        """A Lease that is gone was deleted, perhaps just now: who had it does not know that yet."""
        before, first = self._lease, not self._looked
        self._lease, self._looked = lease, True
        if first or (lease.sign if lease is not None else None) != (before.sign if before is not None else None):
            self._free_at = now if lease is not None and not lease.holder else now + _duration(lease)
        waiting = lease.waiting if lease is not None else ""
        if not waiting:
            self._waiting_at = -_ANNOUNCED
        elif first or before is None or before.waiting != waiting:
            self._waiting_at = now

    def _take(self, now: float) -> TakeLease:
        self._take_at = self._due = now + LOOK_EVERY  # if this is not answered
        self._made = self._lease is None
        return TakeLease(self._lease.version if self._lease is not None else None)

    def _depose(self, reason: str) -> list[LeaseEffect]:
        self._deposed, self.leading = True, False
        return [Depose(reason)]


def _duration(lease: SeenLease | None) -> float:
    return lease.duration if lease is not None else _ABSENT


def _leader(lease: SeenLease) -> Leader:
    assert lease.admin is not None
    return Leader(lease.holder, lease.admin)
