"""The claim of the project, measured: an invoker that asks the cluster against one with a fixed user-memory.

In virtual time on the simulator. The same workload and the same cluster, which loses and gains machines, in half the
runs with a second framework that takes and frees room: for a user-memory sized to the cluster at its start, for one
sized to the least that the cluster ever has, and for owmesos at several buffers. The load is such that the latter fixed
setting is just busy on average. All pools and schedulers are the same code. docs/overprovisioning.md has the tables.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

from benchmarks.overprovisioning import page
from benchmarks.overprovisioning.summaries import load, of_setting, save
from benchmarks.row import Row
from benchmarks.surroundings import Size, surroundings
from owmesos.sizing.summary import Summary, summarize
from owmesos.sizing.trial import Setting, Trial
from owmesos.sizing.workload import Load, activations, functions

SEEDS = (1, 2, 3, 4, 5, 6)  # even ones with a second framework
SECONDS = 1_800.0
QUICK_SECONDS = 60.0
QUICK = Size(start=4, least=2, most=5, pace=15.0)
"""A minute of computing. On the whole cluster most runs of the fixed settings wait, and each event looks at them."""
BUSY = 1.0  # of the least memory that the cluster ever has for us, on average
FEWER = 10.0
LONG_WAITS = 100
RESULTS = Path(__file__).parent.parent / "results" / "overprovisioning.json"
DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "overprovisioning.md"
SETTINGS = (
    Setting("fixed, start", "start"),
    Setting("fixed, least", "least"),
    Setting("owmesos, buffer 0 %"),
    Setting("owmesos, buffer 2.5 %", buffer=0.025),
    Setting("owmesos, buffer 5 %", buffer=0.05),
    Setting("owmesos, buffer 10 %", buffer=0.1),
)
_FIXED, _LEAST = SETTINGS[0].name, SETTINGS[1].name


def measure(
    seed: int, seconds: float, settings: tuple[Setting, ...] = SETTINGS, size: Size | None = None
) -> Iterator[Summary]:
    """One run of each setting on what this seed draws."""
    neighbour = seed % 2 == 0
    around = surroundings(size or Size(), seconds, seed, neighbour=neighbour)
    wanted = Load(seconds, BUSY * around.least_mb)
    of = functions(wanted, seed)
    drawn = activations(of, wanted, seed)
    for setting in settings:
        trial = Trial(setting, of, drawn, around, seed)
        outcome = trial.run(seconds)
        memory = setting.memory_on(around)
        yield summarize(outcome, setting=setting.name, seed=seed, neighbour=neighbour, user_memory=memory)


def run(quick: bool = False) -> list[Row]:
    """Quick: one seed for a virtual minute on a smaller cluster, no verdict on waits."""
    seeds, seconds, size = (SEEDS[:1], QUICK_SECONDS, QUICK) if quick else (SEEDS, SECONDS, Size())
    summaries = []
    for seed in seeds:
        for summary in measure(seed, seconds, size=size):
            gc.collect()
            summaries.append(summary)
    if not quick:
        save(RESULTS, summaries)
    return rows(summaries, judged=not quick)


def rows(summaries: list[Summary], *, judged: bool) -> list[Row]:
    fixed, least = of_setting(summaries, _FIXED), of_setting(summaries, _LEAST)
    fewest = min(each.long_waits for each in least)
    made = [
        Row(
            name=f"waits over a minute, {_LEAST}, the seed with the fewest",
            ours=fewest,
            unit="",
            target=f"{LONG_WAITS} or more",
            met=fewest >= LONG_WAITS if judged else None,
        )
    ]
    for setting in (each.name for each in SETTINGS if each.user_memory is None):
        made += _rows_of(setting, of_setting(summaries, setting), fixed, least, judged=judged)
    return made


def _rows_of(
    setting: str, ours: list[Summary], fixed: list[Summary], least: list[Summary], *, judged: bool
) -> list[Row]:
    over, waits = sum(each.overprovisioned for each in ours), sum(each.long_waits for each in ours)
    theirs = sum(each.long_waits for each in least)
    used, used_by_least = (sum(each.held for each in runs) / len(runs) for runs in (ours, least))
    return [
        Row(
            name=f"starts over-provisioned, {setting}",
            ours=over,
            unit="",
            against=_FIXED,
            other=sum(each.overprovisioned for each in fixed),
            target="0",
            met=over == 0,
        ),
        Row(
            name=f"waits over a minute, {setting}",
            ours=waits,
            unit="",
            against=_LEAST,
            other=theirs,
            target=f"{FEWER:g} times fewer",
            met=waits * FEWER <= theirs if judged else None,
        ),
        Row(
            name=f"memory used, {setting}",
            ours=100 * used,
            unit="%",
            against=_LEAST,
            other=100 * used_by_least,
            target="no less",
            met=all(mine.held >= other.held for mine, other in zip(ours, least, strict=True)) if judged else None,
        ),
    ]


def publish(taken_on: str) -> tuple[Path, str]:
    """The document that tells of the last run, and its new section; pictures and the page are written here."""
    return DOCUMENT, page.write(load(RESULTS), DOCUMENT, taken_on)
