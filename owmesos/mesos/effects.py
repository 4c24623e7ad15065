"""What the scheduler wants done, in this order. The shell does it; nothing here is done by itself.

Every Store before a Send must be durable before that Send: a launch's intent is written ahead of its ACCEPT, and an
update is stored before it is acknowledged (docs/high-availability-framework-guide.md).
"""

from __future__ import annotations

import msgspec

from owmesos.core.launches import LaunchRecord
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.mesos.messages import Call


class Effect(msgspec.Struct, frozen=True):
    """The root of the effects."""


class Send(Effect, frozen=True):
    """Send `call`; when it fails, hand `CallNotTaken(call, …)` back."""

    call: Call


class StoreFramework(Effect, frozen=True):
    framework_id: str


class StoreLaunch(Effect, frozen=True):
    """`record` as it is now; it may have changed when the effect is carried out later, which does no harm."""

    record: LaunchRecord


class ForgetLaunch(Effect, frozen=True):
    launch_id: str


class Changed(Effect, frozen=True):
    """The launch changed its state: whoever waits for it may look."""

    launch_id: str


class StatsChanged(Effect, frozen=True):
    update: NodeStatsUpdate


class StartRefused(Effect, frozen=True):
    """A start that was decided on remembered room got no fitting offer in time; the launch waits at its old place."""

    launch_id: str
    reason: str


class AskAgents(Effect, frozen=True):
    """Ask the operator API for the agents' totals and hand `AgentsSeen` back, also when it is not to be had."""


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
