"""Delivery at most once: an activation never runs twice, and every activation is answered.

Kafka keeps each activation until it has ended, because only then its offset is committed. A journal that survives
`kill -9` records, before `/run`, which activations were given to a container. The next process uses it for the
activations that Kafka delivers again: those that had ended are skipped; those that had been answered just before the
journal could record it are found on the Controllers' topics; those that had begun may have run, and are answered at
once with an error; the others run. A power cut may lose the journal's last moment: see `activation_journal`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from owmesos.errors import NOT_READABLE
from owmesos.invoker.in_flight import InFlight
from owmesos.invoker.invoker import Invoker
from owmesos.invoker.resume import answered_activation, interrupted_activation
from owmesos.openwhisk.activation import NOT_PREPARED, not_run, whisk_error
from owmesos.openwhisk.entities import ActionStore
from owmesos.openwhisk.kafka.answered import Answered
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.system.tasks import cancel_all, keep

_log = logging.getLogger("owmesos.invoker")
TIDY_EVERY = 1.0  # seconds; what is over by then and committed too is never written down as over
LOOK_BACK = 10.0  # seconds; an answer was sent at most so long before the journal should have said so
STALE = 7 * 86400.0  # seconds; no topic gives an activation again that is so old
REMEMBERED_IDS = 10_000  # activations that are known by their id when a Controller's producer repeats one


ReadAnswers = Callable[[Iterable[str], float], Answered]
"""What was sent to these Controllers since then (seconds since the epoch). Blocks; see
`owmesos.openwhisk.kafka.answered`."""


async def begin(journal: ActivationJournal, activation_id: str, now: float) -> None:
    """To be awaited before its container is asked. Raises JournalFailed."""
    if activation_id in journal:
        await journal.begin(activation_id, now)
    else:
        journal.take(activation_id, b"", begun_at=now)
        await journal.taken(activation_id)


class AtMostOnce:
    """To be used in the event loop's thread, except `done` of what it runs. It contains the ids of what it received
    that must not run again."""

    def __init__(
        self,
        journal: ActivationJournal,
        invoker: Invoker,
        *,
        actions: ActionStore,
        read_answers: ReadAnswers,
        now: Callable[[], float],
    ) -> None:
        """Takes over what the journal has of an earlier process. `read_answers` reads what was answered
        earlier. `now`: seconds since the epoch."""
        self._journal = journal
        self._invoker = invoker
        self._in_flight = invoker.in_flight
        self._in_flight.past = self
        self._actions = actions
        self._read_answers = read_answers
        self._now = now
        self._loop = asyncio.get_running_loop()
        entries, journal.entries = journal.entries, []
        stale = {each.activation_id for each in entries if (each.begun_at or 0) < now() - STALE}
        journal.forget(stale)
        self._left = {each.activation_id: each for each in entries if each.activation_id not in stale}
        self._uncommitted: set[str] = set()
        self._in_order: dict[int, deque[tuple[int, str]]] = {}  # offsets and ids of the same, by partition
        self._recent: dict[str, None] = {}  # the last that were committed
        self._over: deque[str] = deque()  # filled from other threads
        self._gone: list[str] = []  # committed, and still in the journal
        self._tidying: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def __contains__(self, activation_id: object) -> bool:
        return activation_id in self._uncommitted or activation_id in self._recent

    def received(self, batch: Sequence[InFlight]) -> None:
        """Activations from the feed: each runs, now or after a look at its earlier answers, or has ended already."""
        again = []
        for run in batch:
            if not self._in_flight.receive(run):
                continue
            self._remember(run)
            run.earlier = self._left.pop(run.run_id, None)
            if run.earlier is not None and run.earlier.result is not None:
                self._in_flight.end(run)
                run.done()
                continue
            run.done = partial(self._done, run.run_id, run.done)
            if run.former_journal is not None or run.earlier is not None:
                again.append(run)
            else:
                self._invoker.take_up(run)
        if again:
            keep(self._loop.create_task(self._resume(again)), self._tasks)

    def committed(self, offsets: Mapping[int, int]) -> None:
        """Kafka does not deliver offsets below these, by partition, again."""
        for partition, offset in offsets.items():
            order = self._in_order.get(partition, deque())
            while order and order[0][0] < offset:
                self._forget(order.popleft()[1])

    async def close(self) -> None:
        """Activations that have not been taken up yet are left for the next process. For those that end later, call
        `tidy`."""
        self._closed = True
        await cancel_all(self._tasks)
        self.tidy()

    # -- accounts

    def _remember(self, run: InFlight) -> None:
        assert run.position is not None
        partition, offset, _ = run.position
        order = self._in_order.setdefault(partition, deque())
        if order and order[-1][0] >= offset:  # the partition was created anew
            for _, each in order:
                self._forget(each)
            order.clear()
        order.append((offset, run.run_id))
        self._uncommitted.add(run.run_id)
        if self._tidying is None:
            self._tidying = self._loop.call_later(TIDY_EVERY, self.tidy)

    def _forget(self, activation_id: str) -> None:
        self._uncommitted.discard(activation_id)
        self._gone.append(activation_id)
        self._recent[activation_id] = None
        if len(self._recent) > REMEMBERED_IDS:
            del self._recent[next(iter(self._recent))]

    def _done(self, activation_id: str, free: Callable[[], None]) -> None:
        """Its Controller has been answered, and its place is free. From any thread."""
        self._over.append(activation_id)
        free()

    def tidy(self) -> None:
        """Write ends to the journal and delete what is committed, many at a time."""
        if self._tidying is not None:
            self._tidying.cancel()
            self._tidying = None
        now = self._now()
        while self._over:
            activation_id = self._over.popleft()
            if activation_id in self._uncommitted:  # else it is committed already
                self._journal.over(activation_id, now)
        gone, self._gone = self._gone, []
        self._journal.forget(gone)
        if self._uncommitted and not self._closed:
            self._tidying = self._loop.call_later(TIDY_EVERY, self.tidy)

    # -- what comes again

    async def _resume(self, again: Sequence[InFlight]) -> None:
        """Those that an earlier process may have had."""
        controllers = {run.message.root_controller_index.as_string for run in again}
        try:
            answered = await asyncio.to_thread(self._read_answers, controllers, self._since(again))
        except Exception:  # noqa: BLE001  (an internal error: it is logged, and each is answered or runs)
            _log.exception("earlier acknowledgements cannot be read")
            answered = Answered(set(), {})
        fates = Counter(await asyncio.gather(*(self._fate(run, answered) for run in again)))
        _log.warning(
            "%d activations were under way when the previous process ended: %d had ended, %d had begun and are"
            " answered with an error, %d run now",
            len(again),
            fates["over"],
            fates["begun"],
            fates["runs"],
        )

    def _since(self, again: Sequence[InFlight]) -> float:
        """When what the journal could not say any more may have been answered. Kafka takes no time before 1970, and a
        Controller's producer may have stamped that."""
        if self._journal.written_at is not None and not any(map(self._is_of_others, again)):
            return self._journal.written_at - LOOK_BACK
        return max(0.0, min(run.sent_at for run in again) - LOOK_BACK)

    def _is_of_others(self, run: InFlight) -> bool:
        """Whether a journal that is not here knows more of it."""
        return run.former_journal not in (None, self._journal.name)

    async def _fate(self, run: InFlight, answered: Answered) -> str:
        try:
            return await self._decided(run, answered)
        except Exception:  # noqa: BLE001  (an internal error: it is logged, and the activation ends)
            _log.exception("activation %s could not be resumed", run.run_id)
            if run.ended.done():  # it ended, and only what follows failed
                run.done()
            else:
                ended = not_run(run.message, whisk_error(NOT_PREPARED), self._now())
                self._invoker.conclude(run, ended, answered=False)
            return "begun"

    async def _decided(self, run: InFlight, answered: Answered) -> str:
        """What becomes of it; answers or runs it."""
        if run.run_id in answered.completed:
            self._in_flight.end(run)
            run.done()
            return "over"
        result = answered.results.get(run.run_id)
        activation = None
        if result is not None:
            with suppress(*NOT_READABLE):  # it was too large to be sent whole
                activation = answered_activation(result)
        if activation is not None:
            self._invoker.conclude(run, activation, answered=True)
            return "over"
        begun_at = run.earlier.begun_at if run.earlier is not None else None
        # A test is one of the invoker that runs now, and may run again.
        if (begun_at is not None or self._is_of_others(run)) and not run.message.health:
            ended = await interrupted_activation(run.message, begun_at, self._actions, self._now())
            self._invoker.conclude(run, ended, answered=result is not None)
            return "begun"
        self._invoker.take_up(run)
        return "runs"
