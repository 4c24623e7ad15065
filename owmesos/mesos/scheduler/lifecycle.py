"""A launch's life, as one table.

What we decide must be in the table: an illegal step is a fault of owmesos, raises, and changes nothing. What the
cluster reports may be late, repeated or backward: then it is written into the launch's story and changes nothing.
Each attempt has a task id of its own; a new one begins only before the launch was ever seen running (REQUEUED).
"""

from __future__ import annotations

from enum import Enum

from owmesos.errors import InvariantBroken


class State(str, Enum):
    """Where a launch is. `STAGING` includes Mesos's TASK_STARTING."""

    PENDING = "PENDING"  # in the queue
    RESERVED = "RESERVED"  # room is reserved on an agent, no offer was accepted yet
    SUBMITTED = "SUBMITTED"  # its intent is stored and its ACCEPT sent
    STAGING = "STAGING"
    RUNNING = "RUNNING"
    UNREACHABLE = "UNREACHABLE"  # its agent is cut off; it may come back
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"
    LOST = "LOST"
    ERROR = "ERROR"

    @property
    def ended(self) -> bool:
        return self in ENDED

    @property
    def waiting(self) -> bool:
        return self in WAITING

    @property
    def live(self) -> bool:
        """Whether a task of it may exist."""
        return self in LIVE


class Trigger(str, Enum):
    """What may happen to a launch."""

    RESERVED = "reserved"
    UNRESERVED = "unreserved"
    ACCEPTED = "accepted"
    REQUEUED = "requeued"
    STAGED = "staged"
    RAN = "ran"
    CUT_OFF = "cut off"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    LOST = "lost"
    REFUSED = "refused"


ENDED = frozenset({State.FINISHED, State.FAILED, State.KILLED, State.LOST, State.ERROR})
WAITING = frozenset({State.PENDING, State.RESERVED})
LIVE = frozenset({State.SUBMITTED, State.STAGING, State.RUNNING, State.UNREACHABLE})

_WITHOUT_TASK = {Trigger.FAILED: State.FAILED, Trigger.KILLED: State.KILLED, Trigger.REFUSED: State.ERROR}
_TASK_ENDS = {
    Trigger.FINISHED: State.FINISHED,
    Trigger.FAILED: State.FAILED,
    Trigger.KILLED: State.KILLED,
    Trigger.LOST: State.LOST,
    Trigger.REFUSED: State.ERROR,
}
_BEFORE_RUNNING = {
    Trigger.RAN: State.RUNNING,
    Trigger.CUT_OFF: State.UNREACHABLE,
    Trigger.REQUEUED: State.PENDING,
    **_TASK_ENDS,
}

TRANSITIONS: dict[State, dict[Trigger, State]] = {
    State.PENDING: {Trigger.RESERVED: State.RESERVED, **_WITHOUT_TASK},
    State.RESERVED: {Trigger.UNRESERVED: State.PENDING, Trigger.ACCEPTED: State.SUBMITTED, **_WITHOUT_TASK},
    State.SUBMITTED: {Trigger.STAGED: State.STAGING, **_BEFORE_RUNNING},
    State.STAGING: _BEFORE_RUNNING,
    State.RUNNING: {Trigger.CUT_OFF: State.UNREACHABLE, **_TASK_ENDS},
    State.UNREACHABLE: {
        Trigger.STAGED: State.STAGING,
        Trigger.RAN: State.RUNNING,
        Trigger.REQUEUED: State.PENDING,
        **_TASK_ENDS,
    },
    **{state: {} for state in ENDED},
}


class IllegalTransition(InvariantBroken):
    """owmesos asked for a step that the table does not have."""


def target(state: State, trigger: Trigger, *, ran: bool) -> State | None:
    """The state that `trigger` leads to from `state`, or None. One that once `ran` is not requeued nor staged again."""
    if ran and trigger in (Trigger.REQUEUED, Trigger.STAGED):
        return None
    return TRANSITIONS[state].get(trigger)
