"""From a launch asked for while suppressed to its ACCEPT sent, on real Apache Mesos 1.11.0 (three agents).

The whole way: the launch checked and stored, REVIVE, OFFERS, matched, its intent stored (SQLite, synchronous),
ACCEPT handed to the connection. Launches come one at a time, 1.2 s apart, each ended before the next, so that every
one finds the framework idle and suppressed. The other: the same scheduler, declining with Mesos's default filter of
5 s, never reviving and never suppressing; its launches come at random moments of that filter.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import owmesos
from benchmarks.row import Row
from owmesos.local.cluster import MesosCluster
from owmesos.mesos.messages import Accept, Call, Subscribe, Suppress
from owmesos.mesos.scheduler import scheduler as decisions
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.wire.address import Masters, parse_master
from owmesos.mesos.wire.detector import HostList
from owmesos.mesos.wire.http_driver import HttpDriver

LAUNCHES, WAITING_LAUNCHES = 200, 30
APART = 1.2
MEDIAN_MS, P99_MS = 10.0, 25.0


class NeverReviving(SuppressReviveHandler):
    """Waits for the master's own offers."""

    def run(self, now: float) -> None:
        pass


class TimedDriver(HttpDriver):
    """Notes when it is given an ACCEPT, when that is answered, and when it is suppressed."""

    accepted_at = 0.0
    answered_at = 0.0
    suppressed = asyncio.Event()

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        if isinstance(call, Accept):
            TimedDriver.accepted_at = time.perf_counter()
        await super().call(call, sending=sending)
        if isinstance(call, Accept):
            TimedDriver.answered_at = time.perf_counter()
            TimedDriver.suppressed.clear()
        elif isinstance(call, Suppress):
            TimedDriver.suppressed.set()


async def _measure(master: str, state: Path, launches: int, reviving: bool) -> list[tuple[float, float]]:
    """Milliseconds to ACCEPT, and to its answer, of each launch."""
    masters = parse_master(master, credentials_allowed=False)
    assert isinstance(masters, Masters)

    def driver(subscription: Subscribe) -> HttpDriver:
        return TimedDriver(HostList(masters.addresses), subscription)

    settings = owmesos.Settings() if reviving else owmesos.Settings(refuse_seconds=5.0)
    TimedDriver.suppressed = asyncio.Event()
    times = []
    chance = random.Random(1)
    async with owmesos.Framework(
        master=master, name="latency", state=state, settings=settings, driver=driver
    ) as framework:
        if reviving:
            await TimedDriver.suppressed.wait()
        for _ in range(launches):
            await asyncio.sleep(APART if reviving else chance.uniform(0.5, 6.5))
            begun = time.perf_counter()
            launch = await framework.launch(owmesos.Launch(command="true", cpus=0.1, mem=32))
            await launch.ended()
            times.append(((TimedDriver.accepted_at - begun) * 1000, (TimedDriver.answered_at - begun) * 1000))
            if reviving:
                await TimedDriver.suppressed.wait()
        await framework.teardown()
    return times


def _percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def run(quick: bool = False) -> list[Row]:
    launches, waiting = (8, 3) if quick else (LAUNCHES, WAITING_LAUNCHES)
    with tempfile.TemporaryDirectory() as folder, MesosCluster(Path(folder) / "mesos", master_port=17050) as cluster:
        ours = asyncio.run(_measure(cluster.master, Path(folder) / "ours", launches, True))
        decisions.SuppressReviveHandler = NeverReviving  # type: ignore[attr-defined]
        try:
            other = asyncio.run(_measure(cluster.master, Path(folder) / "other", waiting, False))
        finally:
            decisions.SuppressReviveHandler = SuppressReviveHandler  # type: ignore[attr-defined]
    accepted, answered = ([pair[i] for pair in ours] for i in (0, 1))
    waited = [pair[0] for pair in other]
    against = "5 s filter, never reviving"
    median, p99 = statistics.median(accepted), _percentile(accepted, 0.99)
    return [
        Row(
            name=f"launch to ACCEPT sent, median of {launches}",
            ours=median,
            unit="ms",
            against=against,
            other=statistics.median(waited),
            target=f"{MEDIAN_MS:g} ms",
            met=None if quick else median <= MEDIAN_MS,
        ),
        Row(
            name="launch to ACCEPT sent, 99th percentile",
            ours=p99,
            unit="ms",
            against=against,
            other=_percentile(waited, 0.99),
            target=f"{P99_MS:g} ms",
            met=None if quick else p99 <= P99_MS,
        ),
        Row(name="launch to ACCEPT answered (202), median", ours=statistics.median(answered), unit="ms"),
    ]
