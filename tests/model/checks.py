"""What must hold after every event, whatever happened: the design's invariants, seen from outside the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from owmesos.core.reservations import ReservationState
from owmesos.mesos.messages import (
    Accept,
    Acknowledge,
    Event,
    Kill,
    Offers,
    Rescind,
    Revive,
    Shutdown,
    Subscribed,
    Suppress,
    TaskStatus,
    Update,
)
from owmesos.mesos.scheduler.effects import Effect, SendCall, StoreLaunch
from owmesos.mesos.scheduler.events import Submit
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import SchedulerTimer
from owmesos.mesos.scheduler.task_info import kill_grace, own_executor
from tests.model.shadow import Shadow, tasks_of
from tests.model.tasks import launch_of

if TYPE_CHECKING:
    from tests.model.world import World

_ENDS = {
    "TASK_FINISHED": State.FINISHED,
    "TASK_FAILED": State.FAILED,
    "TASK_KILLED": State.KILLED,
    "TASK_ERROR": State.ERROR,
}
_BY_EXECUTOR = ("TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")
_LOSSES = ("TASK_DROPPED", "TASK_LOST", "TASK_GONE", "TASK_GONE_BY_OPERATOR", "TASK_UNKNOWN")
_STARTS = (ReservationState.CUT, ReservationState.OVERDUE)
_SLACK = 1e-5  # of a second, and of a token


class Checks:
    """What must hold while one process of the scheduler lives."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._scheduler = world.scheduler
        self._settings = world.settings
        self._shadow = Shadow(world.scheduler)
        self._tokens = self._settings.revive_burst
        self._filled_at = world.now
        self._revived_at: float | None = None
        self._owed_since: float | None = None
        self._states: dict[str, tuple[State, int]] = {}
        self._delivered: set[str] = set()
        self._held_since: dict[str, float] = {}
        self._waited = False
        self._said: str | None = None
        self._kills: dict[str, float] = {}  # task id → the first KILL
        self._shut: set[str] = set()

    # -- before and while

    def before(self, event: Event) -> None:
        world = self._world
        state = self._scheduler.state
        self._shadow.event(event, world.now)
        self._waited = bool(state.queue)
        self._said = event.status.state if isinstance(event, Update) else None
        if isinstance(event, Update) and self._said == "TASK_DROPPED":
            world.dropped.add(event.status.task_id.value)
        self._states = {record.id: (record.state, record.attempts) for record in state.launches.values()}
        if isinstance(event, Subscribed):
            self._tokens, self._filled_at = self._settings.revive_burst, world.now
            self._revived_at = None
            self._delivered.clear()
            self._kills.clear()
            self._shut.clear()
        elif isinstance(event, Offers):
            self._delivered.update(offer.id.value for offer in event.offers)

    def effect(self, effect: Effect) -> None:
        """Called for each, before it is carried out."""
        self._shadow.effect(effect, self._world.now)
        if not isinstance(effect, SendCall):
            return
        assert self._scheduler.state.connected or isinstance(effect.call, Acknowledge), f"{effect.call} while cut off"
        if isinstance(effect.call, Acknowledge) and self._said in _BY_EXECUTOR:
            self._world.signs.add(effect.call.task_id.value)
        if isinstance(effect.call, Kill):
            self._kills.setdefault(effect.call.task_id.value, self._world.now)
        elif isinstance(effect.call, Shutdown):
            self._shut_down(effect.call)
        if isinstance(effect.call, Suppress):
            assert not self._scheduler.state.queue, "SUPPRESS while something waits"
        elif isinstance(effect.call, Revive):
            self._take_token()
        elif isinstance(effect.call, Accept):
            self._intents_are_stored(effect.call)
            again = self._world.ran.intersection(launch_of(info.task_id.value) for info in tasks_of(effect.call))
            assert not again, f"{again} ran, and are started again"
            for info in tasks_of(effect.call):
                self._may_be_started(launch_of(info.task_id.value))

    def _may_be_started(self, launch_id: str) -> None:
        """What may have run is not started again, unless its asker allows it.

        What the master says was dropped did not, unless an executor had said a word of it.
        """
        world, tasks = self._world, self._world.cluster.runner.of(launch_id)
        had = [task.task_id for task in tasks if task.task_id not in world.dropped - world.signs]
        allowed = self._scheduler.state.launches[launch_id].launch.retry == "lost"
        assert allowed or not had, f"{had} may have run, and {launch_id} is started again"

    def _shut_down(self, call: Shutdown) -> None:
        """Only after the executor had time enough to obey."""
        records = [each for each in self._scheduler.state.tasks.values() if own_executor(each.template) is None]
        record = next((each for each in records if each.task_id == call.executor_id.value), None)
        if record is None or record.task_id is None:
            return
        patience = kill_grace(record.template) + self._settings.kill_escalate
        waited = self._world.now - self._kills[record.task_id]
        assert waited >= patience - _SLACK, f"SHUTDOWN of {record.task_id} comes too soon"
        self._shut.add(record.task_id)

    def _kills_end(self) -> None:
        """A KILL that nobody answers becomes a SHUTDOWN, and then an end."""
        state, settings = self._scheduler.state, self._settings
        for record in state.tasks.values():
            assert record.task_id is not None
            if record.state is State.UNREACHABLE or not state.connected or record.kill_requested_at is None:
                self._kills.pop(record.task_id, None)
                self._shut.discard(record.task_id)
                continue
            since = self._kills.get(record.task_id, self._world.now)
            late = self._world.now - since - kill_grace(record.template) - _SLACK
            assert late <= settings.kill_give_up + settings.kill_repeat, f"{record.id} was killed, and never ends"
            escalated = late <= settings.kill_escalate + settings.kill_repeat or record.task_id in self._shut
            assert escalated or own_executor(record.template), (
                f"{record.id} is killed, and its executor is not shut down"
            )

    def _take_token(self) -> None:
        settings, now = self._settings, self._world.now
        self._tokens = min(settings.revive_burst, self._tokens + (now - self._filled_at) * settings.revive_rate)
        self._filled_at = self._revived_at = now
        assert self._tokens >= 1 - _SLACK, "a REVIVE without a token"
        self._tokens -= 1
        self._owed_since = None

    def _intents_are_stored(self, call: Accept) -> None:
        for info in tasks_of(call):
            launch_id = launch_of(info.task_id.value)
            assert launch_id in self._world.store, f"{launch_id} is accepted and was never stored"
            stored = msgspec.json.decode(self._world.store[launch_id])
            assert (stored["task_id"], stored["state"]) == (info.task_id.value, "SUBMITTED"), (
                f"the intent of {info.task_id.value} is not stored before its ACCEPT"
            )

    # -- after

    def after(self, event: Event, effects: list[Effect], *, all_taken: bool) -> None:
        """`all_taken` is False when a call was refused, or its answer lost, and the scheduler does not know it yet."""
        self._scheduler.state.validate()
        self._shadow.check()
        if all_taken:
            self._none_is_leaked()
        self._held_for_the_head()
        self._kills_end()
        for record in self._scheduler.state.launches.values():
            self._reservation(record)
        if isinstance(event, Update):
            self._acknowledged_when_stored(event, effects)
            self._ends_as_told(event.status)
            if event.status.state == "TASK_RUNNING" and self._is_current(event.status.task_id.value):
                self._world.ran.add(launch_of(event.status.task_id.value))
        elif isinstance(event, Rescind):
            self._waits_for_its_update()
        self._revives(event)
        self._suppressed()

    def _none_is_leaked(self) -> None:
        """What was delivered and is still out at the master is in hand."""
        state, offers = self._scheduler.state, self._world.cluster.offers
        if state.connected and self._world.subscribed:
            in_hand = state.offers.outstanding
            leaked = {offer_id for offer_id in offers if offer_id in self._delivered and offer_id not in in_hand}
            assert not leaked, f"offers {leaked} are out and nobody has them"

    def _held_for_the_head(self) -> None:
        state, offers = self._scheduler.state, self._world.cluster.offers
        goes_on = state.timers.get(SchedulerTimer.MATCH)
        if goes_on is not None:
            assert goes_on <= self._world.now, "a pass waits while offers may be held for it"
            return
        for offer_id, offer in state.offers.outstanding.items():
            aside = state.set_aside
            assert aside is not None, f"offer {offer_id} is held for nobody"
            assert aside.agent_id == offer.slot.agent_id, f"offer {offer_id} is held for nobody"
            at_master = offers.get(offer_id)
            assert at_master is None or at_master.pieces.total() == offer.resources
            held = self._world.now - self._held_since.setdefault(offer_id, self._world.now)
            assert held <= self._settings.set_aside_for + _SLACK, f"offer {offer_id} is held for {held} s"

    def _reservation(self, record: LaunchRecord) -> None:
        """Exactly one for what is decided and not running, and for what is being stopped."""
        state = self._scheduler.state
        found = state.ledger.reservations.by_launch.get(record.id)
        kept = found.state if found is not None else None
        where = f"launch {record.id} is {record.state.value}, its reservation {found}"
        if record.state is State.PENDING:
            assert found is None, where
        elif record.state is State.RESERVED:
            assert found is not None, where
            assert kept is ReservationState.RESERVED, where
            assert self._world.now - found.since <= self._longest_reserved(), f"reserved for long: {where}"
        elif record.state.live and record.kill_requested_at is not None:
            assert kept in (ReservationState.STOPPING, None), where
        elif record.state.live:
            assert found is None if record.ran else kept in _STARTS, where
            assert found is None or found.resources == record.resources, where
        elif found is not None:
            assert kept is ReservationState.STOPPING, where
            assert found.ended_at is not None, where
            assert state.queue, f"nothing waits, and {where}"

    def _waits_for_its_update(self) -> None:
        """A RESCIND that raced an ACCEPT changes nothing for its launches."""
        for record in self._scheduler.state.queue:
            before = self._states.get(record.id, (State.PENDING, 0))
            assert before[0] is not State.SUBMITTED, f"a RESCIND requeued {record.id}, which was SUBMITTED"

    def _longest_reserved(self) -> float:
        """Until a REVIVE has a token, and then until it is judged."""
        settings = self._settings
        wait = settings.offer_wait + settings.offer_wait_per_agent * len(self._scheduler.state.ledger.agents)
        return 1 / settings.revive_rate + settings.revive_gap + wait + _SLACK

    def _ends_as_told(self, status: TaskStatus) -> None:
        """The end that the master tells is the end, and what was lost is started again where that is allowed."""
        task_id = status.task_id.value
        record = self._scheduler.state.launches.get(launch_of(task_id))
        if record is None or record.id not in self._states or not self._states[record.id][0].live:
            return
        if record.attempts != self._states[record.id][1] or record.task_id != task_id:
            return
        told = _ENDS.get(status.state)
        assert told is None or record.state is told, f"{status.state} was told, and {record.id} is {record.state.value}"
        if status.state in _LOSSES and record.launch.retry == "lost" and not record.ran:
            assert record.kill_requested_at is not None or record.state is not State.LOST, (
                f"{record.id} may be started again"
            )

    def _acknowledged_when_stored(self, event: Update, effects: list[Effect]) -> None:
        status = event.status
        acks = [
            place
            for place, effect in enumerate(effects)
            if isinstance(effect, SendCall) and isinstance(effect.call, Acknowledge)
        ]
        assert len(acks) == (status.uuid is not None), f"{status} and {len(acks)} acknowledgements"
        launch_id = self._scheduler.state.launch_of(status.task_id.value) or ""
        record = self._scheduler.state.launches.get(launch_id)
        if record is None or launch_id not in self._states or not acks:
            return
        if (record.state, record.attempts) != self._states[launch_id]:
            stored = [place for place, e in enumerate(effects) if isinstance(e, StoreLaunch) and e.record is record]
            assert stored, f"{record.id} became {record.state.value} and was not stored"
            assert stored[0] < acks[0], f"{record.id} became {record.state.value}, acknowledged before it was stored"

    def _is_current(self, task_id: str) -> bool:
        record = self._scheduler.state.launches.get(launch_of(task_id))
        return record is not None and record.task_id == task_id and not record.state.waiting

    def _revives(self, event: Event) -> None:
        """A need is answered with a REVIVE as soon as the bucket allows; while anything waits, every 15 s too."""
        state, now = self._scheduler.state, self._world.now
        if not state.connected or not state.queue:
            self._owed_since = None
            return
        revived = self._revived_at == now
        if not revived and (self._is_need(event) or self._requeued()):
            self._owed_since = now if self._owed_since is None else self._owed_since
        if self._owed_since is not None:
            late = now - self._owed_since
            assert late <= 1 / self._settings.revive_rate + _SLACK, f"a REVIVE is owed for {late} s"
            assert self._tokens_now() < 1 or late <= self._settings.revive_gap + _SLACK, "a REVIVE is owed"
        if self._revived_at is not None:
            assert now - self._revived_at <= self._settings.revive_interval + _SLACK, "no REVIVE for long"

    def _tokens_now(self) -> float:
        gained = (self._world.now - self._filled_at) * self._settings.revive_rate
        return min(self._settings.revive_burst, self._tokens + gained) - _SLACK

    def _is_need(self, event: Event) -> bool:
        if isinstance(event, Submit):
            return True
        if not isinstance(event, Update) or event.status.state == "TASK_UNREACHABLE" or not self._waited:
            return False
        launch_id = self._scheduler.state.launch_of(event.status.task_id.value) or ""
        before = self._states.get(launch_id)
        record = self._scheduler.state.launches.get(launch_id)
        return before is not None and before[0].live and record is not None and record.state.ended

    def _requeued(self) -> bool:
        state = self._scheduler.state
        return any(
            record.id in self._states and self._states[record.id][0].live and record.state.waiting
            for record in state.queue
        )

    def _suppressed(self) -> None:
        state, world = self._scheduler.state, self._world
        if state.connected and world.subscribed and state.capacity.known and not state.queue and not world.inbox:
            assert world.cluster.suppressed, "nothing waits, and offers are still wanted"
