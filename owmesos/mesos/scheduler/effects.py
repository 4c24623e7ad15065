"""What the scheduler wants done, in this order. The shell does it; nothing here is done by itself.

Every Store before a Send must be durable before that Send: a launch's intent is written ahead of its ACCEPT, and an
update is stored before it is acknowledged (docs/high-availability-framework-guide.md).
"""

from __future__ import annotations

import msgspec

from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.mesos.messages import Call
from owmesos.mesos.scheduler.launches import LaunchRecord


class Effect(msgspec.Struct, frozen=True):
    """The root of the effects."""


class SendCall(Effect, frozen=True):
    """Send `call`; when it fails, hand `CallNotTaken(call, …)` back.

    `accepted_at` is set for an ACCEPT, and is that of its launches' records. Before the shell sends its first byte, it
    notes that ACCEPTs up to that time may have been sent; the note outlives a kill -9 (see `Scheduler.restore`).
    """

    call: Call
    accepted_at: float | None = None


class StoreFramework(Effect, frozen=True):
    framework_id: str


class StoreLaunch(Effect, frozen=True):
    """`record` has changed: store it as it is now, and tell whoever waits for it.

    It may have changed again when the effect is carried out, which does no harm.
    """

    record: LaunchRecord


class ForgetRecord(Effect, frozen=True):
    launch_id: str


class StatsChanged(Effect, frozen=True):
    update: NodeStatsUpdate


class LaunchRefused(Effect, frozen=True):
    """A start that was decided on remembered room got no fitting offer in time; the launch waits at its old place."""

    launch_id: str
    reason: str


class AskAgents(Effect, frozen=True):
    """Ask the operator API for the agents' totals and hand `AgentsSeen` back, even if they are unavailable."""


class Resubscribe(Effect, frozen=True):
    reason: str


class Stop(Effect, frozen=True):
    """End the process with `exit_code`; `reason` is one line for a person."""

    reason: str
    exit_code: int = 1


class Note(Effect, frozen=True):
    """A line for the log; `level` is one of logging's names in lower case."""

    level: str
    text: str
