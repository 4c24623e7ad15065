"""Drives owmesos's own scheduler on a virtual cluster: the shell of virtual time.

It carries effects out in their order, as the real shell does: what is stored survives `crash`, calls that fail come
back as events, a lost stream is subscribed again after a pause, and one that is silent for five heartbeats is given up.
What stands on the scheduler (a pool of containers) can be driven with it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from owmesos.mesos.messages import ID, Call, Error, Event, Subscribe
from owmesos.mesos.scheduler import effects
from owmesos.mesos.scheduler.events import AgentSeen, AgentsSeen, CallNotTaken, KillLaunches, Submit, Submits, Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.task_info import template
from owmesos.mesos.wire.driver import Disconnected, SubscribeRefused
from owmesos.resources import total
from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.virtual import VirtualCluster, VirtualStream
from owmesos.testing.virtual_process import Decisions, VirtualProcess

_BACKOFF = 1.0  # seconds
_SILENCE = 75.0  # seconds
_ASKED_WITHIN = 0.01  # seconds
_decode = msgspec.json.Decoder(LaunchRecord).decode


class VirtualScheduler(VirtualProcess):
    """One scheduler. `calls` counts what it sent, by type; `stopped` is why its process would end.

    The scheduler is driven, or what `on_top` makes of each. Effects that are not the scheduler's own go to `on_effect`.
    """

    def __init__(
        self,
        cluster: VirtualCluster,
        *,
        settings: Settings | None = None,
        roles: tuple[str, ...] = ("virtual",),
        durable: bool = True,
        seed: int = 0,
        on_top: Callable[[Scheduler], Decisions] | None = None,
        on_effect: Callable[[Any], None] | None = None,
    ) -> None:
        """Without `durable` nothing is stored: it is faster, and cannot be crashed."""
        super().__init__(cluster.world.agenda, Tick())
        self.cluster = cluster
        self.settings = settings or Settings()
        self.calls: dict[str, int] = {}
        self.stopped: effects.Stop | None = None
        self._info = framework_info(name="virtual", user="nobody", roles=roles)
        self._durable = durable
        self._on_top = on_top
        self._on_effect = on_effect
        self._chance = random.Random(seed)
        self._store: dict[str, bytes] = {}
        self._framework_id: str | None = None
        self._stream: VirtualStream | None = None
        self._asking = False
        self._watchdog: AgendaEntry | None = None
        self._numbers = 0
        self._begin()

    # -- its process

    def _begin(self) -> None:
        info = self._info
        if self._framework_id is not None:
            info = msgspec.structs.replace(info, id=ID(self._framework_id))
        self.scheduler = Scheduler(self.settings, info)
        self.decisions = self.scheduler if self._on_top is None else self._on_top(self.scheduler)
        self.scheduler.restore([_decode(data) for data in self._store.values()], self.cluster.now)
        self._subscribe()

    def crash(self) -> None:
        """kill -9, and a new process at once with what was stored."""
        assert self._durable, "nothing was stored"
        self._hang_up()
        self._inbox.clear()
        self.cluster.deliver()
        self._begin()
        self._settle()

    # -- the stream

    def _subscribe(self) -> None:
        if self._stream is not None or self.stopped is not None:
            return
        info = self.scheduler.state.info
        answer, stream = self.cluster.subscribe(Subscribe(info), self._event)
        if answer.status == 200:
            self._stream = stream
            stream.on_end(lambda: self._lost("the stream has ended"))
            self._watch()
            return
        if answer.status == 400:
            self.handle(SubscribeRefused(answer.status, answer.text))
        self._again_later()

    def _hang_up(self) -> None:
        cancel(self._watchdog)
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _again_later(self) -> None:
        pause = _BACKOFF * self._chance.uniform(0.5, 1.5)
        self.cluster.world.agenda.after(pause, self._subscribe)

    def _lost(self, reason: str) -> None:
        self._hang_up()
        self.handle(Disconnected(reason))
        if self.stopped is None:
            self._again_later()

    def _watch(self) -> None:
        """A stream that says nothing for five heartbeats is half open."""
        cancel(self._watchdog)
        self._watchdog = self.cluster.world.agenda.after(_SILENCE, self._lost, "silent for five heartbeats")

    def _event(self, event: Event) -> None:
        self._watch()
        self.handle(event)
        if isinstance(event, Error):
            self._hang_up()

    # -- what is asked of it

    def submit(self, *launches: Launch) -> list[str]:
        """The ids of the launches."""
        submits = []
        for launch in launches:
            self._numbers += 1
            submits.append(Submit(f"{launch.name}-{self._numbers}", launch, template(launch)))
        self.handle(Submits(tuple(submits)))
        return [submit.launch_id for submit in submits]

    def kill(self, launch_id: str) -> None:
        self.handle(KillLaunches((launch_id,)))

    def records(self) -> Iterable[LaunchRecord]:
        return self.scheduler.state.launches.values()

    # -- events and effects

    def handle(self, event: Any) -> None:
        """One event for the scheduler or what stands on it, and all that comes of it at once."""
        super().handle(event)
        self.cluster.deliver()

    def _carry_out(self, effect: object) -> None:
        if isinstance(effect, effects.SendCall):
            self._send(effect.call)
        elif isinstance(effect, effects.StoreLaunch):
            if self._durable:
                self._store[effect.record.id] = effect.record.stored_form()
        elif isinstance(effect, effects.StoreFramework):
            self._framework_id = effect.framework_id
        elif isinstance(effect, effects.ForgetRecord):
            self._store.pop(effect.launch_id, None)
        elif isinstance(effect, effects.AskAgents):
            if not self._asking:
                self._asking = True
                self.cluster.world.agenda.after(_ASKED_WITHIN, self._agents_seen)
        elif isinstance(effect, effects.Resubscribe):
            self._hang_up()
            self._inbox.append(Disconnected(effect.reason))
            self._again_later()
        elif isinstance(effect, effects.Stop):
            self.stopped = effect
        elif self._on_effect is not None and not isinstance(effect, effects.Effect):
            self._on_effect(effect)

    def _agents_seen(self) -> None:
        """What GET_AGENTS would say; one question at a time, as in the real shell."""
        self._asking = False
        master = self.cluster.world.master
        if master is None:
            self.handle(AgentsSeen(None, "no leader"))
            return
        roles = self.scheduler.state.info.roles
        seen = []
        for agent in master.books.agents.values():
            parts = [part for stack, part in agent.total.parts.items() if not stack or stack[-1].role in roles]
            seen.append(AgentSeen(agent.id, agent.description.hostname, total(parts)))
        self.handle(AgentsSeen(tuple(seen)))

    def _send(self, call: Call) -> None:
        self.calls[call.wire_type] = self.calls.get(call.wire_type, 0) + 1
        info = self.scheduler.state.info
        if self._stream is None or info.id is None:
            self._inbox.append(CallNotTaken(call, None, "not subscribed", sent=False))
            return
        answer = self.cluster.call(info.id.value, self._stream, call)
        if answer is None:
            self._inbox.append(CallNotTaken(call, None, "no answer came"))
        elif answer.status not in (200, 202):
            self._inbox.append(CallNotTaken(call, answer.status, answer.text))
