"""The activations that an invoker has, each with one record from its receipt to its last answer.

What else is kept of an activation, and where:

- its offset and its bytes in `openwhisk.kafka.offsets`, until its answer is sent;
- whether it began and how it ended in the journal, on disk and for the next process;
- its id after its end in `at_most_once`, because its message may come again;
- its place in the queue and its container in the pool, which knows runs and no activations;
- its step within the container in `openwhisk.container.run_state`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable
from enum import Enum
from typing import Any

import msgspec

from owmesos.errors import InvariantBroken
from owmesos.openwhisk.activation import Activation
from owmesos.openwhisk.container.run_state import Order
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.kafka.offsets import Position
from owmesos.openwhisk.messages import ActivationMessage, transaction_start
from owmesos.openwhisk.store.journal_batch import JournalEntry

_log = logging.getLogger("owmesos.invoker")


class InFlightState(str, Enum):
    """Where an activation is."""

    RECEIVED = "received"  # it came; with delivery at most once, what an earlier process did with it is looked up
    FETCHING = "fetching"  # its action is fetched
    QUEUED = "queued"  # the pool has it, and no container
    DISPATCHED = "dispatched"  # a container has it, and is initialized first if it is new
    RUNNING = "running"  # its container may have been asked to run it
    ANSWERED = "answered"  # its caller has the result, and its log is collected
    ENDED = "ended"  # its last answer is handed over, to be sent
    LEFT = "left"  # the process stops, and leaves it to the next one


FOLLOWING: dict[InFlightState, set[InFlightState]] = {
    InFlightState.RECEIVED: {InFlightState.FETCHING, InFlightState.ANSWERED, InFlightState.ENDED, InFlightState.LEFT},
    InFlightState.FETCHING: {InFlightState.QUEUED, InFlightState.ENDED, InFlightState.LEFT},
    InFlightState.QUEUED: {InFlightState.DISPATCHED, InFlightState.ENDED, InFlightState.LEFT},
    InFlightState.DISPATCHED: {
        InFlightState.QUEUED,
        InFlightState.RUNNING,
        InFlightState.ANSWERED,
        InFlightState.ENDED,
        InFlightState.LEFT,
    },
    InFlightState.RUNNING: {InFlightState.QUEUED, InFlightState.ANSWERED, InFlightState.ENDED},
    InFlightState.ANSWERED: {InFlightState.ENDED},
    InFlightState.ENDED: set(),
    InFlightState.LEFT: set(),
}
"""What may follow each state."""


def _future() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


class InFlight(msgspec.Struct, eq=False):
    """An activation that has not ended. To be made and used in the event loop's thread."""

    message: ActivationMessage
    sent_at: float  # by its Controller; seconds since the epoch
    done: Callable[[], None] = lambda: None  # called once, from any thread, when nothing more will be sent about it
    add_bytes: Callable[[int], None] = lambda count: None  # gets the number of bytes that it holds besides its message
    position: Position | None = None  # in its topic; None without Kafka
    former_journal: str | None = None  # name of the journal of the process that may have had it; None if it is new
    earlier: JournalEntry | None = None  # what an earlier process wrote down about it; set when it is received
    state: InFlightState = InFlightState.RECEIVED
    order: Order | None = None  # what its container gets; set when it is queued
    dispatched_at: float | None = None  # seconds since the epoch; None while no container has it
    container_id: str | None = None  # that has it, or had it: its log may be read after the pool is done with it
    begun: bool = False  # whether any container may have been asked to run it; stays when it is queued again
    # The result as its caller gets it, from ANSWERED or ENDED on; None if its caller gets none.
    result: asyncio.Future[Activation | None] = msgspec.field(default_factory=_future)
    ended: asyncio.Future[None] = msgspec.field(default_factory=_future)  # done from ENDED or LEFT on

    @property
    def run_id(self) -> str:
        return self.message.activation_id

    @property
    def received_at(self) -> float:
        """When its caller asked for it; seconds since the epoch."""
        started = transaction_start(self.message.transid)
        return self.sent_at if started is None else started / 1000

    def enter(self, state: InFlightState) -> None:
        """It is in `state` from now on. Raises InvariantBroken for a state that may not follow."""
        if state not in FOLLOWING[self.state]:
            raise InvariantBroken(f"activation {self.run_id} is {self.state.value}, and cannot be {state.value} next")
        self.state = state

    def answer(self, activation: Activation) -> None:
        """Its caller gets the result before it ends."""
        self.enter(InFlightState.ANSWERED)
        self.result.set_result(activation)


class InFlightRuns:
    """All of an invoker's, by id. An action's code weighs once, however many of its activations are here: the first
    one bears it, and after its end the next."""

    def __init__(self) -> None:
        self.past: Container[str] = ()
        """Ids of activations that are not here any more and must not run again."""
        self._runs: dict[str, InFlight] = {}
        # By the identity of the executable, which those here keep alive.
        self._of_code: dict[int, dict[str, InFlight]] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def all(self) -> list[InFlight]:
        return list(self._runs.values())

    def ids(self) -> Iterable[str]:
        return self._runs.keys()

    def find(self, run_id: str) -> InFlight | None:
        """None for one that has ended, or never came."""
        return self._runs.get(run_id)

    def __getitem__(self, run_id: str) -> InFlight:
        return self._runs[run_id]

    def receive(self, run: InFlight) -> bool:
        """False for one that came before: nothing more will be sent about it."""
        if run.run_id in self._runs or run.run_id in self.past:
            _log.warning("activation %s was received twice: it runs once", run.run_id)
            run.done()
            return False
        self._runs[run.run_id] = run
        return True

    def queue(self, run: InFlight, executable: Executable) -> None:
        """Its action is here, and it may run."""
        run.enter(InFlightState.QUEUED)
        run.order = Order(run.message, executable)
        sharing = self._of_code.setdefault(id(executable), {})
        if not sharing:
            run.add_bytes(executable.weight)
        sharing[run.run_id] = run

    def end(self, run: InFlight, result: Activation | None = None, state: InFlightState = InFlightState.ENDED) -> None:
        """It is not here any more. `result`: what its caller gets now, if that is still open."""
        run.enter(state)
        del self._runs[run.run_id]
        if run.order is not None:
            self._pass_on_code(run, run.order.executable)
        if not run.result.done():
            run.result.set_result(result)
        run.ended.set_result(None)

    def _pass_on_code(self, run: InFlight, executable: Executable) -> None:
        sharing = self._of_code[id(executable)]
        bore = next(iter(sharing)) == run.run_id
        del sharing[run.run_id]
        if not sharing:
            del self._of_code[id(executable)]
        elif bore:
            next(iter(sharing.values())).add_bytes(executable.weight)
