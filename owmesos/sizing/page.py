"""What came of the settings as one HTML page that needs no other file and asks nobody: tables and plots."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

import msgspec

from owmesos.sizing.summary import Summary

COLUMNS = (
    "setting",
    "wait, median",
    "wait, 99th percentile",
    "longest wait",
    "waits over a minute",
    "failed",
    "starts",
    "over-provisioned",
    "refused",
    "cold starts",
    "evictions",
    "memory used",
    "busy",
    "memory used, most",
)
_MEANINGS = {
    "Wait": "from an activation's arrival to the beginning of its run, /init included.",
    "Failed": "activations that found no container in time, or whose start failed.",
    "Over-provisioned": "starts that the cluster had no room for when they were decided, nor two seconds later.",
    "Refused": "starts that were taken back because the cluster had no room after all. Their activations wait again.",
    "Cold starts": "the share of the activations that needed a new container, or one that was not initialized yet.",
    "Memory used": "what our containers hold of all memory of the agents, over time; busy: with an activation in them.",
}
_FIGURES = {
    "memory": ("Memory", "What the agents have, and what our containers hold of it."),
    "waiting": ("Waiting activations", "How many wait for a container."),
    "waits": ("Waits", "From the left: the activations by how long they waited, both axes in powers of ten."),
}


@dataclass(frozen=True)
class About:
    """What was run: the name of the trace, the name of the cluster, sentences for the reader."""

    trace: str
    cluster: str
    sentences: Sequence[str] = ()


def html(about: About, summaries: Sequence[Summary]) -> str:
    """Every name in it is text: nothing of a file's is run."""
    folder = files("owmesos.dashboard") / "static" / "uplot"
    own = files("owmesos.sizing") / "static"
    styles = [(folder / "uPlot.min.css").read_text("utf-8"), (own / "page.css").read_text("utf-8")]
    scripts = [(folder / "uPlot.iife.min.js").read_text("utf-8"), (own / "page.js").read_text("utf-8")]
    # No script but these runs, and nothing is loaded. uPlot sets the style of its elements.
    policy = f"default-src 'none'; script-src {_hashes(scripts)}; style-src {_hashes(styles)}; base-uri 'none'"
    figures = "".join(
        f'<h2>{title}</h2><figure><figcaption>{caption}</figcaption><div id="{name}"></div></figure>'
        for name, (title, caption) in _FIGURES.items()
    )
    meanings = "".join(f"<dt>{word}</dt><dd>{meaning}</dd>" for word, meaning in _MEANINGS.items())
    said = "".join(f"<p>{escape(each)}</p>" for each in about.sentences)
    title = escape(f"{about.trace} on {about.cluster}")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>owmesos simulate: {title}</title>{''.join(f'<style>{each}</style>' for each in styles)}</head><body>"
        f'<h1>What would the cluster do?</h1><p class="quiet">{title}</p>{said}'
        f"{_table(summaries)}{figures}<h2>What is counted</h2><dl>{meanings}</dl>"
        f'<script type="application/json" id="data">{_data(summaries)}</script>'
        f"{''.join(f'<script>{each}</script>' for each in scripts)}</body></html>\n"
    )


def _hashes(texts: Sequence[str]) -> str:
    return " ".join(f"'sha256-{b64encode(hashlib.sha256(each.encode()).digest()).decode()}'" for each in texts)


def _table(summaries: Sequence[Summary]) -> str:
    head = "".join(f"<th scope=col>{each}</th>" for each in COLUMNS)
    body = "".join(f"<tr>{''.join(map(_cell, COLUMNS, cells(each)))}</tr>" for each in summaries)
    return f'<div class="scroll"><table class="runs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cell(column: str, text: str) -> str:
    bad = column in ("over-provisioned", "failed") and text != "0"
    return f"<td{' class=bad' if bad else ''}>{escape(text)}</td>"


def cells(run: Summary) -> tuple[str, ...]:
    """In the order of `COLUMNS`."""
    return (
        run.setting,
        f"{run.median:.2f} s",
        f"{run.p99:.1f} s",
        f"{run.longest:.1f} s",
        f"{run.long_waits:,}",
        f"{run.failed:,}",
        f"{run.starts:,}",
        f"{run.overprovisioned:,}",
        f"{run.refused:,}",
        f"{run.cold:.1%}",
        f"{run.evictions:,}",
        f"{run.held:.1%}",
        f"{run.busy:.1%}",
        f"{run.peak / 1024:.1f} GB",
    )


def _data(summaries: Sequence[Summary]) -> str:
    """JSON for page.js. All settings were sampled at the same times, on the same machines."""
    points = min(len(each.samples) for each in summaries)
    first = summaries[0].samples[:points]
    document = {
        "at": [round(sample.at, 1) for sample in first],
        "total": [sample.total for sample in first],
        "foreign": [sample.foreign for sample in first],
        "shares": [n / 1000 for n in range(1, 1000)],
        "settings": [
            {
                "name": each.setting,
                "held": [sample.held for sample in each.samples[:points]],
                "waiting": [sample.waiting for sample in each.samples[:points]],
                "waits": each.quantiles,
            }
            for each in summaries
        ],
    }
    return msgspec.json.encode(document).decode().replace("<", "\\u003c")
