"""One soak, from the clusters' start to its report."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from owmesos.service.framework import Framework
from owmesos.system.tasks import cancel_all
from soak.cluster import SoakCluster
from soak.invoking import Invoked, InvokerProcess
from soak.load import Launching
from soak.meter import Meter, Seen, memory, slope
from soak.served import served

SHOW_EVERY = 10.0  # seconds
PATIENCE = 180.0  # seconds without any end, at the end: an agent's return, and KILL repeated
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
    max_growth: float = 0.3  # share of a process's memory, while it is measured: allocators keep some


@dataclass
class Report:
    """What was seen."""

    plan: Plan
    seen: dict[str, Seen] = field(default_factory=dict)  # by process
    known: int = 0  # launches, most at a time
    not_ended: list[str] = field(default_factory=list)
    forgotten: int = 0  # launches that ended, and of which nothing was known any more when that was looked at
    activations: tuple[int, int] = (0, 0)  # asked for and answered
    wrong: dict[str, int] = field(default_factory=dict)  # answers to activations that are none
    states: dict[str, int] = field(default_factory=dict)

    @property
    def tables(self) -> dict[str, int]:
        return {path: size for seen in self.seen.values() for path, size in seen.tables.items()}

    def faults(self) -> list[str]:
        """What no machine's slowness explains."""
        times = {name: seen.subscriptions for name, seen in self.seen.items()}
        found = [f"{name} subscribed {count} times" for name, count in times.items() if count != 1]
        bound = PER_LAUNCH * (self.known + self.plan.agents) + _SPARE
        found += [f"{path} has {size} entries" for path, size in self.tables.items() if size > bound]
        if self.not_ended:
            found.append(f"{len(self.not_ended)} launches have not ended, such as {self.not_ended[0]}")
        if self.activations[0] != self.activations[1]:
            found.append(f"{self.activations[0] - self.activations[1]} activations have no answer")
        found += [f"{count} activations ended with {what}" for what, count in self.wrong.items()]
        for name, seen in self.seen.items():
            grew = grown(seen.memory)
            if seen.memory and grew > max(30.0, self.plan.max_growth * seen.memory[0][1]):
                found.append(f"memory of {name} grew by {grew:.0f} MB of {seen.memory[0][1]:.0f} MB")
        return found


def grown(points: Sequence[tuple[float, float]]) -> float:
    """MB, from the first fifth of the time to the last, each by its median. `points`: seconds and MB."""
    fifth = len(points) // 5
    if not fifth:
        return 0.0
    first, last = ([mb for _, mb in part] for part in (points[:fifth], points[-fifth:]))
    return statistics.median(last) - statistics.median(first)


async def soak(plan: Plan, folder: Path, show: Callable[[str], None]) -> Report:
    """`show` gets a line every few seconds, and those of the result."""
    report = Report(plan)
    with (
        SoakCluster(plan.agents, seed=plan.seed) as large,
        SoakCluster(3, containers=True) as small,
        InvokerProcess(small.master, folder, plan.activations) as invoker,
    ):
        launches = Framework(master=large.master, name="soak", state=folder / "launches", new_framework=True)
        async with served("launches", launches) as roots:
            launching, meter = Launching(launches, plan.launches, plan.seed), Meter(launches, roots)
            tasks = [asyncio.ensure_future(each) for each in (meter.run(), launching.run())]
            large.start_faults()
            try:
                await _watch(plan, report, meter, launching, invoker, tasks, show)
                report.seen["launches"] = meter.seen()
                invoked = await asyncio.to_thread(invoker.stop)
                await cancel_all(tasks[1:])
                counts = await asyncio.to_thread(large.stop_faults)
                report.not_ended = await launching.end(PATIENCE)
            finally:
                await cancel_all(tasks)
            report.states = dict(launching.ends)
            report.forgotten = launching.ends["forgotten"]
            report.activations, report.wrong = (invoked.asked, invoked.done), invoked.wrong
            report.seen = {"launches": _at_the_end(report.seen["launches"], meter), "invoker": invoked.seen}
            await launches.teardown()
    for line in _result(report, launching, counts):
        show(line)
    return report


def _at_the_end(watched: Seen, meter: Meter) -> Seen:
    """Memory and lags as they were under load, the rest after it."""
    after = meter.seen()
    watched.subscriptions, watched.tables = after.subscriptions, after.tables
    return watched


async def _watch(
    plan: Plan,
    report: Report,
    meter: Meter,
    launching: Launching,
    invoker: InvokerProcess,
    tasks: Sequence[asyncio.Future[None]],
    show: Callable[[str], None],
) -> None:
    show("two figures: of the launches' process and of the invoker's; the lag in ms")
    show(f"{'s':>6} {'launches/s':>11} {'ends/s':>8} {'open':>6} {'warm/s':>7} {'MB':>9} {'lag p99':>9}  largest table")
    began = shown = time.monotonic()
    before, settled = (0, 0, 0), False
    while (now := time.monotonic()) - began < plan.seconds:
        await asyncio.sleep(min(SHOW_EVERY, plan.seconds / 10))
        for task in tasks:
            if task.done():
                task.result()
        invoked = await asyncio.to_thread(invoker.look)
        seconds, shown = time.monotonic() - shown, time.monotonic()
        counts = (launching.asked, sum(launching.ends.values()), invoked.done)
        rates = [(new - old) / seconds for new, old in zip(counts, before, strict=True)]
        before = counts
        report.known = max(report.known, len(meter.framework.shell.scheduler.state.launches), launching.open)
        show(_line(shown - began, rates, launching, meter.seen(), invoked))
        if not settled and now - began >= plan.warm_up:
            meter.settled()
            await asyncio.to_thread(invoker.settle)
            settled = True


def _line(at: float, rates: Sequence[float], launching: Launching, seen: Seen, invoked: Invoked) -> str:
    path, size = max((seen.tables | invoked.seen.tables).items(), key=lambda each: each[1], default=("none", 0))
    mb = f"{memory():.0f}, {invoked.seen.memory[-1][1] if invoked.seen.memory else 0:.0f}"
    lag = f"{seen.lag_p99 * 1000:.0f}, {invoked.seen.lag_p99 * 1000:.0f}"
    counts = f"{rates[0]:11.1f} {rates[1]:8.1f} {launching.open:6} {rates[2]:7.1f}"
    return f"{at:6.0f} {counts} {mb:>9} {lag:>9}  {path}: {size}"


def _result(report: Report, launching: Launching, counts: dict[str, int]) -> list[str]:
    ends = ", ".join(f"{count} {state}" for state, count in sorted(report.states.items()))
    asked, answered = report.activations
    lines = [
        f"launches: {launching.asked} asked for, {launching.killed} killed; ends: {ends}",
        f"activations: {asked} asked for, {answered} answered, {report.wrong or 'all right'}",
        f"faults: {', '.join(f'{count} {name}' for name, count in sorted(counts.items()))}",
        f"subscriptions: {', '.join(f'{name} {seen.subscriptions}' for name, seen in report.seen.items())}",
    ]
    for name, seen in report.seen.items():
        mb = [each for _, each in seen.memory] or [0.0]
        lines.append(
            f"memory of {name} after warm-up: {mb[0]:.0f} to {mb[-1]:.0f} MB, {slope(seen.memory):+.2f} MB a minute"
        )
    for name, seen in report.seen.items():
        lines.append(
            f"event loop's lag of {name}: median {seen.lag_median * 1000:.1f} ms,"
            f" 99th percentile {seen.lag_p99 * 1000:.0f} ms, most {seen.lag_most * 1000:.0f} ms"
        )
    lines.append(f"largest tables: {', '.join(f'{path} {size}' for path, size in _largest(report.tables))}")
    return lines


def _largest(sizes: dict[str, int], count: int = 6) -> list[tuple[str, int]]:
    return sorted(sizes.items(), key=lambda each: -each[1])[:count]
