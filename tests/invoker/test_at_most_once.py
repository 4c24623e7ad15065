"""Delivery at most once without Kafka: what becomes of each activation that comes, or comes again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from owmesos.invoker import at_most_once, resume
from owmesos.invoker.at_most_once import LOOK_BACK, STALE, AtMostOnce, begin
from owmesos.invoker.in_flight import InFlight, InFlightRuns
from owmesos.invoker.invoker import Invoker
from owmesos.openwhisk.activation import WHISK_ERROR, Activation, not_run, success
from owmesos.openwhisk.container.log_lines import LOGS_MISSING
from owmesos.openwhisk.entities import ActionMissing
from owmesos.openwhisk.kafka.answered import Answered
from owmesos.openwhisk.kafka.offsets import Position
from owmesos.openwhisk.messages import HEALTH_TRANSACTION, ActivationMessage
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from tests.invoker.invoking import Actions
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

NOW = 1_000_000.0


class Runner:
    """The invoker: what it was given to run, and what was answered without."""

    def __init__(self) -> None:
        self.in_flight = InFlightRuns()
        self.ran: dict[str, InFlight] = {}
        self.answered: dict[str, tuple[Activation, bool]] = {}

    def take_up(self, run: InFlight) -> None:
        assert run.run_id not in self.ran
        self.ran[run.run_id] = run

    def conclude(self, run: InFlight, activation: Activation, *, answered: bool) -> None:
        self.answered[run.run_id] = (activation, answered)
        self.in_flight.end(run)
        run.done()


class Life:
    """One process."""

    def __init__(self, file: Path, actions: Any = None) -> None:
        self.now = NOW
        self.journal = ActivationJournal(file)
        self.runner = Runner()
        self.freed: list[Position] = []
        self.before = Answered(set(), {})
        self.looks: list[tuple[set[str], float]] = []
        self.look_fails: Exception | None = None
        self.once = AtMostOnce(
            self.journal,
            cast(Invoker, self.runner),
            actions=Actions(actions if actions is not None else action()),
            read_answers=self._read_answers,
            now=lambda: self.now,
        )

    def _read_answers(self, controllers: Iterable[str], since: float) -> Answered:
        self.looks.append((set(controllers), since))
        if self.look_fails is not None:
            raise self.look_fails
        return self.before

    def gets(self, *messages: ActivationMessage, at: int = 0, before: str | None = None, age: float = 0.0) -> None:
        """From offset `at` on."""
        runs = []
        for number, each in enumerate(messages):
            position = Position(0, at + number)
            free = partial(self.freed.append, position)
            runs.append(InFlight(each, self.now - age, free, position=position, former_journal=before))
        self.once.received(runs)

    async def decided(self, *messages: ActivationMessage) -> None:
        """Each has run or been answered, or is over."""
        known = lambda: len(self.runner.ran) + len(self.freed)  # noqa: E731
        await eventually_async(lambda: known() >= len(messages), 5)

    async def begins(self, message: ActivationMessage) -> None:
        await begin(self.journal, message.activation_id, self.now)

    def ends(self, message: ActivationMessage) -> None:
        """It is answered."""
        run = self.runner.ran[message.activation_id]
        self.runner.in_flight.end(run)
        run.done()


@asynccontextmanager
async def life(file: Path, actions: Any = None) -> AsyncIterator[Life]:
    """Its journal is all that is left of it. It ends as suddenly as a test can have it: nobody is told anything."""
    process = Life(file, actions)
    try:
        yield process
    finally:
        process.once.tidy()
        await process.once.close()
        await process.journal.close()


def error(activation: Activation) -> str:
    assert activation.response.status_code == WHISK_ERROR
    return str(activation.response.result["error"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "journal"


async def test_after_a_sudden_end_each_has_the_fate_that_it_deserves(file: Path) -> None:
    waits, runs, ended = activation(), activation(), activation()
    async with life(file) as first:
        first.gets(waits, runs, ended)
        assert list(first.runner.ran) == [each.activation_id for each in (waits, runs, ended)]
        await first.begins(runs)
        await first.begins(ended)
        first.ends(ended)
        name = first.journal.name
    async with life(file) as second:
        second.now = NOW + 3
        second.gets(waits, runs, ended, activation(), before=name, age=3.0)
        await second.decided(waits, runs, ended)
        await eventually_async(lambda: len(second.runner.ran) == 2)
        assert waits.activation_id in second.runner.ran
        ((answer, told),) = second.runner.answered.values()
        assert answer.activation_id == runs.activation_id
        assert not told
        assert error(answer).startswith("The invoker ended while the activation was running since 1970-01-12T13:46:40")
        assert (answer.start, answer.end, answer.duration) == (int(NOW * 1000), int(NOW * 1000) + 3000, None)
        assert answer.annotation("kind") == "python:3"
        assert Position(0, 2) in second.freed
        assert Position(0, 0) not in second.freed
        ((controllers, since),) = second.looks
        assert controllers == {"0"}
        assert second.journal.written_at is not None
        assert since == second.journal.written_at - LOOK_BACK


async def test_what_was_answered_in_the_last_moment_is_not_answered_again(file: Path) -> None:
    """The journal could not say so any more."""
    whole, half, large = activation(), activation(), activation()
    async with life(file) as first:
        first.gets(whole, half, large)
        for each in (whole, half, large):
            await first.begins(each)
    async with life(file) as second:
        result = msgspec.structs.replace(not_run(half, success({"n": 1}), NOW), logs=[])
        second.before = Answered(
            {whole.activation_id},
            {half.activation_id: msgspec.json.encode(result), large.activation_id: b'"the id alone"'},
        )
        second.gets(whole, half, large)
        await eventually_async(lambda: len(second.freed) == 3)
        assert not second.runner.ran
        answer, told = second.runner.answered[half.activation_id]
        assert told
        assert json.loads(msgspec.json.encode(answer.response)) == {"statusCode": 0, "result": {"n": 1}}
        assert answer.logs == [LOGS_MISSING]
        # Its caller has its id; what it was is not known here.
        answer, told = second.runner.answered[large.activation_id]
        assert told
        assert "may have run wholly or in part" in error(answer)
        assert whole.activation_id not in second.runner.answered


async def test_where_the_journal_is_another_nothing_that_was_handed_over_runs(tmp_path: Path) -> None:
    """The folder is lost, or the process was started on another machine."""
    one, two = activation(), activation()
    async with life(tmp_path / "a") as first:
        first.gets(one)
        name = first.journal.name
    async with life(tmp_path / "b") as second:
        second.gets(one, before=name, age=20.0)
        second.gets(two, at=1)
        await second.decided(one, two)
        assert list(second.runner.ran) == [two.activation_id]
        answer, _ = second.runner.answered[one.activation_id]
        assert error(answer).startswith("Another process of this invoker took the activation")
        assert second.looks == [({"0"}, NOW - 20.0 - LOOK_BACK)]


async def test_one_that_was_refused_and_answered_does_not_run_later(file: Path) -> None:
    """It never began, as for want of room; its offset was not committed yet."""
    message = activation()
    async with life(file) as first:
        first.gets(message)
        first.ends(message)
        name = first.journal.name
    async with life(file) as second:
        second.gets(message, before=name)
        await second.decided(message)
        assert second.freed == [Position(0, 0)]
        assert (second.runner.ran, second.runner.answered) == ({}, {})


async def test_a_commit_is_the_end_of_what_is_below(file: Path) -> None:
    several = [activation() for _ in range(4)]
    async with life(file) as process:
        process.gets(*several)
        for each in several:
            await process.begins(each)
        process.ends(several[0])
        process.ends(several[1])
        process.once.tidy()
        process.once.committed({0: 2, 7: 100})
        process.ends(several[2])  # committed before it is written that it was answered
        process.once.committed({0: 3})
        process.once.tidy()
        assert len(process.journal) == 1
    async with life(file) as after:
        assert list(after.once._left) == [several[3].activation_id]


async def test_a_message_that_its_controller_sent_twice_runs_once(file: Path) -> None:
    message = activation()
    async with life(file) as process:
        process.gets(message)
        process.gets(message, at=1)
        assert process.freed == [Position(0, 1)]
        process.ends(message)
        process.once.committed({0: 2})
        process.gets(message, at=2)
        assert process.freed == [Position(0, 1), Position(0, 0), Position(0, 2)]
        assert len(process.runner.ran) == 1


async def test_a_test_of_the_invoker_is_one_of_the_invoker_that_runs_now(file: Path) -> None:
    test = msgspec.structs.replace(activation(blocking=False), transid=[HEALTH_TRANSACTION, 0])
    async with life(file) as first:
        first.gets(test)
        await first.begins(test)
    async with life(file) as second:
        second.gets(test)
        await second.decided(test)
        assert list(second.runner.ran) == [test.activation_id]


async def test_one_whose_action_is_gone_or_that_cannot_be_judged_is_answered_all_the_same(file: Path) -> None:
    messages = [activation(), activation()]
    for message in messages:
        async with life(file) as first:
            first.gets(message)
            await first.begins(message)
    for message, fault in zip(messages, (ActionMissing("gone"), RuntimeError("ours")), strict=True):
        async with life(file, fault) as second:
            second.gets(message)
            await second.decided(message)
            answer, _ = second.runner.answered[message.activation_id]
            assert answer.response.status_code == WHISK_ERROR
            assert answer.annotation("kind") == "unknown"


async def test_a_database_that_hangs_delays_no_answer_for_long(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hangs:
        async def action(self, entity: object, revision: object) -> Any:
            await asyncio.Event().wait()

    monkeypatch.setattr(resume, "ACTION_WAIT", 0.1)
    several = [activation() for _ in range(100)]
    async with life(file) as first:
        first.gets(*several)
        await asyncio.gather(*(first.begins(each) for each in several))
    async with life(file) as second:
        second.once._actions = Hangs()
        second.gets(*several)
        await eventually_async(lambda: len(second.runner.answered) == 100, 5)


async def test_what_no_topic_gives_again_is_forgotten(file: Path) -> None:
    async with life(file) as first:
        first.gets(activation())
        (waiting,) = first.runner.ran
        await begin(first.journal, waiting, NOW - STALE - 1)
    async with life(file) as second:
        assert len(second.journal) == 0


async def test_a_partition_that_begins_anew_has_nothing_under_way(file: Path) -> None:
    async with life(file) as process:
        before, after = activation(), activation()
        process.gets(before, at=7)
        await process.begins(before)
        process.gets(after, at=0)
        process.once.tidy()
        assert len(process.journal) == 0
        await process.begins(after)
        process.once.committed({0: 1})
        process.once.tidy()
        assert len(process.journal) == 0


async def test_what_is_over_reaches_the_journal_in_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(at_most_once, "TIDY_EVERY", 0.01)
    one, two = activation(), activation()
    async with life(file) as process:
        process.gets(one, two)
        await process.begins(one)
        process.ends(one)
        process.ends(two)
        await eventually_async(lambda: len(process.journal) == 2)
        process.once.committed({0: 2})
        process.gets(activation(), at=2)
        await eventually_async(lambda: len(process.journal) == 0)


async def test_a_time_stamp_of_1970_is_no_time_before_it(file: Path) -> None:
    message = activation()
    async with life(file) as process:
        process.gets(message, before="another", age=NOW)
        await process.decided(message)
        assert process.looks == [({"0"}, 0.0)]


async def test_where_nobody_can_say_what_was_answered_each_is_answered_or_runs(file: Path) -> None:
    waits, runs = activation(), activation()
    async with life(file) as first:
        first.gets(waits, runs)
        await first.begins(runs)
        name = first.journal.name
    async with life(file) as second:
        second.look_fails = ValueError("of a library")
        second.gets(waits, runs, before=name)
        await second.decided(waits, runs)
        assert list(second.runner.ran) == [waits.activation_id]
        assert list(second.runner.answered) == [runs.activation_id]
