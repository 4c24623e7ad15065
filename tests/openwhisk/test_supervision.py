"""The judge that our invokers are brought before judges as OpenWhisk's own (InvokerSupervisionTests)."""

from __future__ import annotations

import msgspec
import pytest

from owmesos.openwhisk.messages import Ping, invoker_id
from tests.openwhisk.slots import Slots, choose, home, steps
from tests.openwhisk.supervision import BUFFER_SIZE, ERROR_TOLERANCE, Outcome, State, SupervisedInvoker, Supervision

SUCCESS, SYSTEM_ERROR, TIMEOUT = Outcome.SUCCESS, Outcome.SYSTEM_ERROR, Outcome.TIMEOUT


class Judged(SupervisedInvoker):
    """Counts its test actions, and moves its own clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.tests = 0
        super().__init__(0.0, self._count)

    def _count(self) -> None:
        self.tests += 1

    def ends(self, outcome: Outcome, times: int = 1) -> list[State]:
        states = []
        for _ in range(times):
            self.finished(outcome, self.now)
            states.append(self.state)
        return states

    def after(self, seconds: float, *, pings: bool = False) -> State:
        for _ in range(int(seconds)):
            self.now += 1
            if pings:
                self.ping(True, self.now)
            self.tick(self.now)
        return self.state


class TestInvoker:
    def test_starts_and_stays_unhealthy_while_the_threshold_is_not_met(self) -> None:
        invoker = Judged()
        assert invoker.state is State.UNHEALTHY
        assert set(invoker.ends(SYSTEM_ERROR, ERROR_TOLERANCE + 1)) == {State.UNHEALTHY}
        assert set(invoker.ends(SUCCESS, BUFFER_SIZE - ERROR_TOLERANCE - 1)) == {State.UNHEALTHY}
        assert invoker.ends(SUCCESS) == [State.HEALTHY]

    def test_reverts_to_unhealthy_during_its_start_if_a_test_fails(self) -> None:
        invoker = Judged()
        assert invoker.ends(SYSTEM_ERROR) == [State.UNHEALTHY]
        assert invoker.ends(SUCCESS) == [State.HEALTHY]
        assert invoker.ends(SYSTEM_ERROR) == [State.UNHEALTHY]

    def test_goes_offline_without_pings_and_unhealthy_with_one(self) -> None:
        invoker = Judged()
        assert invoker.after(9) is State.UNHEALTHY
        assert invoker.after(1) is State.OFFLINE
        invoker.ping(True, invoker.now)
        assert invoker.state is State.UNHEALTHY

    def test_is_unresponsive_during_its_start_after_a_time_out(self) -> None:
        invoker = Judged()
        assert invoker.ends(TIMEOUT) == [State.UNRESPONSIVE]
        assert invoker.ends(SUCCESS) == [State.HEALTHY]
        assert invoker.ends(TIMEOUT) == [State.UNRESPONSIVE]

    def test_stays_what_it_is_with_a_fault_that_decides_nothing(self) -> None:
        """Only a success makes it Healthy."""
        invoker = Judged()
        invoker.ends(SUCCESS, BUFFER_SIZE)
        invoker.ends(TIMEOUT, ERROR_TOLERANCE + 1)
        assert invoker.ends(SYSTEM_ERROR, 3) == [State.UNRESPONSIVE] * 3
        invoker = Judged()
        invoker.ends(SYSTEM_ERROR, ERROR_TOLERANCE + 1)
        invoker.ends(SUCCESS, BUFFER_SIZE - ERROR_TOLERANCE - 1)
        assert invoker.state is State.UNHEALTHY
        assert invoker.ends(TIMEOUT) == [State.UNHEALTHY]  # three system errors are left, and no success
        assert invoker.ends(SUCCESS) == [State.HEALTHY]

    @pytest.mark.parametrize(("fault", "state"), [(SYSTEM_ERROR, State.UNHEALTHY), (TIMEOUT, State.UNRESPONSIVE)])
    def test_is_healthy_again_with_enough_successes(self, fault: Outcome, state: State) -> None:
        invoker = Judged()
        invoker.ends(SUCCESS, BUFFER_SIZE)
        assert invoker.state is State.HEALTHY
        invoker.ends(fault, ERROR_TOLERANCE)
        assert invoker.state is State.HEALTHY
        invoker.ends(fault, BUFFER_SIZE - ERROR_TOLERANCE)
        assert invoker.state is state
        assert set(invoker.ends(SUCCESS, BUFFER_SIZE - ERROR_TOLERANCE - 1)) == {state}
        assert invoker.ends(SUCCESS) == [State.HEALTHY]

    def test_is_offline_at_once_with_a_ping_that_says_so_and_stays_it(self) -> None:
        for invoker in (Judged(), Judged()):
            invoker.ends(SUCCESS)
            invoker.ping(False, 0)
            assert invoker.state is State.OFFLINE
            invoker.ping(False, 1)
            assert invoker.ends(SUCCESS) == [State.OFFLINE]
            invoker.ping(True, 2)
            assert invoker.state is State.UNHEALTHY

    def test_is_tested_when_it_gets_unhealthy_each_minute_and_after_each_success(self) -> None:
        invoker = Judged()
        assert invoker.tests == 1
        invoker.after(59, pings=True)
        assert invoker.tests == 1
        invoker.after(1, pings=True)
        assert invoker.tests == 2
        invoker.ends(SUCCESS)
        assert (invoker.tests, invoker.state) == (3, State.HEALTHY)
        invoker.after(120, pings=True)
        assert invoker.tests == 3

    def test_is_tested_only_each_minute_while_it_is_unresponsive(self) -> None:
        """So that seven successes take it six minutes."""
        invoker = Judged()
        invoker.ends(SUCCESS)
        invoker.ends(TIMEOUT, BUFFER_SIZE)
        before = invoker.tests
        for _ in range(6):
            assert invoker.ends(SUCCESS) == [State.UNRESPONSIVE]
            invoker.after(60, pings=True)
        assert invoker.tests == before + 6
        assert invoker.ends(SUCCESS) == [State.HEALTHY]

    def test_is_not_tested_each_minute_if_it_got_unhealthy_from_unresponsive(self) -> None:
        invoker = Judged()
        invoker.ends(SUCCESS)
        invoker.ends(TIMEOUT, ERROR_TOLERANCE + 1)
        assert set(invoker.ends(SYSTEM_ERROR, ERROR_TOLERANCE + 1)) == {State.UNRESPONSIVE, State.UNHEALTHY}
        before = invoker.tests
        invoker.after(180, pings=True)
        assert invoker.tests == before


class TestSupervision:
    def test_knows_invokers_by_their_pings(self) -> None:
        tests: list[int] = []
        supervision = Supervision(tests.append)
        supervision.ping(Ping(name=invoker_id(2), is_enabled=True), 0)
        assert supervision.states() == [State.OFFLINE, State.OFFLINE, State.UNHEALTHY]
        assert tests == [2]
        supervision.ping(Ping(name=invoker_id(0)), 0)
        supervision.finished(0, SUCCESS, 0)
        assert supervision.states() == [State.HEALTHY, State.OFFLINE, State.UNHEALTHY]
        supervision.tick(10)
        assert set(supervision.states()) == {State.OFFLINE}

    def test_keeps_the_whole_id_and_the_new_one_after_a_restart(self) -> None:
        supervision = Supervision(lambda number: None)
        first = invoker_id(0, unique_name="10.x.x.x", displayed_name="invoker-xyz")
        supervision.ping(Ping(name=first), 0)
        assert supervision.ids == [first]
        second = msgspec.structs.replace(first, displayed_name="invoker-zyx")
        supervision.ping(Ping(name=second), 1)
        assert supervision.ids == [second]


class TestSlots:
    def test_are_memory(self) -> None:
        slots = Slots(512)
        assert slots.acquire("a", 256, 1)
        assert slots.acquire("b", 256, 1)
        assert not slots.acquire("c", 128, 1)
        slots.release("a", 256, 1)
        assert slots.free == 256

    def test_are_shared_by_concurrent_runs_of_an_action(self) -> None:
        slots = Slots(512)
        assert all(slots.acquire("a", 256, 3) for _ in range(6))
        assert not slots.acquire("a", 256, 3)
        for _ in range(5):
            slots.release("a", 256, 3)
        assert slots.free == 256
        slots.release("a", 256, 3)
        assert slots.free == slots.all == 512

    def test_are_forced_when_nobody_has_any(self) -> None:
        slots = [Slots(128), Slots(128)]
        taken = [choose(0, [True, True], lambda i, force: slots[i].acquire("a", 128, 1, force=force)) for _ in range(5)]
        assert set(taken[:2]) == {0, 1}
        assert sum(each.free for each in slots) == -3 * 128

    def test_are_none_where_nobody_is_healthy(self) -> None:
        assert choose(5, [False, False], lambda index, force: True) is None
        assert choose(5, [], lambda index, force: True) is None
        assert choose(5, [False, True, False], lambda index, force: True) == 1

    def test_are_searched_as_java_counts(self) -> None:
        assert home("guest", "guest/hello") == home("guest", "guest/hello") >= 0
        assert steps(1) == [1]
        assert steps(10) == [1, 3, 7]
