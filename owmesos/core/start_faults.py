"""What is known of starts that failed or ran: by node, by launch, and by both. `owmesos.core.backoff` judges it.

Times are in seconds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

NEVER = float("-inf")


class Fault(NamedTuple):
    """A node (or, with None, a launch) is at fault: no starts for `seconds`, `until` then; `reason` is a sentence."""

    agent_id: str | None
    seconds: float
    until: float
    reason: str

    @property
    def text(self) -> str:
        """The reason and the consequence."""
        what = "its launches wait" if self.agent_id is None else "it gets no starts for"
        return f"{self.reason}: {what} {self.seconds:g} s"


class AgentFaults(msgspec.Struct):
    """Starts on a node. `…_at` and `…since` are the times of the last such event, and of the first in a row."""

    failing: dict[Hashable, bool] = {}  # launches that failed here in a row; whether each runs elsewhere
    since: float = NEVER  # the first of them failed
    strikes: int = 0  # failed starts in a row; those under way together count once
    struck_at: float = NEVER
    ran_at: float = NEVER  # a start succeeded
    anew_at: float = NEVER  # the agent registered: earlier starts do not count
    usable_at: float = NEVER  # a container was used
    unusable: int = 0  # containers in a row that ran and could not be used
    unusable_since: float = NEVER
    pauses: int = 0  # in a row
    pause: Fault | None = None  # the current one

    @property
    def doubted(self) -> bool:
        return len(self.failing) > 1 or any(self.failing.values())


class PairFaults(msgspec.Struct):
    """A launch and a node where it failed."""

    failed: int = 0
    until: float = NEVER


class LaunchFaults(msgspec.Struct):
    """Starts of a launch, on all nodes."""

    failing: dict[str, str] = {}  # nodes where it failed in a row, with the reasons
    outcast: set[str] = set()  # those of them where others run
    pairs: dict[str, PairFaults] = {}  # by node
    failed_at: float = NEVER  # it has not run since, whoever was at fault
    strikes: int = 0  # failed starts in a row; those under way together count once
    struck_at: float = NEVER
    until: float = NEVER  # its back-off ends
    ran_on: tuple[str, ...] = ()  # the last two nodes

    @property
    def at_fault(self) -> bool:
        return bool(self.outcast) or len(self.failing) > 1

    def ran_elsewhere(self, agent_id: str) -> bool:
        return any(each != agent_id for each in self.ran_on) and not any(each != agent_id for each in self.failing)
