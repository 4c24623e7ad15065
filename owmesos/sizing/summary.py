"""What is kept of a run: numbers, the shape of its latencies, and how it went over time."""

from __future__ import annotations

import statistics

import msgspec

from owmesos.sizing.meter import Outcome, Sample

_EVERY = 10


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run. Latencies in seconds; `held` and `busy` are shares of the machines' memory, weighted by time.

    `quantiles` are the 1st to the 999th thousandth of the latencies, `longest` is the last. `on_dead` is counted on
    Kubernetes only.
    """

    setting: str
    seed: int
    neighbour: bool
    user_memory: int | None
    activations: int
    starts: int
    overprovisioned: int
    refused: int
    failed_starts: int
    long_waits: int
    failed: int
    lost: int
    median: float
    p99: float
    held: float
    busy: float
    cold: float
    evictions: int
    quantiles: list[float]
    samples: list[Sample]
    on_dead: int = 0
    longest: float = 0.0
    peak: int = 0  # MB, the most that was held at once


def summarize(
    outcome: Outcome, *, setting: str, seed: int, neighbour: bool, user_memory: int | None, every: int = _EVERY
) -> Summary:
    """Of the samples one in `every` is kept."""
    latencies = outcome.latencies if len(outcome.latencies) > 1 else 2 * (outcome.latencies or [0.0])
    quantiles = statistics.quantiles(latencies, n=1000, method="inclusive")
    return Summary(
        setting=setting,
        seed=seed,
        neighbour=neighbour,
        user_memory=user_memory,
        activations=outcome.activations,
        starts=outcome.starts,
        overprovisioned=outcome.overprovisioned,
        on_dead=outcome.on_dead,
        refused=outcome.refused,
        failed_starts=outcome.failed_starts,
        long_waits=outcome.long_waits,
        failed=outcome.failed,
        lost=outcome.lost,
        median=quantiles[499],
        p99=quantiles[989],
        held=outcome.share(lambda sample: sample.held),
        busy=outcome.share(lambda sample: sample.busy),
        cold=outcome.cold / max(1, outcome.activations),
        evictions=outcome.evictions,
        quantiles=[round(value, 4) for value in quantiles],
        samples=outcome.samples[::every],
        longest=max(latencies),
        peak=max((sample.held for sample in outcome.samples), default=0),
    )
