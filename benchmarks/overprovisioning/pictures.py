"""The runs as pictures, by matplotlib."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from benchmarks.overprovisioning.summaries import of_setting
from benchmarks.overprovisioning.table import settings_of
from owmesos.sizing.summary import Summary

_COLOURS = ("#b2182b", "#ef8a62", "#053061", "#2166ac", "#4393c3", "#92c5de")
_GB = 1024


def draw(summaries: list[Summary]) -> dict[str, bytes]:
    """PNG files by name."""
    return {"counts.png": counts(summaries), "latencies.png": latencies(summaries), "memory.png": memory(summaries)}


def _figure(width: float, height: float, **layout: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**layout)


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
    return file.getvalue()


def counts(summaries: list[Summary]) -> bytes:
    """Over-provisioned starts and long waits: a dot for each run."""
    figure, (left, right) = _figure(11, 3.6, ncols=2, sharey=True)
    _dots(left, summaries, lambda run: run.overprovisioned, "starts over-provisioned, a dot for each seed")
    _dots(right, summaries, lambda run: run.long_waits, "activations that waited over a minute")
    left.invert_yaxis()
    return _png(figure)


def _dots(axes: Any, summaries: list[Summary], of: Callable[[Summary], int], title: str) -> None:
    names = settings_of(summaries)
    for place, (name, colour) in enumerate(zip(names, _COLOURS, strict=False)):
        values = [of(run) for run in of_setting(summaries, name)]
        axes.scatter(values, [place] * len(values), color=colour, alpha=0.75, zorder=3)
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlim(left=-0.3)
    axes.set_yticks(range(len(names)), names)
    axes.set_title(title, fontsize=10)
    axes.grid(axis="x", alpha=0.3)


def latencies(summaries: list[Summary]) -> bytes:
    """The share of activations that waited longer, all seeds together."""
    figure, axes = _figure(9, 4.2)
    for name, colour in zip(settings_of(summaries), _COLOURS, strict=False):
        values = sorted(value for run in of_setting(summaries, name) for value in run.quantiles)
        shares = [1 - place / len(values) for place in range(len(values))]
        axes.plot([max(value, 0.01) for value in values], shares, color=colour, label=name)
    axes.axvline(60, color="#888888", linewidth=0.8)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("seconds from arrival to /run")
    axes.set_ylabel("share of the activations that take longer")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return _png(figure)


def memory(summaries: list[Summary]) -> bytes:
    """One seed with a neighbour and one without: the cluster, and what the settings held of it."""
    chosen = [next((run.seed for run in summaries if run.neighbour is with_one), None) for with_one in (False, True)]
    seeds = [seed for seed in chosen if seed is not None]
    figure, rows = _figure(11, 3.2 * len(seeds), nrows=len(seeds), squeeze=False)
    for seed, (axes,) in zip(seeds, rows, strict=True):
        runs = [run for run in summaries if run.seed == seed]
        minutes = [sample.at / 60 for sample in runs[0].samples]
        theirs = [(sample.total - sample.foreign) / _GB for sample in runs[0].samples]
        total = [sample.total / _GB for sample in runs[0].samples]
        axes.fill_between(minutes, total, step="post", color="#dddddd", label="machines")
        axes.fill_between(minutes, theirs, total, step="post", color="#bbbbbb", label="second framework")
        for run in runs:
            if run.setting in ("fixed, start", "fixed, least", "owmesos, buffer 5 %"):
                colour = _COLOURS[settings_of(summaries).index(run.setting)]
                held = [sample.held / _GB for sample in run.samples]
                axes.plot(minutes, held, color=colour, label=run.setting)
        axes.set_title(f"memory held, seed {seed}", fontsize=10)
        axes.set_xlabel("minutes")
        axes.set_ylabel("GB")
        axes.legend(fontsize=7, loc="lower right", ncols=3)
    return _png(figure)
