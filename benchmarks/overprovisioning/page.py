"""The report as one HTML page that needs no other file, and as a section of the docs."""

from __future__ import annotations

import base64
from pathlib import Path

from benchmarks.overprovisioning import pictures, table
from owmesos.sizing.summary import Summary

CAPTIONS = {
    "counts.png": "Starts that the cluster could not place, and activations that waited over a minute.",
    "latencies.png": "How long activations waited; the line is a minute.",
    "memory.png": "What the cluster had, and what was held of it.",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
div { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th { vertical-align: bottom; white-space: normal; } td:first-child, th:first-child { text-align: left; }
figure { margin: 2rem 0; } img { max-width: 100%; } figcaption { color: #555; }
"""


def seeds_line(summaries: list[Summary]) -> str:
    """Which seeds were used."""
    seeds = {each.seed: each.neighbour for each in summaries}
    named = ", ".join(f"{seed}{' *' if neighbour else ''}" for seed, neighbour in seeds.items())
    return f"Seeds {named}; with * a second framework takes and frees room."


def html(summaries: list[Summary], drawn: dict[str, bytes], taken_on: str) -> str:
    figures = "".join(
        f'<figure><img alt="{CAPTIONS[name]}" src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{CAPTIONS[name]}</figcaption></figure>"
        for name, data in drawn.items()
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Over-provisioning, measured</title>'
        f"<style>{_STYLE}</style></head><body><h1>Over-provisioning, measured</h1>"
        f"<p>{seeds_line(summaries)} {taken_on}</p><h2>By setting, all seeds together</h2>"
        f"{table.html(table.by_setting(summaries))}{figures}<h2>By run</h2>{table.html(table.by_run(summaries))}"
        "</body></html>\n"
    )


def section(summaries: list[Summary], folder: str, taken_on: str) -> str:
    """Between its markers in the docs; pictures are in `folder` beside the document."""
    shown = "\n\n".join(f"![{caption}]({folder}/{name})" for name, caption in CAPTIONS.items())
    return "\n\n".join(
        [
            "<!-- begin overprovisioning -->",
            table.markdown(table.by_setting(summaries)),
            f"{seeds_line(summaries)} Counts are sums over the seeds, the rest are means of the runs. {taken_on}",
            shown,
            "Every run:",
            table.markdown(table.by_run(summaries)),
            "<!-- end overprovisioning -->",
        ]
    )


def write(summaries: list[Summary], document: Path, taken_on: str) -> str:
    """Writes the pictures and the page into the folder that has the document's name; the document's new section."""
    folder = document.with_suffix("")
    folder.mkdir(exist_ok=True)
    drawn = pictures.draw(summaries)
    for name, data in drawn.items():
        (folder / name).write_bytes(data)
    (folder / "report.html").write_text(html(summaries, drawn, taken_on), encoding="utf-8")
    return section(summaries, folder.name, taken_on)
