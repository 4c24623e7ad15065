"""The claim of the project on Kubernetes: three invokers that watch the cluster against three with a user-memory.

In virtual time on the simulated Kubernetes, whose times were measured of a real one. The workload and the machines are
drawn as for `overprovisioning`, in half the runs with neighbours' pods that come and go. OpenWhisk's own way: a fixed
user-memory, shared out among the invokers; a pod is posted that may go anywhere, asked for each second, and given up
after a minute. docs/overprovisioning.md has the tables.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

from benchmarks.overprovisioning import page, table
from benchmarks.overprovisioning.kubernetes_trial import KubernetesTrial
from benchmarks.overprovisioning.summaries import load, of_setting, save
from benchmarks.row import Row
from benchmarks.surroundings import Size, surroundings
from owmesos.sizing.summary import Summary, summarize
from owmesos.sizing.trial import Setting
from owmesos.sizing.workload import Load, activations, functions

SEEDS = (1, 2, 3, 4, 5, 6)  # even ones with neighbours
SECONDS = 60.0
SIZE = Size(start=5, least=3, most=7, pace=10.0, foreign_mb=6_144)
SETTINGS = (
    Setting("OpenWhisk, start", "start"),
    Setting("OpenWhisk, least", "least"),
    Setting("owmesos, buffer 0 %"),
    Setting("owmesos, buffer 5 %", buffer=0.05),
)
NAME = "overprovisioning_kubernetes"
RESULTS = Path(__file__).parent / "results" / f"{NAME}.json"
DOCUMENT = Path(__file__).parent.parent / "docs" / "overprovisioning.md"


def measure(seed: int, seconds: float, settings: tuple[Setting, ...] = SETTINGS) -> Iterator[Summary]:
    """One run of each setting on what this seed draws."""
    neighbour = seed % 2 == 0
    around = surroundings(SIZE, seconds, seed, neighbour=neighbour)
    wanted = Load(seconds, around.least_mb)
    of = functions(wanted, seed)
    drawn = activations(of, wanted, seed)
    for setting in settings:
        outcome = KubernetesTrial(setting, of, drawn, around, seed).run(seconds)
        memory = setting.memory_on(around)
        yield summarize(outcome, setting=setting.name, seed=seed, neighbour=neighbour, user_memory=memory)


def run(quick: bool = False) -> list[Row]:
    """Some minutes; quick: two seeds for a third of the time."""
    seeds, seconds = (SEEDS[:2], 20.0) if quick else (SEEDS, SECONDS)
    summaries = []
    for seed in seeds:
        for summary in measure(seed, seconds):
            gc.collect()
            summaries.append(summary)
    if not quick:
        save(RESULTS, summaries)
    return rows(summaries)


def rows(summaries: list[Summary]) -> list[Row]:
    theirs = of_setting(summaries, SETTINGS[0].name)
    made = []
    for setting in (each.name for each in SETTINGS if each.user_memory is None):
        ours = of_setting(summaries, setting)
        over = sum(each.overprovisioned for each in ours)
        made.append(
            Row(
                name=f"starts over-provisioned, {setting}",
                ours=over,
                unit="",
                against=SETTINGS[0].name,
                other=sum(each.overprovisioned for each in theirs),
                target="0",
                met=over == 0,
            )
        )
        made.append(
            Row(
                name=f"activations failed, {setting}",
                ours=sum(each.failed for each in ours),
                unit="",
                against=SETTINGS[0].name,
                other=sum(each.failed for each in theirs),
            )
        )
    return made


def publish(taken_on: str) -> tuple[Path, str]:
    """The document that tells of the last run, and its new section."""
    summaries = load(RESULTS)
    parts = [
        f"<!-- begin {NAME} -->",
        table.markdown(table.by_setting(summaries, dead=True)),
        f"{page.seeds_line(summaries)} Counts are sums over the seeds, the rest are means of the runs. {taken_on}",
        "Every run:",
        table.markdown(table.by_run(summaries, dead=True)),
        f"<!-- end {NAME} -->",
    ]
    return DOCUMENT, "\n\n".join(parts)
