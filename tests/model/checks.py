"""What must hold after every event, whatever happened: the design's invariants, seen from outside the scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.core.reservations import ReservationState
from owmesos.mesos.effects import Effect, Send, StoreLaunch
from owmesos.mesos.events import Submit
from owmesos.mesos.messages import Accept, Acknowledge, Event, Offers, Rescind, Revive, Subscribed, Suppress, Update
from tests.model.shadow import Shadow, tasks_of

if TYPE_CHECKING:
    from tests.model.world import World

_STARTS = (ReservationState.CUT, ReservationState.OVERDUE)
_SLACK = 1e-5  # of a second, and of a token


class Checks:
    """Of one life of the scheduler's process."""

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

    # -- before and while

    def before(self, event: Event) -> None:
        world = self._world
        books = self._scheduler.books
        self._shadow.event(event, world.now)
        self._waited = bool(books.queue)
        self._states = {record.id: (record.state, record.attempts) for record in books.launches.values()}
        if isinstance(event, Subscribed):
            self._tokens, self._filled_at = self._settings.revive_burst, world.now
            self._revived_at = None
            self._delivered.clear()
        elif isinstance(event, Offers):
            self._delivered.update(offer.id.value for offer in event.offers)

    def effect(self, effect: Effect) -> None:
        """Called for each, before it is carried out."""
        self._shadow.effect(effect, self._world.now)
        if not isinstance(effect, Send):
            return
        assert self._scheduler.books.connected or isinstance(effect.call, Acknowledge), f"{effect.call} while cut off"
        if isinstance(effect.call, Suppress):
            assert not self._scheduler.books.queue, "SUPPRESS while something waits"
        elif isinstance(effect.call, Revive):
            self._take_token()
        elif isinstance(effect.call, Accept):
            self._intents_are_stored(effect.call)
            again = self._world.ran.intersection(_launch_of(info.task_id.value) for info in tasks_of(effect.call))
            assert not again, f"{again} ran, and are started again"

    def _take_token(self) -> None:
        settings, now = self._settings, self._world.now
        self._tokens = min(settings.revive_burst, self._tokens + (now - self._filled_at) * settings.revive_rate)
        self._filled_at = self._revived_at = now
        assert self._tokens >= 1 - _SLACK, "a REVIVE without a token"
        self._tokens -= 1
        self._owed_since = None

    def _intents_are_stored(self, call: Accept) -> None:
        for info in tasks_of(call):
            launch_id = _launch_of(info.task_id.value)
            assert launch_id in self._world.store, f"{launch_id} is accepted and was never stored"
            stored = msgspec.json.decode(self._world.store[launch_id])
            assert (stored["task_id"], stored["state"]) == (info.task_id.value, "SUBMITTED"), (
                f"the intent of {info.task_id.value} is not stored before its ACCEPT"
            )

    # -- after

    def after(self, event: Event, effects: list[Effect], *, all_taken: bool) -> None:
        """`all_taken` is False when a call was refused, or its answer lost, and the scheduler does not know it yet."""
        self._scheduler.validate()
        self._shadow.check()
        if all_taken:
            self._none_is_leaked()
        self._held_for_the_head()
        for record in self._scheduler.books.launches.values():
            self._reservation(record)
        if isinstance(event, Update):
            self._acknowledged_when_stored(event, effects)
            if event.status.state == "TASK_RUNNING" and self._is_current(event.status.task_id.value):
                self._world.ran.add(_launch_of(event.status.task_id.value))
        elif isinstance(event, Rescind):
            self._waits_for_its_update()
        self._revives(event)
        self._suppressed()

    def _none_is_leaked(self) -> None:
        """What was delivered and is still out at the master is in hand."""
        books, master = self._scheduler.books, self._world.master
        if books.connected and master.subscribed:
            in_hand = books.offers.outstanding
            leaked = {offer_id for offer_id in master.offers if offer_id in self._delivered and offer_id not in in_hand}
            assert not leaked, f"offers {leaked} are out and nobody has them"

    def _held_for_the_head(self) -> None:
        books, master = self._scheduler.books, self._world.master
        for offer_id, offer in books.offers.outstanding.items():
            aside = books.set_aside
            assert aside is not None, f"offer {offer_id} is held for nobody"
            assert aside.agent_id == offer.slot.agent_id, f"offer {offer_id} is held for nobody"
            at_master = master.offers.get(offer_id)
            assert at_master is None or at_master.whole() == offer.resources
            held = self._world.now - self._held_since.setdefault(offer_id, self._world.now)
            assert held <= self._settings.set_aside_for + _SLACK, f"offer {offer_id} is held for {held} s"

    def _reservation(self, record: LaunchRecord) -> None:
        """Exactly one for what is decided and not running, and for what is being stopped."""
        books = self._scheduler.books
        found = books.ledger.reservations.get(record.id)
        state = found.state if found is not None else None
        where = f"launch {record.id} is {record.state.value}, its reservation {found}"
        if record.state is State.PENDING:
            assert found is None, where
        elif record.state is State.RESERVED:
            assert found is not None, where
            assert state is ReservationState.DECIDED, where
            assert self._world.now - found.since <= self._longest_promise(), f"promised for long: {where}"
        elif record.state.live and record.kill_requested_at is not None:
            assert state in (ReservationState.STOPPING, None), where
        elif record.state.live:
            assert found is None if record.ran else state in _STARTS, where
            assert found is None or found.resources == record.resources, where
        elif found is not None:
            assert state is ReservationState.STOPPING, where
            assert found.ended_at is not None, where
            assert books.queue, f"nothing waits, and {where}"

    def _waits_for_its_update(self) -> None:
        """A RESCIND that raced an ACCEPT changes nothing for its launches."""
        for record in self._scheduler.books.queue:
            before = self._states.get(record.id, (State.PENDING, 0))
            assert before[0] is not State.SUBMITTED, f"a RESCIND requeued {record.id}, which was SUBMITTED"

    def _longest_promise(self) -> float:
        """Until a REVIVE has a token, and then until it is judged."""
        settings = self._settings
        wait = settings.offer_wait + settings.offer_wait_per_agent * len(self._scheduler.books.ledger.agents)
        return 1 / settings.revive_rate + settings.revive_gap + wait + _SLACK

    def _acknowledged_when_stored(self, event: Update, effects: list[Effect]) -> None:
        status = event.status
        acks = [
            place
            for place, effect in enumerate(effects)
            if isinstance(effect, Send) and isinstance(effect.call, Acknowledge)
        ]
        assert len(acks) == (status.uuid is not None), f"{status} and {len(acks)} acknowledgements"
        launch_id = self._scheduler.books.by_task.get(status.task_id.value, "")
        record = self._scheduler.books.launches.get(launch_id)
        if record is None or launch_id not in self._states or not acks:
            return
        if (record.state, record.attempts) != self._states[launch_id]:
            stored = [place for place, e in enumerate(effects) if isinstance(e, StoreLaunch) and e.record is record]
            assert stored, f"{record.id} became {record.state.value} and was not stored"
            assert stored[0] < acks[0], f"{record.id} became {record.state.value}, acknowledged before it was stored"

    def _is_current(self, task_id: str) -> bool:
        record = self._scheduler.books.launches.get(_launch_of(task_id))
        return record is not None and record.task_id == task_id and not record.state.waiting

    def _revives(self, event: Event) -> None:
        """A need is answered with a REVIVE as soon as the bucket allows; while anything waits, every 15 s too."""
        books, now = self._scheduler.books, self._world.now
        if not books.connected or not books.queue:
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
        launch_id = self._scheduler.books.by_task.get(event.status.task_id.value, "")
        before = self._states.get(launch_id)
        record = self._scheduler.books.launches.get(launch_id)
        return before is not None and before[0].live and record is not None and record.state.ended

    def _requeued(self) -> bool:
        books = self._scheduler.books
        return any(
            record.id in self._states and self._states[record.id][0].live and record.state.waiting
            for record in books.queue
        )

    def _suppressed(self) -> None:
        books, master = self._scheduler.books, self._world.master
        if books.connected and master.subscribed and books.settled and not books.queue and not self._world.inbox:
            assert master.suppressed, "nothing waits, and offers are still wanted"


def _launch_of(task_id: str) -> str:
    return task_id.rpartition(".")[0]
