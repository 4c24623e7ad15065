"""One scheduler against the model master, with a store and a clock of their own.

The world is the shell: it carries effects out in their order, brings the master's events one by one, and may lose the
stream, an answer or the whole process at any point. After each event that the scheduler has handled everything that
must always hold is checked.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from owmesos.core.launch import Launch
from owmesos.core.launches import LaunchRecord
from owmesos.mesos.driver import Disconnected
from owmesos.mesos.effects import (
    AskAgents,
    Effect,
    ForgetLaunch,
    Resubscribe,
    Send,
    Stop,
    StoreFramework,
    StoreLaunch,
)
from owmesos.mesos.events import AgentSeen, AgentsSeen, CallNotTaken, KillLaunch, Submit, Tick
from owmesos.mesos.messages import Accept, Call, Event
from owmesos.mesos.scheduler import Scheduler
from owmesos.mesos.settings import Settings, framework_info
from owmesos.mesos.task_info import template
from tests.model.agents import Link, ModelAgent
from tests.model.checks import Checks
from tests.model.master import Master

START = 1_700_000_000.0
RECONNECT = 1.0
_decode = msgspec.json.Decoder(LaunchRecord).decode


class World:
    """`inbox` is the stream: events that the scheduler has not read yet. `sent` are all calls with their times."""

    def __init__(
        self,
        agents: Sequence[ModelAgent],
        *,
        roles: tuple[str, ...] = ("web",),
        settings: Settings | None = None,
        operator_api: bool = False,
    ) -> None:
        self.now = START
        self.settings = settings if settings is not None else Settings()
        self.roles = roles
        self.operator_api = operator_api
        self.store: dict[str, bytes] = {}
        self.framework_id: str | None = None
        self.inbox: deque[Event] = deque()
        self.sent: list[tuple[float, Call]] = []
        self.effects: list[Effect] = []  # of the last event, and of what came of it at once
        self.stopped: Stop | None = None
        self.lose_answer: bool | None = None  # of the next ACCEPT; True: it is taken all the same
        self.crash_after: int | None = None  # effects
        self.ran: set[str] = set()  # launches whose RUNNING was taken in
        self.broken = False  # an event failed, or a check on it
        self._number = 0
        self._reconnect_at: float | None = None
        self.master = Master(roles, self.inbox.append)
        self.master.now = self.now
        for agent in agents:
            self.master.agents[agent.agent_id] = agent
        self._start()
        self.connect()

    # -- the process

    def _start(self) -> None:
        info = framework_info(name="test", user="nobody", roles=self.roles, framework_id=self.framework_id)
        self.scheduler = Scheduler(self.settings, info)
        self.scheduler.restore([_decode(text) for text in self.store.values()], self.now)
        self.checks = Checks(self)

    def crash(self) -> None:
        """The process is gone, and another begins with what was stored."""
        self.crash_after = None
        self.master.lose_stream()
        self.inbox.clear()
        self._start()
        self.connect()

    def connect(self) -> None:
        self._reconnect_at = None
        self.master.subscribe(self.scheduler.books.info)

    def lose_stream(self, *, unread_too: bool = True, connect_after: float = RECONNECT) -> None:
        """The stream ends; what was not read may be lost with it, or still be read."""
        self.master.lose_stream()
        self._stream_lost("end of stream", unread_too=unread_too, connect_after=connect_after)

    def restart_master(self, back_after: dict[str, float], connect_after: float = RECONNECT) -> None:
        self.master.restart(back_after)
        self._stream_lost("end of stream", unread_too=True, connect_after=connect_after)

    def _stream_lost(self, reason: str, *, unread_too: bool, connect_after: float) -> None:
        if unread_too:
            self.inbox.clear()
        if self._reconnect_at is None or not unread_too:
            self.inbox.append(Disconnected(reason))
        self._reconnect_at = self.now + connect_after

    # -- what is asked of it

    def submit(self, **asked: object) -> str:
        launch = Launch(command="true", **asked)  # type: ignore[arg-type]
        self._number += 1
        launch_id = f"L{self._number}"
        self.handle(Submit(launch_id, launch, template(launch)))
        return launch_id

    def kill(self, launch_id: str) -> None:
        self.handle(KillLaunch(launch_id))

    def record(self, launch_id: str) -> LaunchRecord:
        return self.scheduler.books.launches[launch_id]

    # -- time and events

    def deliver(self, most: int | None = None) -> int:
        """Up to `most` events of the stream are read. How many were."""
        read = 0
        while self.inbox and (most is None or read < most):
            self.handle(self.inbox.popleft())
            read += 1
        return read

    def wait(self, seconds: float) -> None:
        """Time passes, and everything is read as it comes."""
        target = self.now + seconds
        self.deliver()
        ticks, last = 0, -math.inf
        while True:
            wake = self.scheduler.next_wake()
            soonest = min(
                wake if wake is not None else math.inf,
                self.master.next_time(),
                self._reconnect_at if self._reconnect_at is not None else math.inf,
            )
            if soonest > target:
                break
            self.now = max(self.now, soonest)
            ticks = ticks + 1 if self.now == last else 0
            last = self.now
            assert ticks < 50, f"the scheduler asks to be woken again and again: {wake}"
            self.master.advance(self.now)
            if self._reconnect_at is not None and self._reconnect_at <= self.now:
                self.connect()
            self.deliver()
            wake = self.scheduler.next_wake()
            if wake is not None and wake <= self.now:
                self.handle(Tick())
                self.deliver()
        self.now = target
        self.master.advance(target)
        self.deliver()

    def handle(self, event: Event) -> None:
        """One event, its effects and what comes of them at once, and all checks."""
        self.broken = True
        self.effects = []
        answers: deque[Event] = deque([event])
        while answers:
            each = answers.popleft()
            self.checks.before(each)
            effects = self.scheduler.handle(each, self.now)
            self.effects += effects
            found = self._carry_out(effects)
            if found is None:
                self.crash()
                break
            answers += found
            self.checks.after(each, effects, all_taken=not answers)
        self.broken = False

    def _carry_out(self, effects: list[Effect]) -> list[Event] | None:
        """The events that come of them at once; None when the process died on the way."""
        answers: list[Event] = []
        for effect in effects:
            if self.crash_after is not None:
                if self.crash_after <= 0:
                    return None
                self.crash_after -= 1
            self.checks.effect(effect)
            if isinstance(effect, StoreLaunch):
                self.store[effect.record.id] = effect.record.stored_form()
            elif isinstance(effect, StoreFramework):
                self.framework_id = effect.framework_id
            elif isinstance(effect, ForgetLaunch):
                self.store.pop(effect.launch_id, None)
            elif isinstance(effect, Send):
                answers += self._send(effect.call)
            elif isinstance(effect, AskAgents):
                answers.append(self._agents_seen())
            elif isinstance(effect, Resubscribe):
                self.master.lose_stream()
                self._stream_lost(effect.reason, unread_too=True, connect_after=RECONNECT)
            elif isinstance(effect, Stop):
                self.stopped = effect
        return answers

    def _send(self, call: Call) -> list[Event]:
        self.sent.append((self.now, call))
        if not self.master.subscribed:
            return [CallNotTaken(call, None, "not subscribed")]
        if isinstance(call, Accept) and self.lose_answer is not None:
            taken, self.lose_answer = self.lose_answer, None
            if taken:
                self.master.receive(call)
            return [CallNotTaken(call, None, "no answer came")]
        refused = self.master.receive(call)
        return [] if refused is None else [CallNotTaken(call, *refused)]

    def _agents_seen(self) -> AgentsSeen:
        if not self.operator_api:
            return AgentsSeen(None, "403")
        listed = [agent for agent in self.master.agents.values() if agent.link in (Link.UP, Link.FROZEN)]
        return AgentsSeen(tuple(AgentSeen(agent.agent_id, agent.host, agent.whole()) for agent in listed))

    # -- what a test asks

    def calls(self, kind: type[Call], since: float = -math.inf) -> list[Call]:
        return [call for at, call in self.sent if isinstance(call, kind) and at >= since]
