"""Runs the benchmarks and reports them: tables on the terminal, JSON for comparison, Markdown for the docs.

Each benchmark runs in a fresh process, so that none inherits the memory or the warm caches of another.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import multiprocessing
import pkgutil
import re
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from types import ModuleType

import click
from rich.console import Console
from rich.table import Table

import benchmarks
from benchmarks import machine
from benchmarks.row import Row, number

HERE = Path(__file__).parent
DOCUMENT = HERE.parent / "docs" / "benchmarks.md"
COLUMNS = ("what", "ours", "other", "against", "ratio", "target", "met")


@dataclass(frozen=True)
class Result:
    """One benchmark's table, and the text that explains it."""

    name: str
    text: str
    rows: list[Row]


def names() -> list[str]:
    """Every module of this folder that has a `run`."""
    found = [info.name for info in pkgutil.iter_modules(benchmarks.__path__)]
    return [name for name in found if name != "report" and hasattr(_module(name), "run")]


def measure(name: str, quick: bool) -> Result:
    """Runs one benchmark in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        rows = process.submit(_run, name, quick).result()
    return Result(name, inspect.getdoc(_module(name)) or "", rows)


def _run(name: str, quick: bool) -> list[Row]:
    rows: list[Row] = _module(name).run(quick)
    return rows


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"benchmarks.{name}")


def cells(row: Row) -> tuple[str, ...]:
    """A row as text, in the order of COLUMNS."""
    return (
        row.name,
        f"{number(row.ours)} {row.unit}",
        "" if row.other is None else f"{number(row.other)} {row.unit}",
        row.against,
        "" if row.ratio is None else number(row.ratio),
        row.target,
        "" if row.met is None else ("yes" if row.met else "**no**"),
    )


def show(result: Result, console: Console) -> None:
    """The table on a terminal."""
    table = Table(*COLUMNS, title=result.name, title_justify="left")
    for row in result.rows:
        table.add_row(*(cell.strip("*") for cell in cells(row)))
    console.print(table)


def markdown(result: Result, taken_on: str) -> str:
    """The section of one benchmark in the docs, between its markers."""
    known = importlib.util.find_spec(f"benchmarks.{result.name}") is not None
    module = _module(result.name) if known else None
    lines = [
        f"<!-- begin {result.name} -->",
        f"## {getattr(module, 'TITLE', result.name)}",
        "",
        result.text,
        "",
        *getattr(module, "table", table)(result.rows),
        "",
        taken_on,
        f"<!-- end {result.name} -->",
    ]
    return "\n".join(lines)


def table(rows: list[Row]) -> list[str]:
    """A line for each row."""
    return [
        "| " + " | ".join(COLUMNS) + " |",
        "|" + "---|" * len(COLUMNS),
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows),
    ]


def put(document: str, section: str, name: str) -> str:
    """`document` with the section of benchmark `name` replaced, or added at its end."""
    old = re.compile(rf"<!-- begin {name} -->.*?<!-- end {name} -->", re.DOTALL)
    if old.search(document):
        return old.sub(lambda _: section, document)
    return f"{document.rstrip()}\n\n{section}\n"


def write(document: Path, section: str, name: str) -> None:
    """The section of benchmark `name` into the file."""
    document.write_text(put(document.read_text(encoding="utf-8"), section, name), encoding="utf-8")


def document(result: Result, taken_on: str) -> None:
    """What was measured into the docs: onto the benchmark's own page if it has a `PAGE`, with what it draws."""
    module = _module(result.name)
    page: Path = getattr(module, "PAGE", DOCUMENT)
    write(page, markdown(result, taken_on), result.name)
    if hasattr(module, "draw"):
        for name, data in module.draw(result.rows).items():
            page.with_suffix("").mkdir(exist_ok=True)
            (page.with_suffix("") / name).write_bytes(data)
    if hasattr(module, "publish"):
        own_page, section = module.publish(taken_on)
        write(own_page, section, result.name)


def sentence(where: dict[str, str | int | float], when: datetime) -> str:
    """Where and when, for people."""
    return (
        f"Taken on {when:%Y-%m-%d} with {where['python']} on {where['cores']} cores of {where['cpu']}, "
        f"{where['memory_gb']} GB, {where['system']}; the load before it was {where['load']}."
    )


def write_json(results: Iterable[Result], where: dict[str, str | int | float], when: datetime) -> Path:
    """Everything measured, in benchmarks/results, for comparison with other days and machines."""
    path = HERE / "results" / f"{when:%Y-%m-%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    rows = {result.name: [asdict(row) | {"ratio": row.ratio} for row in result.rows] for result in results}
    document = {"when": when.isoformat(timespec="seconds"), "machine": where, "benchmarks": rows}
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return path


@click.command()
@click.argument("selected", metavar="[NAME]...", nargs=-1)
@click.option("--quick", is_flag=True, help="A few seconds each; says little, and goes into no document.")
@click.option("--docs", is_flag=True, help="Write the tables into docs/benchmarks.md, and reports of their own.")
def main(selected: tuple[str, ...], quick: bool, docs: bool) -> None:
    """Run all benchmarks, or those named. Exit code 1 if a target is not met."""
    known = names()
    if unknown := [name for name in selected if name not in known]:
        raise click.UsageError(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    if quick and docs:
        raise click.UsageError("a quick run does not belong in the docs")
    where, when = machine.describe(), datetime.now(timezone.utc)
    console = Console()
    results = []
    for name in selected or known:
        taken_on = sentence(machine.describe(), when)  # the load is another one each time
        results.append(measure(name, quick))
        show(results[-1], console)
        click.echo(taken_on)
        if docs:
            document(results[-1], taken_on)
    path = write_json(results, where, when).relative_to(HERE.parent)
    click.echo(f"Written to {path}.")
    sys.exit(any(row.met is False for result in results for row in result.rows))


if __name__ == "__main__":
    main()
