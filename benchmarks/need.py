"""OFFERS on a need: a launch is asked for while the framework is suppressed, with offer constraints and without.

With many agents a REVIVE brings an offer of each of them. owmesos first sends an UPDATE_FRAMEWORK whose offer
constraints name the 20 best candidates. The other is the same scheduler without them. Both are subscribed to one
cluster and get a launch in turns, 1.2 s apart, each ended before the next. The time is from the call of the library to
the ACCEPT handed to the connection, bytes are those of the stream from there to the next SUPPRESS, and "of the
processor" is our process between the two. The simulator is a process of its own, with 1,000 and 10,000 agents; its
master, in Python, looks at each agent at a REVIVE, which is most of the time there. Apache Mesos 1.11.0 has 100 agents.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import owmesos
from benchmarks.row import Row
from owmesos.local.cluster import MesosCluster
from owmesos.mesos.messages import Accept, Call, Event, Subscribe, Suppress
from owmesos.mesos.wire.address import Masters, ServerAddress, parse_master
from owmesos.mesos.wire.detector import HostList
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.mesos.wire.recordio import Record
from owmesos.mesos.wire.subscriber import EventStream

SIMULATED = (1_000, 10_000)
REAL = 100
LAUNCHES = 15
APART = 1.2  # seconds: a REVIVE is sent once a second
RESOURCES = "cpus:8;mem:8192;disk:8192;ports:[31000-31099]"
EVER = 10**9  # agents: constraints are never sent below so many


@dataclass(frozen=True)
class Need:
    """One launch: ms to ACCEPT, kB of the stream, ms of the processor."""

    ms: float
    kb: float
    processor_ms: float


class CountingReader(EventReader):
    """Counts the bytes of the records."""

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address)
        self.received = 0

    def read(self, record: Record) -> Event | None:
        self.received += len(record)
        return super().read(record)


class WatchedDriver(HttpDriver):
    """Notes when it is given an ACCEPT, when it has sent a SUPPRESS, and what has come."""

    def __init__(self, masters: Masters, subscription: Subscribe) -> None:
        super().__init__(HostList(masters.addresses), subscription)
        self.accepted_at = 0.0
        self.suppressed = asyncio.Event()
        self._counting: CountingReader | None = None

    @property
    def received(self) -> int:
        """Bytes of events on this stream."""
        return self._counting.received if self._counting is not None else 0

    async def _open_stream(self, address: ServerAddress, subscribe: Subscribe, reader: EventReader) -> EventStream:
        self._counting = CountingReader(address)
        return await super()._open_stream(address, subscribe, self._counting)

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        if isinstance(call, Accept):
            self.accepted_at = time.perf_counter()
            self.suppressed.clear()
        await super().call(call, sending=sending)
        if isinstance(call, Suppress):
            self.suppressed.set()


class Asker:
    """One framework, suppressed between its launches."""

    def __init__(self, master: str, name: str, state: Path, settings: owmesos.Settings) -> None:
        masters = parse_master(master, credentials_allowed=False)
        assert isinstance(masters, Masters)
        self._masters = masters
        self._driver: WatchedDriver | None = None
        self.framework = owmesos.Framework(
            master=master, name=name, state=state, settings=settings, driver=self._watched
        )

    def _watched(self, subscription: Subscribe) -> WatchedDriver:
        self._driver = WatchedDriver(self._masters, subscription)
        return self._driver

    async def ready(self) -> None:
        """Has looked at all agents, and is suppressed."""
        assert self._driver is not None
        await self._driver.suppressed.wait()

    async def launch(self) -> Need:
        driver = self._driver
        assert driver is not None
        received, used, begun = driver.received, time.process_time(), time.perf_counter()
        launch = await self.framework.launch(owmesos.Launch(command="true", cpus=0.1, mem=32, ports=1))
        await launch.ended()
        await driver.suppressed.wait()
        used = time.process_time() - used
        return Need((driver.accepted_at - begun) * 1e3, (driver.received - received) / 1e3, used * 1e3)


async def measure(master: str, launches: int, narrow_above: int) -> tuple[list[Need], list[Need]]:
    """The needs with constraints, and those without."""
    with tempfile.TemporaryDirectory() as folder:
        settings = owmesos.Settings(narrow_above=narrow_above), owmesos.Settings(narrow_above=EVER)
        ours, other = (
            Asker(master, name, Path(folder) / name, each)
            for name, each in zip(("with", "without"), settings, strict=True)
        )
        needs: dict[Asker, list[Need]] = {ours: [], other: []}
        async with ours.framework, other.framework:
            await ours.ready()
            await other.ready()
            for _ in range(launches):
                for asker, found in needs.items():
                    await asyncio.sleep(APART)
                    found.append(await asker.launch())
            for asker in needs:
                await asker.framework.teardown()
        return needs[ours], needs[other]


@contextmanager
def simulated(agents: int) -> Iterator[str]:
    """The address of a master in a process of its own."""
    serving = f"from benchmarks.simulator import serve; serve({agents}, {RESOURCES!r})"
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", serving], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()


@contextmanager
def real(agents: int) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        cluster = MesosCluster(Path(folder) / "mesos", master_port=17060, agents=agents, resources=RESOURCES)
        with cluster:
            yield cluster.master


def rows_of_needs(name: str, ours: list[Need], other: list[Need]) -> list[Row]:
    """Medians."""

    def row(what: str, unit: str, of: Callable[[Need], float]) -> Row:
        mine, theirs = median(map(of, ours)), median(map(of, other))
        return Row(name=f"{name}: {what}", ours=mine, unit=unit, against="no constraints", other=theirs)

    return [
        row("need to ACCEPT", "ms", lambda each: each.ms),
        row("OFFERS and updates", "kB", lambda each: each.kb),
        row("of the processor", "ms", lambda each: each.processor_ms),
    ]


def run(quick: bool = False) -> list[Row]:
    """Five minutes; quick: 300 simulated agents, two launches."""
    if quick:
        with simulated(300) as master:
            return rows_of_needs("simulator, 300 agents", *asyncio.run(measure(master, 2, 200)))
    rows = []
    for agents in SIMULATED:
        with simulated(agents) as master:
            needs = asyncio.run(measure(master, LAUNCHES, 200))
        rows += rows_of_needs(f"simulator, {agents:,} agents", *needs)
    with real(REAL) as master:
        needs = asyncio.run(measure(master, LAUNCHES, REAL // 2))
    return rows + rows_of_needs(f"Apache Mesos, {REAL} agents", *needs)
