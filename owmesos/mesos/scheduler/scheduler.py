"""The scheduler: from an event and the time to what is to be done.

Theory of operation. `handle` writes the event into the state, then the end of the step decides: what waits is matched,
offers that nobody needs are declined, REVIVE or SUPPRESS where it is due. It waits for nothing and sends nothing; the
shell carries the effects out in their order and hands their failures back as events. So a run can be replayed, and
driven in virtual time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from owmesos.core.explanation import Explanation
from owmesos.errors import InvalidInput, InvariantBroken
from owmesos.mesos import messages as v1
from owmesos.mesos.scheduler import events
from owmesos.mesos.scheduler.agents import Agents
from owmesos.mesos.scheduler.effects import Effect, StatsChanged
from owmesos.mesos.scheduler.heartbeats import Heartbeats
from owmesos.mesos.scheduler.kills import Kills
from owmesos.mesos.scheduler.launches import LaunchRecord, Unreadable
from owmesos.mesos.scheduler.lifecycle import State, Trigger
from owmesos.mesos.scheduler.matching import Matching
from owmesos.mesos.scheduler.reconciliation import Reconciliation
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.mesos.scheduler.state import SchedulerState, SchedulerTimer
from owmesos.mesos.scheduler.subscription import Subscription
from owmesos.mesos.scheduler.task_info import fault_of, whole_ask
from owmesos.mesos.scheduler.task_updates import TaskUpdates
from owmesos.mesos.wire.driver import Disconnected, SubscribeRefused, SubscribeUnanswered


class Scheduler:
    """One framework's decisions. `state` may be read at any time between events, and be changed by nobody else."""

    def __init__(self, settings: Settings, info: v1.FrameworkInfo) -> None:
        self.state = SchedulerState(settings, info)
        self._revive = SuppressReviveHandler(self.state)
        self._reconciliation = Reconciliation(self.state)
        self._kills = Kills(self.state)
        self._heartbeats = Heartbeats(self.state)
        self._task_updates = TaskUpdates(self.state, self._revive, self._reconciliation, self._kills)
        self._matching = Matching(self.state)
        self._next_place = 0
        self._agents = Agents(self.state, self._revive, self._task_updates, self._reconciliation)
        subscription = self._subscription = Subscription(
            self.state, self._heartbeats, self._revive, self._reconciliation, self._kills, self._matching
        )
        self._handlers: dict[type[v1.Event], Callable[[Any, float], None]] = {
            v1.Subscribed: subscription.subscribed,
            Disconnected: subscription.disconnected,
            SubscribeRefused: subscription.subscribe_refused,
            SubscribeUnanswered: subscription.subscribe_unanswered,
            v1.Offers: self._agents.offers,
            v1.Rescind: self._agents.rescind,
            v1.InverseOffers: self._agents.inverse_offers,
            v1.Update: lambda event, now: self._task_updates.update(event.status, now),
            v1.Failure: self._agents.failure,
            v1.Error: subscription.error,
            events.Submit: self._submit,
            events.Submits: self._submit_all,
            events.KillLaunches: self._kill,
            events.PoolWaits: self._pool_waits,
            events.PortTaken: self._port_taken,
            events.Served: self._served,
            events.CallNotTaken: self._not_taken,
            events.AgentsSeen: self._agents.agents_seen,
            events.Tick: _look_again,
            v1.Heartbeat: self._heartbeats.heartbeat,
            v1.RescindInverseOffer: _look_again,
            v1.UpdateOperationStatus: _look_again,
            v1.MessageEvent: _look_again,
            v1.UnknownEvent: _look_again,
        }
        self._timed = self._by_timer()

    def _by_timer(self) -> dict[SchedulerTimer, Callable[..., None]]:
        """What is done when a timer is due, given what it is about, if anything, and the time."""
        task_updates, matching, revive = self._task_updates, self._matching, self._revive
        reconciliation, kills, subscription = self._reconciliation, self._kills, self._subscription
        return {
            SchedulerTimer.SETTLED: subscription.settled,
            SchedulerTimer.CONNECT_TIMEOUT: subscription.not_a_master,
            SchedulerTimer.SILENCE: self._heartbeats.overdue,
            SchedulerTimer.TOTALS: self._agents.ask_totals,
            SchedulerTimer.REVIVE: lambda now: None,  # the end of the step decides
            SchedulerTimer.REVIVE_INTERVAL: lambda now: revive.again(),
            SchedulerTimer.OFFER_WAIT: revive.judge,
            SchedulerTimer.MATCH: lambda now: None,  # the same
            SchedulerTimer.SET_ASIDE: matching.set_aside,
            SchedulerTimer.SET_ASIDE_ENDS: matching.end_aside,
            SchedulerTimer.TRIALS: lambda now: revive.want(),
            SchedulerTimer.RECONCILE: reconciliation.reconcile,
            SchedulerTimer.RECONCILE_ALL: reconciliation.reconcile_all,
            SchedulerTimer.FORGET_ENDED: task_updates.forget_ended,
            SchedulerTimer.FORGET_AGENTS: self.state.forget_agents,
            SchedulerTimer.DEADLINE: self._of_launch(task_updates.deadline),
            SchedulerTimer.CONFIRM: self._of_launch(reconciliation.confirm),
            SchedulerTimer.ASK: self._of_launch(reconciliation.ask),
            SchedulerTimer.KILL: self._of_launch(task_updates.kill_again),
            SchedulerTimer.UNREACHABLE: self._of_launch(task_updates.unreachable_too_long),
            SchedulerTimer.STRAY: kills.stray_again,
            SchedulerTimer.BACKOFF: self._backoff_over,
            SchedulerTimer.LAUNCH_BACKOFF: self._launch_backoff_over,
        }

    def _of_launch(self, action: Callable[[LaunchRecord, float], None]) -> Callable[[str, float], None]:
        """Timers of a launch are cancelled when it ends, so it is known."""
        return lambda launch_id, now: action(self.state.launches[launch_id], now)

    def restore(
        self,
        records: Iterable[LaunchRecord],
        now: float,
        unreadable: Iterable[Unreadable] = (),
        *,
        sent_until: float = math.inf,
    ) -> None:
        """Take up what an earlier process had stored, ended launches too, before the first event.

        Those that no task could be made of are set aside with the `unreadable` ones, in `state.unreadable`. ACCEPTs
        that were decided after `sent_until` certainly were not sent: without a task, their launches wait again.
        """
        state = self.state
        state.connection.since = now
        state.unreadable = {each.launch_id: each for each in unreadable}
        for record in sorted(records, key=lambda record: (record.ended_at or 0.0, record.place)):
            self._next_place = max(self._next_place, record.place + 1)
            fault = None if record.state.ended else fault_of(record)
            if fault is not None:
                state.unreadable[record.id] = Unreadable(record.id, fault)
                continue
            state.launches[record.id] = record
            if record.state.ended:
                self._task_updates.restore(record, now)
                continue
            record.add_story_line(now, "taken up again after a restart")
            if record.state.live:
                self._task_updates.restore(record, now)
                if record.state is State.SUBMITTED and (record.accepted_at or 0.0) > sent_until:
                    self._task_updates.never_sent(record, now, "its ACCEPT was not sent: the process ended before")
            else:
                record.state = State.PENDING
                state.queue.add(record)
            if not record.ran and not record.state.ended:
                # what its task did meanwhile is told first
                told_by = now + state.settings.confirm_after if record.state.live else now
                state.timers.set((SchedulerTimer.DEADLINE, record.id), max(record.deadline_at, told_by))

    def handle(self, event: v1.Event, now: float) -> list[Effect]:
        """Write the event into the state and return what is to be done, in order. `now` in seconds.

        Raises InvariantBroken for an event or a timer without a rule.
        """
        handler = self._handlers.get(type(event))
        if handler is None:
            raise InvariantBroken(f"the scheduler has no rule for {type(event).__name__}")
        self._heartbeats.handle(event, now)
        handler(event, now)
        for key in self.state.timers.due(now):
            name, about = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
            action = self._timed.get(name)
            if action is None:
                raise InvariantBroken(f"the scheduler has no rule for timer {name!r}")
            action(*about, now)
        self._finish(now)
        effects, self.state.effects = self.state.effects, []
        return effects

    def next_wake(self) -> float | None:
        """When the next `Tick` is due, or None."""
        return self.state.timers.next()

    def explain(self, launch_id: str) -> Explanation | None:
        """Why a launch waits; None when it is not known or does not wait."""
        record = self.state.launches.get(launch_id)
        return self.state.explain(record) if record is not None and record.state.waiting else None

    # -- the end of a step

    def _finish(self, now: float) -> None:
        state = self.state
        self._task_updates.drop_refused(now)
        if state.connected and self._matching.run(now):
            self._revive.want()
        self._task_updates.drop_refused(now)
        if not state.anything_waits:
            state.close_stops(state.ledger.reservations.stops())
        if state.unlisted:
            state.drop_unlisted(now)
        self._revive.run(now)
        update = state.stats_update()
        if update is not None:
            state.emit(StatsChanged(update))

    def _backoff_over(self, agent_id: str, now: float) -> None:
        self._task_updates.blame.pause_over(agent_id)
        self._revive.want()

    def _launch_backoff_over(self, key: Hashable, now: float) -> None:
        """It may be over for one agent only, or for the agents and not yet for the launch itself."""
        self._task_updates.blame.wake(key, now)
        self._revive.want()

    # -- launches

    def check(self, event: events.Submit) -> None:
        """Raises InvalidInput when the launch could not be taken."""
        if event.launch_id in self.state.launches or event.launch_id in self.state.unreadable:
            raise InvalidInput(f"launch {event.launch_id} already exists")
        role = event.launch.role
        if role is not None and role not in self.state.info.roles:
            raise InvalidInput(f"role {role} is not one of the framework's: {', '.join(self.state.info.roles)}")

    def _submit_all(self, event: events.Submits, now: float) -> None:
        for submit in event.submits:
            self.check(submit)
        for submit in event.submits:
            self._submit(submit, now)
        self._revive.more_come(event.more, now)

    def _submit(self, event: events.Submit, now: float) -> None:
        self.check(event)
        state = self.state
        record = LaunchRecord(
            id=event.launch_id,
            launch=event.launch,
            ask=whole_ask(event.launch, event.template),
            template=event.template,
            place=self._next_place,
            submitted_at=now,
            constraints=event.launch.parsed_constraints(),
            queued_at=now,
            managed=event.slot is not None,
        )
        self._next_place += 1
        state.counts[record.managed].submitted += 1
        state.launches[record.id] = record
        state.queue.add(record)
        record.add_story_line(now, "asked for")
        if event.slot is not None:
            record.step(Trigger.RESERVED, now, f"the pool chose agent {event.slot.agent_id}")
            self._revive.reserved(now)
        state.timers.set((SchedulerTimer.DEADLINE, record.id), record.deadline_at)
        state.store(record)
        self._revive.want()
        if state.settings.refuse_oversized and not record.managed:
            self._agents.measure(record)

    def _pool_waits(self, event: events.PoolWaits, now: float) -> None:
        state = self.state
        if event.waiting and not state.pool_waits:
            self._revive.want()
        state.pool_waits, state.pool_holds = event.waiting, event.hold

    def _port_taken(self, event: events.PortTaken, now: float) -> None:
        state = self.state
        record = state.launches.get(event.launch_id)
        if record is None:
            return
        state.spread_ports(now)
        ports = ",".join(map(str, record.resources.ports)) if record.resources is not None else ""
        where = f"{record.hostname}:{ports}"
        self._task_updates.blame.unusable(record, event.reason, now)
        state.note("warning", f"{record.id} did not work at {where}: {event.reason}; another process may have the port")

    def _served(self, event: events.Served, now: float) -> None:
        record = self.state.launches.get(event.launch_id)
        if record is not None and record.agent_id is not None:
            self.state.backoff.usable(record.agent_id, now)

    def _kill(self, event: events.KillLaunches, now: float) -> None:
        launches = self.state.launches
        for launch_id in event.launch_ids:
            if launch_id not in launches:
                raise InvalidInput(f"unknown launch {launch_id}")
        for record in [launches[launch_id] for launch_id in event.launch_ids]:
            self._task_updates.kill(record, now, "killed on request")

    # -- calls that were not taken

    def _not_taken(self, event: events.CallNotTaken, now: float) -> None:
        state, call = self.state, event.call
        if event.status is None or event.status != 400 or _about_the_stream(event.reason):
            if state.connected:
                self._subscription.resubscribe(f"{call.wire_type} failed: {event.reason}", now)
            if isinstance(call, v1.Accept) and event.certain:
                for record in self._submitted(_task_ids(call)):
                    self._task_updates.never_sent(record, now, f"its ACCEPT was not taken: {event.reason}")
        elif isinstance(call, v1.Accept):
            self._accept_refused(call, event.reason, now)
        elif isinstance(call, v1.UpdateFramework) and call.offer_constraints is not None:
            state.note("warning", f"the master does not accept offer constraints; none are sent now: {event.reason}")
            self._revive.constraints_refused()
        else:
            state.note("error", f"the master refused {call.wire_type}: {event.reason}")

    def _submitted(self, task_ids: set[str]) -> list[LaunchRecord]:
        """The launches of these tasks of which nothing was heard since their ACCEPT."""
        records = self.state.tasks.values()
        return [record for record in records if record.state is State.SUBMITTED and record.task_id in task_ids]

    def _accept_refused(self, call: v1.Accept, reason: str, now: float) -> None:
        """A call that is answered 400 spends no offers, and launches nothing: one TaskInfo in it is not valid."""
        for offer_id in call.offer_ids:
            self.state.offers.reopen(offer_id.value, call.offer_ids[0].value)
        task_ids = _task_ids(call)
        for record in self._submitted(task_ids):
            if record.kill_requested_at is None and len(task_ids) == 1:
                self._task_updates.refused(record, f"the master refused the task: {reason}", now)
                continue
            record.alone = True
            then = "" if record.kill_requested_at is not None else ", it gets its own"
            self._task_updates.never_sent(record, now, f"the master refused its ACCEPT{then}: {reason}")


def _task_ids(call: v1.Accept) -> set[str]:
    launches = [operation.launch for operation in call.operations if operation.launch is not None]
    return {info.task_id.value for launch in launches for info in launch.task_infos}


def _look_again(what: object, now: float) -> None:
    """Time has passed: the end of the step decides."""


def _about_the_stream(reason: str) -> bool:
    """A 400 that says the subscription is not what we think (measured texts)."""
    return any(
        text in reason for text in ("stream ID", "Framework cannot be found", "Mesos-Stream-Id", "not subscribed")
    )
