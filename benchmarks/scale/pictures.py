"""What the page shows as pictures, by matplotlib."""

from __future__ import annotations

import io
from typing import Any

from benchmarks.row import number

_COLOURS = ("#053061", "#2166ac", "#4393c3", "#b2182b", "#ef8a62", "#555555")
_TITLES = {
    "agents": "agents known",
    "containers": "containers, one on each agent",
    "launches": "launches that wait",
}


def costs(points: list[tuple[str, str, float, str]]) -> bytes:
    """A panel for each of agents, containers and launches, and one for memory; a PNG. `points`: cost, size, value,
    unit."""
    figure = _figure(11, 6.4)
    panels = figure.subplots(2, 2).flatten()
    for panel, of in zip(panels, _TITLES, strict=False):
        _panel(panel, [each for each in points if each[0].endswith(f"({of})") and each[3] != "MB"], _TITLES[of])
        panel.set_ylabel("µs")
    _panel(panels[-1], [each for each in points if each[3] == "MB"], _TITLES["agents"])
    panels[-1].set_ylabel("MB")
    return _png(figure)


def bars(panels: dict[str, dict[str, float]]) -> bytes:
    """A panel for each title, with a bar for each name; a PNG."""
    figure = _figure(11, 2.8)
    for axes, (title, values) in zip(figure.subplots(1, len(panels), sharey=True), panels.items(), strict=True):
        bars_of = axes.barh(list(values), list(values.values()), color=_COLOURS[1])
        axes.bar_label(bars_of, fmt=lambda value: f" {number(value)}", fontsize=8)
        axes.set_title(title, fontsize=10)
        axes.margins(x=0.2)
    axes.invert_yaxis()
    return _png(figure)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: Any) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=80, metadata={"Software": None})
    return file.getvalue()


def _panel(axes: Any, points: list[tuple[str, str, float, str]], title: str) -> None:
    for name, colour in zip(dict.fromkeys(cost for cost, *_ in points), _COLOURS, strict=False):
        mine = [(int(size.replace(",", "")), value, unit) for cost, size, value, unit in points if cost == name]
        values = [value * 1e6 if unit == "s" else value for _, value, unit in mine]
        label = name.rpartition(" (")[0]
        axes.plot([size for size, *_ in mine], values, marker="o", color=colour, label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(title)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
