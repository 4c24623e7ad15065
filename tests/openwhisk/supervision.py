"""How a Controller judges its invokers (core/loadBalancer/InvokerSupervision.scala), without I/O: for tests of what an
unchanged Controller makes of ours. Times in seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum

from owmesos.openwhisk.messages import InvokerId, Ping

BUFFER_SIZE = 10
ERROR_TOLERANCE = 3
PING_TIMEOUT = 10.0
TEST_EVERY = 60.0


class State(Enum):
    HEALTHY = "up"
    UNHEALTHY = "unhealthy"
    UNRESPONSIVE = "unresponsive"
    OFFLINE = "down"

    @property
    def usable(self) -> bool:
        return self is State.HEALTHY

    @property
    def tested(self) -> bool:
        """Whether it gets test actions, to become Healthy again."""
        return self in (State.UNHEALTHY, State.UNRESPONSIVE)


class Outcome(Enum):
    """How an activation was completed."""

    SUCCESS = "success"
    SYSTEM_ERROR = "system error"
    TIMEOUT = "timeout"


class SupervisedInvoker:
    """One invoker. `test` is called whenever a test action is to be sent to it."""

    def __init__(self, now: float, test: Callable[[], None]) -> None:
        self.state = State.OFFLINE
        self.history: list[State] = []
        self._test = test
        self._outcomes: deque[Outcome] = deque(maxlen=BUFFER_SIZE)
        self._heard_at = now
        self._next_test: float | None = None
        self._go(State.UNHEALTHY, now)

    def ping(self, enabled: bool, now: float) -> None:
        self._heard_at = now
        if not enabled:
            self._go(State.OFFLINE, now)
        elif self.state is State.OFFLINE:
            self._go(State.UNHEALTHY, now)

    def tick(self, now: float) -> None:
        """Time has passed."""
        if self.state is not State.OFFLINE and now - self._heard_at >= PING_TIMEOUT:
            self._go(State.OFFLINE, now)
        elif self._next_test is not None and now >= self._next_test:
            self._heard_at = now  # whatever comes to an FSM starts its state's time-out anew, its own timer too
            self._next_test += TEST_EVERY
            self._test()

    def finished(self, outcome: Outcome, now: float) -> None:
        """Only what happens while it is Unhealthy hastens its next test: an Unresponsive one waits for each minute."""
        self._heard_at = now
        self._outcomes.append(outcome)
        if outcome is Outcome.SUCCESS and self.state is State.UNHEALTHY:
            self._test()
        if self.state is State.OFFLINE or (self.state is State.HEALTHY and outcome is Outcome.SUCCESS):
            return
        priming = len(self._outcomes) <= ERROR_TOLERANCE
        if self._outcomes.count(Outcome.SYSTEM_ERROR) > ERROR_TOLERANCE:
            self._go(State.UNHEALTHY, now)
        elif self._outcomes.count(Outcome.TIMEOUT) > ERROR_TOLERANCE:
            self._go(State.UNRESPONSIVE, now)
        elif outcome is Outcome.SUCCESS:
            self._go(State.HEALTHY, now)
        elif priming:
            self._go(State.UNHEALTHY if outcome is Outcome.SYSTEM_ERROR else State.UNRESPONSIVE, now)

    def _go(self, state: State, now: float) -> None:
        if state is self.state and self.history:
            return
        before, self.state = self.state, state
        self.history.append(state)
        if state.tested:
            self._test()
        # The two states share one timer, and what ends it on leaving Unresponsive is run last: an invoker that goes
        # from there to Unhealthy is tested no more each minute.
        ended_last = before is State.UNRESPONSIVE and state is State.UNHEALTHY
        self._next_test = now + TEST_EVERY if state.tested and not ended_last else None


class Supervision:
    """All invokers that ever sent a ping, by their number; a gap before one is an invoker that is offline."""

    def __init__(self, test: Callable[[int], None]) -> None:
        self._test = test
        self.invokers: dict[int, SupervisedInvoker] = {}
        self.ids: list[InvokerId] = []

    def ping(self, ping: Ping, now: float) -> None:
        number = ping.name.instance
        while len(self.ids) <= number:
            self.ids.append(InvokerId(instance=len(self.ids), user_memory=ping.name.user_memory))
        self.ids[number] = ping.name  # it may have been started anew, with another name
        if number not in self.invokers:
            self.invokers[number] = SupervisedInvoker(now, lambda: self._test(number))
        self.invokers[number].ping(ping.is_enabled is not False, now)

    def finished(self, number: int, outcome: Outcome, now: float) -> None:
        if number in self.invokers:
            self.invokers[number].finished(outcome, now)

    def tick(self, now: float) -> None:
        for invoker in self.invokers.values():
            invoker.tick(now)

    def state(self, number: int) -> State:
        return self.invokers[number].state if number in self.invokers else State.OFFLINE

    def states(self) -> list[State]:
        return [self.state(number) for number in range(len(self.ids))]
