"""One soak, from the clusters' start to its report."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.standalone import Standalone
from owmesos.service.admin import AdminServer
from owmesos.service.admin_tokens import Tokens
from owmesos.service.framework import Framework
from owmesos.system.tasks import cancel_all
from soak.cluster import SoakCluster
from soak.load import Invoking, Launching
from soak.meter import Meter, memory, percentile, slope, tables

SHOW_EVERY = 10.0  # seconds
PATIENCE = 180.0  # seconds without any end, at the end: an agent's return, and KILL repeated
MOST_SLOPE = 0.3  # share of the memory that it may grow in the time that was measured: allocators keep some
PER_LAUNCH = 12  # entries that one table may have for each launch that is known, and for each agent
_SPARE = 2000


@dataclass(frozen=True)
class Plan:
    """Seconds, and how many a second. What comes in the first `warm_up` seconds is not measured."""

    seconds: float = 1200.0
    warm_up: float = 120.0
    agents: int = 2000
    launches: float = 200.0
    activations: float = 500.0
    seed: int = 1


@dataclass
class Report:
    """What was seen."""

    plan: Plan
    memory: list[tuple[float, float]] = field(default_factory=list)  # seconds and MB
    lags: list[float] = field(default_factory=list)  # seconds
    subscriptions: dict[str, int] = field(default_factory=dict)
    tables: dict[str, int] = field(default_factory=dict)
    known: int = 0  # launches, most at a time
    not_ended: list[str] = field(default_factory=list)
    forgotten: int = 0  # launches that ended, and of which nothing was known any more when that was looked at
    activations: tuple[int, int] = (0, 0)  # asked for and answered
    wrong: dict[str, int] = field(default_factory=dict)  # answers to activations that are none
    states: dict[str, int] = field(default_factory=dict)

    def faults(self) -> list[str]:
        """What no machine's slowness explains."""
        found = [f"{name} subscribed {count} times" for name, count in self.subscriptions.items() if count != 1]
        bound = PER_LAUNCH * (self.known + self.plan.agents) + _SPARE
        found += [f"{path} has {size} entries" for path, size in self.tables.items() if size > bound]
        if self.not_ended:
            found.append(f"{len(self.not_ended)} launches have not ended, such as {self.not_ended[0]}")
        if self.activations[0] != self.activations[1]:
            found.append(f"{self.activations[0] - self.activations[1]} activations have no answer")
        found += [f"{count} activations ended with {what}" for what, count in self.wrong.items()]
        grown = self.grown()
        if self.memory and grown > max(30.0, MOST_SLOPE * self.memory[0][1]):
            found.append(f"memory grew by {grown:.0f} MB of {self.memory[0][1]:.0f} MB")
        return found

    def grown(self) -> float:
        """MB, from the first fifth of the time to the last, each by its median."""
        fifth = len(self.memory) // 5
        if not fifth:
            return 0.0
        first, last = ([mb for _, mb in part] for part in (self.memory[:fifth], self.memory[-fifth:]))
        return statistics.median(last) - statistics.median(first)


_histories: dict[int, object] = {}
"""The histories, whose tables are measured too, by the id of their framework."""


@contextlib.asynccontextmanager
async def _served(framework: Framework, extension: Standalone | None = None) -> AsyncIterator[None]:
    """With the admin API and the history for the dashboard, as `owmesos run` has them."""
    async with framework:
        server = AdminServer("127.0.0.1", 0)
        try:
            if extension is not None:
                await extension.start(framework)
            await server.start(framework, Tokens(admin="admin", read="read"), extension)
            _histories[id(framework)] = server.events
            yield
        finally:
            _histories.pop(id(framework), None)
            await server.stop()
            if extension is not None:
                await extension.close()


async def soak(plan: Plan, folder: Path, show: Callable[[str], None]) -> Report:
    """`show` gets a line every few seconds, and those of the result."""
    report = Report(plan)
    with SoakCluster(plan.agents, seed=plan.seed) as large, SoakCluster(3, containers=True) as small:
        standalone = Standalone(folder, settings=PoolSettings(max_starts=50, max_starts_on_agent=50))
        launches = Framework(master=large.master, name="soak", state=folder / "launches", new_framework=True)
        invoker = Framework(
            master=small.master, name="invoker", state=folder / "invoker", new_framework=True, pool=standalone.pool
        )
        frameworks = {"launches": launches, "invoker": invoker}
        async with _served(launches), _served(invoker, standalone):
            launching = Launching(launches, plan.launches, plan.seed)
            invoking = Invoking(standalone, plan.activations)
            await invoking.deploy()
            meter = Meter(frameworks)
            tasks = [asyncio.ensure_future(each) for each in (meter.run(), launching.run())]
            answered = asyncio.ensure_future(invoking.run())
            large.start_faults()
            try:
                await _watch(plan, report, meter, launching, invoking, frameworks, tasks, show)
                report.memory, report.lags = list(meter.memory), list(meter.lags)
                await cancel_all(tasks[1:])
                invoking.stop()
                await answered
                counts = await asyncio.to_thread(large.stop_faults)
                report.not_ended = await launching.end(PATIENCE)
            finally:
                await cancel_all([*tasks, answered])
            report.subscriptions = dict(meter.subscriptions)
            report.states = dict(launching.ends)
            report.forgotten = launching.ends["forgotten"]
            report.activations, report.wrong = (invoking.asked, invoking.done), dict(invoking.failures)
            report.tables = _tables(frameworks)
            await launches.teardown()
    for line in _result(report, launching, counts):
        show(line)
    return report


def _tables(frameworks: dict[str, Framework]) -> dict[str, int]:
    found: dict[str, object] = {name: framework.shell for name, framework in frameworks.items()}
    found |= {f"{name}'s history": _histories[id(framework)] for name, framework in frameworks.items()}
    return tables(found)


async def _watch(
    plan: Plan,
    report: Report,
    meter: Meter,
    launching: Launching,
    invoking: Invoking,
    frameworks: dict[str, Framework],
    tasks: Sequence[asyncio.Future[None]],
    show: Callable[[str], None],
) -> None:
    show(f"{'s':>6} {'launches/s':>11} {'ends/s':>8} {'open':>6} {'warm/s':>7} {'MB':>6} {'lag p99':>9}  largest table")
    began = shown = time.monotonic()
    before, settled = (0, 0, 0), False
    while (now := time.monotonic()) - began < plan.seconds:
        await asyncio.sleep(min(SHOW_EVERY, plan.seconds / 10))
        for task in tasks:
            if task.done():
                task.result()
        seconds, shown = time.monotonic() - shown, time.monotonic()
        counts = (launching.asked, sum(launching.ends.values()), invoking.done)
        rates = [(new - old) / seconds for new, old in zip(counts, before, strict=True)]
        before = counts
        sizes = _tables(frameworks)
        path, size = max(sizes.items(), key=lambda each: each[1], default=("none", 0))
        report.known = max(report.known, len(frameworks["launches"].shell.scheduler.state.launches), launching.open)
        lag = f"{percentile(list(meter.lags), 0.99) * 1000:.0f} ms"
        show(
            f"{shown - began:6.0f} {rates[0]:11.1f} {rates[1]:8.1f} {launching.open:6} {rates[2]:7.1f} {memory():6.0f}"
            f" {lag:>9}  {path}: {size}"
        )
        if not settled and now - began >= plan.warm_up:
            meter.settled()
            settled = True


def _result(report: Report, launching: Launching, counts: dict[str, int]) -> list[str]:
    mb = [each for _, each in report.memory] or [0.0]
    ends = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    asked, answered = report.activations
    middle, late, most = (percentile(report.lags, share) * 1000 for share in (0.5, 0.99, 1.0))
    return [
        f"launches: {launching.asked} asked for, {launching.killed} killed; ends: {ends}",
        f"activations: {asked} asked for, {answered} answered, {report.wrong or 'all right'}",
        f"faults: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}",
        f"subscriptions: {', '.join(f'{name} {count}' for name, count in report.subscriptions.items())}",
        f"memory after warm-up: {mb[0]:.0f} to {mb[-1]:.0f} MB, {slope(report.memory):+.2f} a minute",
        f"event loop's lag: median {middle:.1f} ms, 99th percentile {late:.0f} ms, most {most:.0f} ms",
        f"largest tables: {', '.join(f'{path} {size}' for path, size in _largest(report.tables))}",
    ]


def _largest(sizes: dict[str, int], count: int = 6) -> list[tuple[str, int]]:
    return sorted(sizes.items(), key=lambda each: -each[1])[:count]
