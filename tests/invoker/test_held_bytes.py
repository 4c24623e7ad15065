"""What activations weigh while they are held: the feed stops at a bound, so nothing may count twice, or never."""

from __future__ import annotations

from functools import partial

import pytest

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.in_flight import InFlight, InFlightRuns, InFlightState
from owmesos.openwhisk.activation import SUCCESS
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.kafka.offsets import Offsets, Position
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.simulator.cluster import SimulatedCluster
from tests.invoker.invoking import Scene, invoking
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

CODE = action(code="#" * 10_000).weight
LARGE = "def main(args):\n    return {'a': 'x' * 5000}"

pytestmark = pytest.mark.simulator(agents=1)


class Books:
    """The feed's, without a feed."""

    def __init__(self) -> None:
        self.offsets = Offsets()
        self.most = 0
        self.told: list[int] = []

    def activate(self, scene: Scene, message: ActivationMessage) -> None:
        position = Position(0, self.offsets[0].next or 0)
        self.offsets.received(position, 0)
        free, add_bytes = partial(self.offsets.done, position), partial(self._add_bytes, position)
        scene.invoker.activate(InFlight(message, scene.host.now(), free, add_bytes))

    def _add_bytes(self, position: Position, count: int) -> None:
        self.told.append(count)
        self.offsets.add_bytes(position, count)
        self.most = max(self.most, self.offsets.weight)


async def test_code_weighs_once_and_what_bore_it_hands_it_on() -> None:
    state, runs = Offsets(), InFlightRuns()
    one, other = action(code="#" * 10_000), action("other", code="#" * 10_000)

    def queued(number: int, of: Executable) -> InFlight:
        position = Position(0, number)
        state.received(position, 0)
        run = InFlight(activation(), 0.0, partial(state.done, position), partial(state.add_bytes, position))
        assert runs.receive(run)
        run.enter(InFlightState.FETCHING)
        runs.queue(run, of)
        return run

    came = [queued(number, each) for number, each in enumerate((one, one, one, other))]
    assert state.weight == CODE + other.weight
    for number, left in ((1, CODE + other.weight), (0, CODE + other.weight), (3, CODE), (2, 0)):
        runs.end(came[number])
        came[number].done()
        assert state.weight == left
    queued(4, one)
    assert state.weight == CODE


async def test_activations_that_wait_share_the_weight_of_their_code(simulator: SimulatedCluster) -> None:
    state, never = Books(), action(code="#" * 10_000, memory=4096)
    async with invoking(simulator.master, never, settings=PoolSettings(max_wait=1.0)) as scene:
        for _ in range(5):
            state.activate(scene, activation())
        await eventually_async(lambda: state.told)
        await eventually_async(lambda: not len(state.offsets))
        assert state.told[0] == CODE
        assert state.most <= 2 * CODE  # while it goes from one to the next
        assert state.offsets.weight == 0
        await scene.accounts_are_right()


@pytest.mark.parametrize(("logs", "blocking", "results"), [(0, True, 1), (1, True, 1), (0, False, 0), (1, False, 0)])
async def test_a_result_weighs_once_while_its_answer_is_under_way(
    simulator: SimulatedCluster, logs: int, blocking: bool, results: int
) -> None:
    state, large = Books(), action(code=LARGE, logs=logs)
    async with invoking(simulator.master, large) as scene:
        message = activation(blocking=blocking)
        state.activate(scene, message)
        await eventually_async(lambda: not len(state.offsets))
        assert scene.records.kept[message.activation_id].response.status_code == SUCCESS
        assert state.told[0] == large.weight
        assert [weight > 5000 for weight in state.told[1:]] == [True] * results
        await scene.accounts_are_right()
