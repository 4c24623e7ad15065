"""What activations weigh while they are held: the feed stops at a bound, so nothing may count twice, or never."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest

from owmesos.core.pool_settings import PoolSettings
from owmesos.openwhisk.activation import SUCCESS
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.openwhisk.offsets import Offsets
from owmesos.service.invoker import CodeWeights, Held
from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.task_ports import TaskPorts
from tests.openwhisk.runs import action, activation, order
from tests.service.invoking import Scene, invoking
from tests.waiting import eventually_async

CODE = action(code="#" * 10_000).weight
LARGE = "def main(args):\n    return {'a': 'x' * 5000}"


class Books:
    """The feed's, without a feed."""

    def __init__(self) -> None:
        self.offsets = Offsets()
        self.most = 0
        self.told: list[int] = []

    def activate(self, scene: Scene, message: ActivationMessage) -> None:
        number = self.offsets.next or 0
        self.offsets.received(number, 0)
        scene.invoker.activate(message, partial(self.offsets.done, number), partial(self._weigh, number))

    def _weigh(self, number: int, weight: int) -> None:
        self.told.append(weight)
        self.offsets.add_weight(number, weight)
        self.most = max(self.most, self.offsets.weight)


@pytest.fixture
def simulator(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=1, resources=task_ports.resources(1)) as cluster:
        yield cluster


def test_code_weighs_once_and_what_bore_it_hands_it_on() -> None:
    books, weights = Offsets(), CodeWeights()
    one, other = action(code="#" * 10_000), action("other", code="#" * 10_000)
    held = [
        Held(order(of=each), partial(books.done, number), partial(books.add_weight, number))
        for number, each in enumerate((one, one, one, other))
    ]
    for number, each in enumerate(held):
        books.received(number, 0)
        weights.begin(each)
    assert books.weight == CODE + other.weight
    for number, left in ((1, CODE + other.weight), (0, CODE + other.weight), (3, CODE), (2, 0)):
        weights.end(held[number])
        held[number].done()
        assert books.weight == left
    again = Held(order(of=one), partial(books.done, 4), partial(books.add_weight, 4))
    books.received(4, 0)
    weights.begin(again)
    assert books.weight == CODE


async def test_activations_that_wait_share_the_weight_of_their_code(simulator: SimulatedCluster) -> None:
    books, never = Books(), action(code="#" * 10_000, memory=4096)
    async with invoking(simulator.master, never, settings=PoolSettings(max_wait=1.0)) as scene:
        for _ in range(5):
            books.activate(scene, activation())
        await eventually_async(lambda: books.told)
        await eventually_async(lambda: not len(books.offsets))
        assert books.told[0] == CODE
        assert books.most <= 2 * CODE  # while it goes from one to the next
        assert books.offsets.weight == 0
        await scene.accounts_are_right()


@pytest.mark.parametrize(("logs", "blocking", "results"), [(0, True, 1), (1, True, 1), (0, False, 0), (1, False, 0)])
async def test_a_result_weighs_once_while_its_answer_is_under_way(
    simulator: SimulatedCluster, logs: int, blocking: bool, results: int
) -> None:
    books, large = Books(), action(code=LARGE, logs=logs)
    async with invoking(simulator.master, large) as scene:
        message = activation(blocking=blocking)
        books.activate(scene, message)
        await eventually_async(lambda: not len(books.offsets))
        assert scene.records.kept[message.activation_id].response.status_code == SUCCESS
        assert books.told[0] == large.weight
        assert [weight > 5000 for weight in books.told[1:]] == [True] * results
        await scene.accounts_are_right()
