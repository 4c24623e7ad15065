"""owmesos: OpenWhisk containers on Mesos or Kubernetes, and any other launch on Mesos, without over-provisioning.

The public names for people who write Mesos frameworks. What is not listed here may change.
Each is imported when it is first asked for, so that the command line does not wait for
a whole library, and decisions can be used without the world around them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # what type checkers and editors see: the same names
    from owmesos.core.constraints import Constraint as Constraint
    from owmesos.core.ledger import Buffer as Buffer
    from owmesos.core.node_stats import NodeState as NodeState
    from owmesos.core.node_stats import NodeStats as NodeStats
    from owmesos.core.node_stats import NodeStatsUpdate as NodeStatsUpdate
    from owmesos.core.placement import Strategy as Strategy
    from owmesos.documents import ActivationExplanation as ActivationExplanation
    from owmesos.documents import ContainerDocument as ContainerDocument
    from owmesos.documents import KillDocument as KillDocument
    from owmesos.documents import LaunchDocument as LaunchDocument
    from owmesos.documents import LaunchExplanation as LaunchExplanation
    from owmesos.documents import NodeDocument as NodeDocument
    from owmesos.documents import OfferDocument as OfferDocument
    from owmesos.documents import ReservationDocument as ReservationDocument
    from owmesos.documents import StatusDocument as StatusDocument
    from owmesos.documents import StoryDocument as StoryDocument
    from owmesos.documents import StoryEntry as StoryEntry
    from owmesos.documents import UnknownKillDocument as UnknownKillDocument
    from owmesos.documents import UnreadableDocument as UnreadableDocument
    from owmesos.documents import Vector as Vector
    from owmesos.errors import InvalidInput as InvalidInput
    from owmesos.errors import OwmesosError as OwmesosError
    from owmesos.mesos.messages import TaskInfo as TaskInfo
    from owmesos.mesos.scheduler.launch import Launch as Launch
    from owmesos.mesos.scheduler.lifecycle import State as State
    from owmesos.mesos.scheduler.settings import Settings as Settings
    from owmesos.mesos.wire.access import Tls as Tls
    from owmesos.mesos.wire.driver import CallFailed as CallFailed
    from owmesos.mesos.wire.driver import CallRefused as CallRefused
    from owmesos.mesos.wire.driver import CallUnknown as CallUnknown
    from owmesos.mesos.wire.driver import NotSubscribed as NotSubscribed
    from owmesos.resources import Ask as Ask
    from owmesos.resources import Ports as Ports
    from owmesos.resources import Resources as Resources
    from owmesos.service.blocking import BlockingFramework as BlockingFramework
    from owmesos.service.blocking import BlockingKept as BlockingKept
    from owmesos.service.blocking import BlockingLaunch as BlockingLaunch
    from owmesos.service.errors import FrameworkStopped as FrameworkStopped
    from owmesos.service.errors import LaunchFailed as LaunchFailed
    from owmesos.service.errors import LogMissing as LogMissing
    from owmesos.service.errors import LogUnreadable as LogUnreadable
    from owmesos.service.errors import NotKnown as NotKnown
    from owmesos.service.errors import RecordUnreadable as RecordUnreadable
    from owmesos.service.framework import Framework as Framework
    from owmesos.service.idempotency import KeyReused as KeyReused
    from owmesos.service.keep import Kept as Kept
    from owmesos.service.kill import Killed as Killed
    from owmesos.service.launch_requests import LaunchHandle as LaunchHandle
    from owmesos.service.launch_requests import Milestone as Milestone
    from owmesos.service.main_task import run as run
    from owmesos.service.stopped import Stopped as Stopped
    from owmesos.storage import StateDamaged as StateDamaged
    from owmesos.storage import StateInUse as StateInUse
    from owmesos.storage import StateTooNew as StateTooNew
    from owmesos.storage import StoreFailed as StoreFailed

_HOMES = {
    "owmesos.core.ledger": "Buffer",
    "owmesos.core.constraints": "Constraint",
    "owmesos.core.node_stats": "NodeState NodeStats NodeStatsUpdate",
    "owmesos.core.placement": "Strategy",
    "owmesos.documents": (
        "ActivationExplanation ContainerDocument KillDocument LaunchDocument LaunchExplanation NodeDocument "
        "OfferDocument ReservationDocument StatusDocument StoryDocument StoryEntry UnknownKillDocument "
        "UnreadableDocument Vector"
    ),
    "owmesos.errors": "InvalidInput OwmesosError",
    "owmesos.mesos.messages": "TaskInfo",
    "owmesos.mesos.scheduler.launch": "Launch",
    "owmesos.mesos.scheduler.lifecycle": "State",
    "owmesos.mesos.scheduler.settings": "Settings",
    "owmesos.mesos.wire.access": "Tls",
    "owmesos.mesos.wire.driver": "CallFailed CallRefused CallUnknown NotSubscribed",
    "owmesos.resources": "Ask Ports Resources",
    "owmesos.service.blocking": "BlockingFramework BlockingKept BlockingLaunch",
    "owmesos.service.errors": "FrameworkStopped LaunchFailed LogMissing LogUnreadable NotKnown RecordUnreadable",
    "owmesos.service.framework": "Framework",
    "owmesos.service.idempotency": "KeyReused",
    "owmesos.service.keep": "Kept",
    "owmesos.service.kill": "Killed",
    "owmesos.service.launch_requests": "LaunchHandle Milestone",
    "owmesos.service.main_task": "run",
    "owmesos.service.stopped": "Stopped",
    "owmesos.storage": "StateDamaged StateInUse StateTooNew StoreFailed",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
__all__ = sorted(_HOME)  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'owmesos' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
