"""Tests of a framework as a script: send this, expect that.

    script = Script(cluster)
    script.play(
        Expect("SUBSCRIBE"),
        Expect("ACCEPT", lambda call: len(call.operations) == 1),
        Do(lambda world: world.rescind()),
        Silence("DECLINE", seconds=0.5),
    )

The framework under test runs meanwhile, in a thread or process of its own, against `cluster.master`.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from owmesos.mesos.messages import Call, Event
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.simulator.world import World

Judge = Callable[[Any], object]


def _anything(_call: Any) -> bool:
    return True


@dataclass(frozen=True)
class Expect:
    """The next call of a type (as on the wire) must come in time, and `where` must be true for it; other calls are
    ignored.

    Acknowledgements and others may come at any time, so only calls of the type itself are checked.
    """

    type: str
    where: Judge = _anything
    within: float = 10.0


@dataclass(frozen=True)
class Silence:
    """No call of a type within this time."""

    type: str
    seconds: float = 1.0


@dataclass(frozen=True)
class Send:
    """An event, to every framework that is connected: whatever a master could say, or should not."""

    event: Event


@dataclass(frozen=True)
class Do:
    """Something that happens to the cluster: `Do(lambda world: world.kill("agent1"))`, see World's verbs."""

    act: Callable[[World], object]


Step = Expect | Silence | Send | Do


class ScriptFailed(AssertionError):
    """The framework deviated from the script."""


class Script:
    """Records every call from its creation. Each call matches at most one `Expect`."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._cluster = cluster
        self._calls: queue.Queue[Call] = queue.Queue()
        self.heard: list[Call] = []
        cluster.enter(lambda: cluster.world.observers.append(lambda _, call: self._calls.put(call)))

    def play(self, *steps: Step) -> None:
        """One step after the other. Raises ScriptFailed."""
        for number, step in enumerate(steps, 1):
            if isinstance(step, Expect):
                self.expect(step.type, step.where, step.within, name=f"step {number}")
            elif isinstance(step, Silence):
                call = self._next(step.type, step.seconds)
                if call is not None:
                    raise ScriptFailed(f"step {number}: unexpected {step.type}: {call}")
            elif isinstance(step, Send):
                self._cluster.enter(partial(self._cluster.world.say, step.event))
            else:
                self._cluster.enter(partial(step.act, self._cluster.world))

    def expect(self, type: str, where: Judge = _anything, within: float = 10.0, name: str = "expected") -> Any:  # noqa: A002
        """The call. Raises ScriptFailed."""
        call = self._next(type, within)
        if call is None:
            since = ", ".join(each.wire_type for each in self.heard[-10:]) or "nothing"
            raise ScriptFailed(f"{name}: {type} did not come within {within:g} s; the last calls were {since}")
        if not where(call):
            raise ScriptFailed(f"{name}: unexpected content of {type}: {call}")
        return call

    def _next(self, type_: str, within: float) -> Call | None:
        deadline = time.monotonic() + within
        while (left := deadline - time.monotonic()) > 0:
            try:
                call = self._calls.get(timeout=left)
            except queue.Empty:
                return None
            self.heard.append(call)
            if call.wire_type == type_:
                return call
        return None
