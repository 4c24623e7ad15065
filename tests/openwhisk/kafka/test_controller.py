"""The Controller's test program against an invoker that answers at once, over a real broker: both sides of the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from owmesos.openwhisk.activation import Reporter, not_run, success, whisk_error
from owmesos.openwhisk.kafka.acks import AckSender
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed import Feed, FeedBroke
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.kafka.offsets import Received, Rejected
from owmesos.openwhisk.kafka.pings import Pinger
from owmesos.openwhisk.messages import EntityName, invoker_id
from tests.openwhisk.controller import Controller, Invokable, NoInvoker
from tests.openwhisk.supervision import Outcome, State
from tests.waiting import eventually_async, in_time

pytestmark = [pytest.mark.kafka, pytest.mark.cluster]
HELLO = Invokable(entity=EntityName("guest", "hello", "0.0.1"))


class AnsweringInvoker:
    """An invoker without containers: it answers with the arguments, with an error, or not at all."""

    def __init__(self, broker: Broker, number: int = 0) -> None:
        invoker = invoker_id(number, user_memory=2048)
        self.broken = False
        self.silent = False
        self.ran: list[str] = []
        self._reporter = Reporter(invoker, time.time)
        self._acks = AckSender(broker)
        self.pinger = Pinger(broker, invoker, interval=0.2)
        topic = broker.invoker_topic(number).name
        settings = FeedSettings(delivery=Delivery.AT_LEAST_ONCE, max_count=16)
        self._feed = Feed(broker, topic, self, asyncio.get_running_loop(), settings)

    async def __aenter__(self) -> AnsweringInvoker:
        for part in (self._acks, self.pinger, self._feed):
            part.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        for stop in (self._feed.stop, self.pinger.stop, self._acks.stop):
            await asyncio.to_thread(stop)

    def received(self, batch: Sequence[Received]) -> None:
        for position, message, *_ in batch:
            self.ran.append(message.activation_id)
            if self.silent:
                self._feed.done(position)
                continue
            response = whisk_error("broken") if self.broken else success(message.content)
            activation = not_run(message, response, time.time())
            report = self._reporter.combined if message.blocking else self._reporter.completion
            self._acks.send(
                message.root_controller_index,
                report(message, activation),
                lambda done=position: self._feed.done(done),  # type: ignore[misc]
            )

    def committed(self, offsets: Mapping[int, int]) -> None: ...

    def rejected(self, record: Rejected) -> None:
        raise AssertionError(record)

    def reading(self) -> None: ...

    def broke(self, reason: FeedBroke) -> None:
        raise AssertionError(reason)


@pytest.fixture
async def controller(broker: Broker) -> AsyncIterator[Controller]:
    await asyncio.to_thread(broker.ensure, [broker.invoker_topic(number) for number in range(2)])
    async with Controller(broker) as controller:
        yield controller


@pytest.fixture
async def invoker(controller: Controller) -> AsyncIterator[AnsweringInvoker]:
    """It is healthy."""
    async with AnsweringInvoker(controller.broker) as invoker:
        await becomes(controller, State.HEALTHY)
        yield invoker


async def becomes(controller: Controller, state: State, timeout: float = 60) -> None:
    await eventually_async(lambda: controller.state(0) is state, timeout, what=f"the invoker is {state.value}")


async def test_an_invoker_gets_healthy_by_the_test_action(controller: Controller) -> None:
    with pytest.raises(NoInvoker):
        controller.invoke(HELLO)
    async with AnsweringInvoker(controller.broker):
        await becomes(controller, State.HEALTHY)
    assert Outcome.SUCCESS in controller.tests.values()
    assert controller.supervision.invokers[0].history[:2] == [State.UNHEALTHY, State.HEALTHY]
    await becomes(controller, State.OFFLINE)


async def test_blocking_ones_get_their_result_and_all_are_acknowledged_once(
    controller: Controller, invoker: AnsweringInvoker
) -> None:
    several = [controller.invoke(HELLO, {"n": n}, blocking=n % 2 == 0) for n in range(100)]
    for n, invocation in enumerate(several):
        answer = await in_time(invocation.answer)
        if n % 2 == 0:
            assert answer["response"] == {"statusCode": 0, "result": {"n": n}}
        assert await in_time(invocation.slot) is Outcome.SUCCESS
    assert all(controller.completions[invocation.id] == 1 for invocation in several)
    assert [controller.results[invocation.id] for invocation in several] == [1, 0] * 50
    assert controller.all_free
    assert not controller.late


async def test_system_errors_make_it_unhealthy(controller: Controller, invoker: AnsweringInvoker) -> None:
    invoker.broken = True
    several = [controller.invoke(HELLO) for _ in range(4)]
    assert {await in_time(each.slot) for each in several} == {Outcome.SYSTEM_ERROR}
    assert controller.state(0) is State.UNHEALTHY
    invoker.broken = False
    with pytest.raises(NoInvoker):
        controller.invoke(HELLO)


async def test_silence_makes_it_unresponsive(broker: Broker) -> None:
    await asyncio.to_thread(broker.ensure, [broker.invoker_topic(0)])
    async with (
        Controller(broker, timeout_factor=0, timeout_more=0.5) as controller,
        AnsweringInvoker(broker) as invoker,
    ):
        await becomes(controller, State.HEALTHY)
        invoker.silent = True
        several = [controller.invoke(HELLO, blocking=True) for _ in range(4)]
        assert {await in_time(each.slot) for each in several} == {Outcome.TIMEOUT}
        assert controller.state(0) is State.UNRESPONSIVE
        assert controller.forced == {each.id for each in several}
        assert all(isinstance(each.answer.exception(), TimeoutError) for each in several)
        assert controller.all_free


async def test_an_invoker_that_is_disabled_is_offline_at_once(
    controller: Controller, invoker: AnsweringInvoker
) -> None:
    invoker.pinger.turn_away("disabled", True)
    await becomes(controller, State.OFFLINE, 3)
    invoker.pinger.turn_away("disabled", False)
    await becomes(controller, State.HEALTHY)
