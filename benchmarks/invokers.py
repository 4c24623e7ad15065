"""One, two and four invokers that share a cluster, on the same activations, in virtual time.

The cluster has ten machines of 8 GB, of which some leave and others come, six at least. The load is that of
`overprovisioning`, as much as those six can just do, for four virtual minutes by each of the seeds; the buffer is 5 %.
The actions are dealt out in four parts that want as much each; an invoker has one, two or all of them, as OpenWhisk's
Controller sends an action to its home invoker. So one invoker alone is what several are measured by. Each has a role of
its own (with one role for all, each start is the same); "limited" is with a quota that limits each role to its part of
the memory that the cluster begins with. "Late": the second of two begins half-way, when the first has had the cluster
to itself. "Over-provisioned" are starts that the cluster could not place when they were chosen; "chosen again" are
those whose room was offered to another meanwhile, or left with its machine. Fairness is Jain's index of the memory that
the invokers held on average: 1 if all held the same, 1/n if one held all.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.matrix import matrix
from benchmarks.row import Row
from benchmarks.scale import pictures
from benchmarks.surroundings import Size, surroundings
from owmesos.sizing.mesos_invoker import ChangingMesos, MesosInvoker
from owmesos.sizing.meter import Outcome
from owmesos.sizing.runs import Arrivals
from owmesos.sizing.surroundings import Change, Surroundings
from owmesos.sizing.trial import DRAIN, repeat
from owmesos.sizing.workload import TIMEOUT, DrawnFunction, Invocation, Load, activations, functions

SEEDS = (1, 3, 5)
SECONDS, QUICK_SECONDS = 240.0, 10.0
SIZE = Size()
PARTS = 4
BUFFER = 0.05
PAGE = Path(__file__).parent.parent / "docs" / "scale.md"
DRAWN = ("cold starts", "99th percentile of the wait", "memory held")
TITLE = "Several invokers on one cluster"


@dataclass(frozen=True)
class Setting:
    """Which parts of the actions each invoker has. `late`: the last begins half-way. `role`: of all, else one each."""

    name: str
    parts: tuple[tuple[int, ...], ...]
    limited: bool = False
    late: bool = False
    role: str | None = None


_TWO, _FOUR = ((0, 1), (2, 3)), ((0,), (1,), (2,), (3,))
SETTINGS = (
    Setting("1 invoker", ((0, 1, 2, 3),)),
    Setting("2 invokers", _TWO),
    Setting("2 invokers, limited", _TWO, limited=True),
    Setting("4 invokers", _FOUR),
    Setting("4 invokers, limited", _FOUR, limited=True),
    Setting("2 invokers, one late", _TWO, late=True),
    Setting("2 invokers, one late, limited", _TWO, late=True, limited=True),
)


@dataclass(frozen=True)
class Shared:
    """What was seen of all invokers together. Shares are of the machines' memory, times in seconds."""

    activations: int
    starts: int
    overprovisioned: int
    refused: int
    cold: float
    long_waits: int
    p99: float
    held: float
    fairness: float
    p99_of_each: tuple[float, ...]


class SharedCluster:
    """Invokers on one cluster that changes."""

    def __init__(self, around: Surroundings, seed: int) -> None:
        self._around = around
        self._invokers: list[MesosInvoker] = []
        self._mesos = ChangingMesos(around, seed)
        self._cluster = self._mesos.cluster

    def run(self, setting: Setting, of: list[DrawnFunction], drawn: list[Invocation], seconds: float) -> Shared:
        part_of = dealt(of, PARTS)
        arrivals: list[list[Invocation]] = []
        for number, parts in enumerate(setting.parts):
            role = setting.role or f"openwhisk{number}"
            if setting.limited:
                self._limit(role, self._around.start_mb // len(setting.parts))
            since = seconds / 2 if setting.late and number == len(setting.parts) - 1 else 0.0
            mine = [each for each in drawn if part_of[each.function] in parts and each.at >= since]
            arrivals.append([Invocation(each.at, n, each.function, each.duration) for n, each in enumerate(mine)])
            self._invokers.append(MesosInvoker(self._mesos, role, of, arrivals[-1], buffer=BUFFER, seed=number))
        self._cluster.run(10.0)
        agenda, start = self._cluster.world.agenda, self._cluster.now
        for change in self._around.changes:
            agenda.at(start + change.at, self._change, change)
        for invoker, invocations in zip(self._invokers, arrivals, strict=True):
            Arrivals(agenda, start, invocations, invoker.runs.arrive)
        repeat(agenda, 1.0, start + seconds, lambda: self._sample(self._cluster.now - start))
        self._cluster.run(seconds)
        ended = self._cluster.now + DRAIN + 2 * TIMEOUT
        self._cluster.run_until(ended, lambda: not any(each.runs.waiting for each in self._invokers))
        return summary([each.outcome for each in self._invokers])

    def _sample(self, at: float) -> None:
        for invoker in self._invokers:
            invoker.sample(at)

    def _limit(self, role: str, memory: int) -> None:
        quota = {"role": role, "limits": {"mem": {"value": float(memory)}}}
        body = {"type": "UPDATE_QUOTA", "update_quota": {"quota_configs": [quota]}}
        answer = self._cluster.world.operate("UPDATE_QUOTA", body)
        assert answer.status == 200, answer.text

    def _change(self, change: Change) -> None:
        self._mesos.change(change)
        for invoker in self._invokers:
            invoker.runs.break_off()


def dealt(of: Sequence[DrawnFunction], parts: int) -> list[int]:
    """The part of each function: the one that wants the least so far, those that want most first."""
    wanted = [0.0] * parts
    found = [0] * len(of)
    for index in sorted(range(len(of)), key=lambda index: -of[index].busy):
        found[index] = least = wanted.index(min(wanted))
        wanted[least] += of[index].busy
    return found


def jain(amounts: Sequence[float]) -> float:
    """Jain's index of fairness."""
    squares = sum(each * each for each in amounts)
    return sum(amounts) ** 2 / (len(amounts) * squares) if squares else 1.0


def summary(outcomes: Sequence[Outcome]) -> Shared:
    held = [each.share(lambda sample: sample.held) for each in outcomes]
    latencies = [latency for each in outcomes for latency in each.latencies]
    count = sum(each.activations for each in outcomes)
    return Shared(
        activations=count,
        starts=sum(each.starts for each in outcomes),
        overprovisioned=sum(each.overprovisioned for each in outcomes),
        refused=sum(each.refused for each in outcomes),
        cold=sum(each.cold for each in outcomes) / max(1, count),
        long_waits=sum(each.long_waits for each in outcomes),
        p99=percentile99(latencies),
        held=sum(held),
        fairness=jain(held),
        p99_of_each=tuple(percentile99(each.latencies) for each in outcomes),
    )


def percentile99(values: Sequence[float]) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[-1] if len(values) > 1 else 0.0


def measure(setting: Setting, seed: int, seconds: float, size: Size) -> Shared:
    """One run: the same cluster and activations for every setting."""
    around = surroundings(size, seconds, seed, neighbour=False)
    load = Load(seconds, float(around.least_mb))
    of = functions(load, seed)
    return SharedCluster(around, seed).run(setting, of, activations(of, load, seed), seconds)


def run(quick: bool = False) -> list[Row]:
    """Quick: one seed, ten virtual seconds."""
    seeds, seconds = (SEEDS[:1], QUICK_SECONDS) if quick else (SEEDS, SECONDS)
    rows: list[Row] = []
    alone: list[Shared] = []
    for setting in SETTINGS:
        found = []
        for seed in seeds:
            gc.collect()
            found.append(measure(setting, seed, seconds, SIZE))
        alone = alone or found
        rows += _rows(setting, found, alone)
    return rows


def table(rows: list[Row]) -> list[str]:
    """A line for each thing that was measured, a column for each setting."""
    return matrix("", rows, _parts)


def draw(rows: list[Row]) -> dict[str, bytes]:
    """The picture of the page, by the name of its file."""
    panels: dict[str, dict[str, float]] = {}
    for row in rows:
        what, setting = _parts(row)
        if what in DRAWN:
            panels.setdefault(f"{what}, {row.unit}", {})[setting] = row.ours
    return {"invokers.png": pictures.bars(panels)}


def _parts(row: Row) -> tuple[str, str]:
    setting, _, what = row.name.partition(": ")
    return what, setting


def _rows(setting: Setting, found: list[Shared], alone: list[Shared]) -> list[Row]:
    against = "" if found is alone or setting.late else SETTINGS[0].name

    def row(what: str, unit: str, of: Callable[[list[Shared]], float]) -> Row:
        other = of(alone) if against else None
        return Row(name=f"{setting.name}: {what}", ours=of(found), unit=unit, against=against, other=other)

    rows = [
        row("over-provisioned", "starts", lambda runs: sum(each.overprovisioned for each in runs)),
        row("chosen again", "% of starts", lambda runs: 100 * _ratio(runs, "refused", "starts")),
        row("cold starts", "%", lambda runs: 100 * statistics.mean(each.cold for each in runs)),
        row("99th percentile of the wait", "s", lambda runs: statistics.mean(each.p99 for each in runs)),
        row("waits over a minute", "", lambda runs: sum(each.long_waits for each in runs)),
        row("memory held", "%", lambda runs: 100 * statistics.mean(each.held for each in runs)),
    ]
    if setting.late:
        rows.append(
            row("99th percentile of the late one", "s", lambda runs: max(each.p99_of_each[-1] for each in runs))
        )
    elif len(setting.parts) > 1:
        rows += [
            Row(name=f"{setting.name}: fairness", ours=statistics.mean(each.fairness for each in found), unit="of 1"),
            Row(
                name=f"{setting.name}: 99th percentile of the worst invoker",
                ours=max(max(each.p99_of_each) for each in found),
                unit="s",
            ),
        ]
    return rows


def _ratio(runs: list[Shared], part: str, whole: str) -> float:
    parts, all_of = (sum(int(getattr(each, name)) for each in runs) for name in (part, whole))
    return parts / max(1, all_of)
