"""The scheduler: from an event and the time to what is to be done.

Theory of operation. `handle` writes the event into the books, then the end of the step decides: what waits is matched,
offers that nobody needs are declined, REVIVE or SUPPRESS where it is due. It waits for nothing and sends nothing; the
shell carries the effects out in their order and hands their failures back as events. So a run can be replayed, and
driven in virtual time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from owmesos.core.explanation import Explanation
from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State, Trigger
from owmesos.errors import InvalidInput
from owmesos.mesos.books import Books
from owmesos.mesos.driver import Disconnected, SubscribeRefused
from owmesos.mesos.effects import AskAgents, Effect, Resubscribe, StatsChanged, Stop, StoreFramework
from owmesos.mesos.events import AgentsSeen, CallNotTaken, KillLaunch, PoolWaits, Submit, Submits
from owmesos.mesos.intake import Intake
from owmesos.mesos.kills import Kills
from owmesos.mesos.matching import Matching
from owmesos.mesos.messages import (
    Accept,
    Error,
    Event,
    Failure,
    FrameworkInfo,
    InverseOffers,
    Offers,
    Rescind,
    Subscribed,
    Update,
    UpdateFramework,
)
from owmesos.mesos.questions import Questions
from owmesos.mesos.revival import Revival
from owmesos.mesos.settings import Settings
from owmesos.mesos.statuses import Statuses
from owmesos.mesos.task_info import whole_ask
from owmesos.mesos.why import explain


class Scheduler:
    """One framework's decisions. `books` may be read at any time between events, and be changed by nobody else."""

    def __init__(self, settings: Settings, info: FrameworkInfo) -> None:
        self.books = Books(settings, info)
        self._revival = Revival(self.books)
        self._questions = Questions(self.books)
        self._kills = Kills(self.books)
        self._statuses = Statuses(self.books, self._revival, self._questions, self._kills)
        self._matching = Matching(self.books)
        self._next_place = 0
        self._ever_subscribed = False
        self._intake = Intake(self.books, self._revival, self._statuses, self._questions)
        self._handlers: dict[type[Event], Callable[[Any, float], None]] = {
            Subscribed: self._subscribed,
            Disconnected: self._disconnected,
            SubscribeRefused: self._subscribe_refused,
            Offers: self._intake.offers,
            Rescind: self._intake.rescind,
            InverseOffers: self._intake.inverse_offers,
            Update: lambda event, now: self._statuses.update(event.status, now),
            Failure: self._intake.failure,
            Error: self._error,
            Submit: self._submit,
            Submits: self._submit_all,
            KillLaunch: self._kill,
            PoolWaits: self._pool_waits,
            CallNotTaken: self._not_taken,
            AgentsSeen: self._intake.agents_seen,
        }
        statuses, matching, revival = self._statuses, self._matching, self._revival
        questions, kills = self._questions, self._kills
        self._timed: dict[str, Callable[[str, float], None]] = {
            "deadline": self._deadline,
            "confirm": questions.confirm,
            "kill": kills.again,
            "stray": kills.stray_again,
            "ask": questions.ask,
            "unreachable": statuses.unreachable_too_long,
            "reconcile": lambda subject, now: questions.reconcile(now),
            "reconcile all": lambda subject, now: questions.reconcile_all(now),
            "settled": self._settled,
            "set aside": lambda subject, now: matching.set_aside(now),
            "set aside ends": lambda subject, now: matching.end_aside(now),
            "offer wait": lambda subject, now: revival.judge(now),
            "revive interval": lambda subject, now: revival.again(),
            "backoff": self._backoff_over,
            "forget agents": lambda subject, now: self.books.forget_agents(now),
        }

    def restore(self, records: Iterable[LaunchRecord], now: float) -> None:
        """What an earlier life of the process had stored, before the first event. Ended launches too."""
        books = self.books
        for record in sorted(records, key=lambda record: (record.ended_at or 0.0, record.place)):
            self._next_place = max(self._next_place, record.place + 1)
            books.launches[record.id] = record
            for attempt in range(1, record.attempts + 1):
                books.by_task[f"{record.id}.{attempt}"] = record.id
            if record.state.ended:
                self._statuses.restore_ended(record)
                continue
            record.tell(now, "taken up again after a restart")
            if record.state.live:
                self._statuses.restore_live(record, now)
            else:
                record.state = State.PENDING
                books.queue.add(record)
            if not record.ran:
                books.timers.set(("deadline", record.id), record.deadline_at)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """The event is written into the books; what is to be done comes back, in order. `now` in seconds.

        An event that it has no rule for (HEARTBEAT, `Tick`) is time that passes.
        """
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event, now)
        for key in self.books.timers.due(now):
            self._due(key, now)
        self._finish(now)
        effects, self.books.effects = self.books.effects, []
        return effects

    def next_wake(self) -> float | None:
        """When the next `Tick` is due, or None."""
        return self.books.timers.next()

    def validate(self) -> None:
        """Raises InvariantBroken."""
        self.books.validate()

    def explain(self, launch_id: str) -> Explanation | None:
        """Why a launch waits; None when it is not known or does not wait."""
        record = self.books.launches.get(launch_id)
        return explain(self.books, record) if record is not None and record.state.waiting else None

    # -- the end of a step

    def _finish(self, now: float) -> None:
        books = self.books
        self._statuses.drop_refused(now)
        if books.connected and self._matching.run(now):
            self._revival.want()
        self._statuses.drop_refused(now)
        if not books.anything_waits:
            for stop in books.ledger.reservations.stops():
                if stop.ended_at is not None:
                    books.ledger.release(stop.launch_id)
        self._revival.run(now)
        update = books.stats_update()
        if update is not None:
            books.emit(StatsChanged(update))

    def _due(self, key: Any, now: float) -> None:
        """A timer is due; its key is a name, or a name and what it is about."""
        name, subject = key if isinstance(key, tuple) else (key, "")
        action = self._timed.get(name)
        if action is not None:
            action(subject, now)

    def _deadline(self, launch_id: str, now: float) -> None:
        found = self.explain(launch_id)
        record = self.books.launches.get(launch_id)
        if record is not None:
            where = f"its task on agent {record.agent_id} is {record.state.value}"
            self._statuses.deadline(record, found.summary if found is not None else where, now)

    def _backoff_over(self, agent_id: str, now: float) -> None:
        self.books.backoff.over(agent_id)
        agent = self.books.ledger.agents.get(agent_id)
        if agent is not None:
            self.books.judge(agent)
        self._revival.want()

    def _settled(self, subject: str, now: float) -> None:
        self.books.capacity.settled = True

    # -- the connection

    def _subscribed(self, event: Subscribed, now: float) -> None:
        books = self.books
        self._forget_offers(now)
        books.connected, self._ever_subscribed = True, True
        books.capacity.settled = False
        books.timers.set("settled", now + books.settings.settle)
        if books.info.id != event.framework_id:
            books.info = msgspec.structs.replace(books.info, id=event.framework_id)
            books.emit(StoreFramework(event.framework_id.value))
        self._revival.subscribed(now)
        self._questions.subscribed(now)
        self._kills.subscribed(now)
        books.emit(AskAgents())

    def _disconnected(self, event: Disconnected, now: float) -> None:
        self._cut_off(now)
        self.books.note("warning", f"disconnected: {event.reason}")

    def _resubscribe(self, reason: str, now: float) -> None:
        """That voids all offers and whatever the old stream still says, so nothing of it is counted on from now."""
        self._cut_off(now)
        self.books.emit(Resubscribe(reason))

    def _cut_off(self, now: float) -> None:
        books = self.books
        books.connected = books.capacity.settled = False
        books.timers.cancel("settled")
        self._forget_offers(now)

    def _forget_offers(self, now: float) -> None:
        books = self.books
        books.offers.void_all(now)
        books.ledger.disconnect()
        for record in books.queue:
            if record.state is State.RESERVED:
                books.unpromise(record, now, "the connection to the master was lost")
        self._matching.end_aside(now)

    def _subscribe_refused(self, event: SubscribeRefused, now: float) -> None:
        if self._ever_subscribed:
            self.books.note("error", f"the master refuses to subscribe us ({event.status}): {event.reason}")
        else:
            self.books.emit(Stop(f"the master refuses to subscribe us ({event.status}): {event.reason}"))

    def _error(self, event: Error, now: float) -> None:
        books, message = self.books, event.message
        if "Framework failed over" in message and books.connected:
            books.emit(Stop("another process has subscribed with our framework id: this one stops"))
        elif "Framework has been removed" in message:
            framework_id = books.info.id.value if books.info.id is not None else "?"
            books.emit(
                Stop(
                    f"the master has removed framework {framework_id}: start with --new-framework to begin anew"
                    " (its tasks are gone)"
                )
            )
        elif not self._ever_subscribed:
            books.emit(Stop(f"the master refuses the framework: {message}"))
        else:
            books.note("error", f"the master ends the subscription: {message}")
            self._resubscribe(message, now)

    # -- launches

    def check(self, event: Submit) -> None:
        """Raises InvalidInput when the launch could not be taken."""
        if event.launch_id in self.books.launches:
            raise InvalidInput(f"there is a launch {event.launch_id} already")
        role = event.launch.role
        if role is not None and role not in self.books.info.roles:
            raise InvalidInput(f"role {role} is not one of the framework's: {', '.join(self.books.info.roles)}")

    def _submit_all(self, event: Submits, now: float) -> None:
        for submit in event.submits:
            self.check(submit)
        for submit in event.submits:
            self._submit(submit, now)

    def _submit(self, event: Submit, now: float) -> None:
        self.check(event)
        books = self.books
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
        books.launches[record.id] = record
        books.queue.add(record)
        record.tell(now, "asked for")
        if event.slot is not None:
            record.step(Trigger.MATCHED, now, f"the pool chose agent {event.slot.agent_id}")
            self._revival.promised(now)
        books.timers.set(("deadline", record.id), record.deadline_at)
        books.store(record)
        self._revival.want()
        if books.settings.refuse_oversized and not record.managed:
            self._intake.measure(record)

    def _pool_waits(self, event: PoolWaits, now: float) -> None:
        books = self.books
        if event.waiting and not books.pool_waits:
            self._revival.want()
        books.pool_waits, books.pool_holds = event.waiting, event.hold

    def _kill(self, event: KillLaunch, now: float) -> None:
        record = self.books.launches.get(event.launch_id)
        if record is None:
            raise InvalidInput(f"there is no launch {event.launch_id}")
        self._statuses.kill(record, now, "killed on request")

    # -- calls that were not taken

    def _not_taken(self, event: CallNotTaken, now: float) -> None:
        books, call = self.books, event.call
        if event.status is None or event.status != 400 or _about_the_stream(event.reason):
            if books.connected:
                self._resubscribe(f"{call.wire_type} failed: {event.reason}", now)
        elif isinstance(call, Accept):
            self._accept_refused(call, event.reason, now)
        elif isinstance(call, UpdateFramework) and call.offer_constraints is not None:
            books.note("warning", f"the master does not take offer constraints, none are sent now: {event.reason}")
            self._revival.constraints_refused()
        else:
            books.note("error", f"the master refused {call.wire_type}: {event.reason}")

    def _accept_refused(self, call: Accept, reason: str, now: float) -> None:
        """A call that is answered 400 spends no offers, and launches nothing: one TaskInfo in it is not valid."""
        books = self.books
        infos = [info for op in call.operations if op.launch is not None for info in op.launch.task_infos]
        task_ids = [info.task_id.value for info in infos]
        records = [books.launches[books.by_task[task_id]] for task_id in task_ids if task_id in books.by_task]
        for offer_id in (offer.value for offer in call.offer_ids):
            offer = books.offers.reopen(offer_id)
            if offer is not None:
                books.ledger.restore(offer.slot, offer_id, offer.resources, call.offer_ids[0].value)
        for record in records:
            if record.state is not State.SUBMITTED or record.task_id not in task_ids:
                continue
            if len(infos) > 1 and record.kill_requested_at is None:
                record.alone = True
                self._statuses.requeue(record, now, f"the master refused its ACCEPT, tried alone next: {reason}")
            elif record.kill_requested_at is not None:
                self._statuses.killed(record, f"killed on request; the master refused its ACCEPT: {reason}", now)
            else:
                self._statuses.refused(record, f"the master refused the task: {reason}", now)


def _about_the_stream(reason: str) -> bool:
    """A 400 that says the subscription is not what we think (measured texts)."""
    return any(
        text in reason for text in ("stream ID", "Framework cannot be found", "Mesos-Stream-Id", "not subscribed")
    )
