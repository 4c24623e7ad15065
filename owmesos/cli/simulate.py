"""`owmesos simulate`: what a trace would meet on a cluster, in virtual time, with several settings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import click

from owmesos.cli.columns import SIMULATIONS
from owmesos.cli.options import Option, with_options
from owmesos.cli.output import Output, show
from owmesos.documents import SimulationDocument
from owmesos.errors import InvalidInput, os_errors_as_invalid_input

if TYPE_CHECKING:
    from rich.progress import Progress

    from owmesos.sizing.comparison import Case
    from owmesos.sizing.summary import Summary
    from owmesos.sizing.surroundings import Surroundings
    from owmesos.sizing.trace import Trace
    from owmesos.sizing.trial import Setting

DEFAULT_SECONDS = 1_800.0  # of a drawn workload
LEAST_USER_MEMORY = 128  # MB
MOST_JOBS = 64
_MB = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class WorkOptions:
    """What is invoked."""

    trace: Annotated[Path | None, Option("CSV file with activations; or give --workload.", "F")] = None
    workload: Annotated[
        Literal["azure", "steady", "bursty"] | None,
        Option("Activations to draw: azure, as published of Azure Functions; steady, no bursts; bursty, only bursts."),
    ] = None
    skip: Annotated[float, Option("Seconds of the trace to leave out at its beginning.", "S", type=click.FLOAT)] = 0.0
    seconds: Annotated[float | None, Option("Seconds to simulate.  [default: the whole trace; 1800]", "S", "--for")] = (
        None
    )
    sample: Annotated[float, Option("Share of the trace's actions to take, above 0 up to 1.", "SHARE")] = 1.0
    memory: Annotated[int, Option("Memory of actions for which the trace has none.", "MB")] = 256
    load: Annotated[
        int | None,
        Option("Memory that a workload keeps busy on average.  [default: the least that the cluster has]", "MB"),
    ] = None
    seed: Annotated[int, Option("Seed of what is drawn.")] = 1

    def check(self) -> None:
        """Raises InvalidInput."""
        if (self.trace is None) is (self.workload is None):
            raise InvalidInput("give either --trace or --workload")
        if self.trace is None and (self.skip or self.sample < 1):
            raise InvalidInput("--skip and --sample need a --trace: give --for or --load to draw less")
        if self.trace is not None and self.load is not None:
            raise InvalidInput("--load needs a --workload: give --sample to take less of a trace")
        for name, value in (("--skip", self.skip), ("--for", self.seconds)):
            if (value is not None and not (0 <= value <= 1e9)) or (value == 0 and name == "--for"):
                raise InvalidInput(f"{name} {value:g} is not valid: write a number of seconds above 0")
        if not 0 < self.sample <= 1:
            raise InvalidInput(f"--sample {self.sample:g} is not valid: write a share above 0, up to 1")
        for name, mb in (("--memory", self.memory), ("--load", self.load)):
            if mb is not None and not 1 <= mb <= 2**30:
                raise InvalidInput(f"{name} {mb} is not valid: write a number of MB above 0")

    def work(self, around: Surroundings) -> Trace:
        """Raises InvalidInput."""
        from owmesos.sizing.trace import TracePart
        from owmesos.sizing.trace_files import read_trace

        if self.trace is None:
            return self._drawn(around)
        part = TracePart(self.skip, self.seconds, self.sample)
        with _progress() as progress:
            size = self.trace.stat().st_size if self.trace.is_file() else 0
            task = progress.add_task(f"reading {self.trace.name}", total=size * (2 if part.timed else 1))
            return read_trace(
                self.trace, part, memory=self.memory, seed=self.seed, on_read=lambda more: progress.advance(task, more)
            )

    def _drawn(self, around: Surroundings) -> Trace:
        from owmesos.sizing.trace import drawn

        busy = around.least_mb if self.load is None else self.load
        if busy <= 0:
            raise InvalidInput("the neighbour takes all memory that the cluster ever has: give --load")
        assert self.workload is not None
        return drawn(self.workload, self.seconds or DEFAULT_SECONDS, busy, self.seed)


@click.command()
@with_options
def simulate(
    *,
    work: WorkOptions,
    cluster: Annotated[Path, Option("YAML file with agents and changes.", "F")],
    buffer: Annotated[
        str, Option("Shares of each agent's memory to keep free, to compare; for the policy owmesos.", "SHARE,...")
    ] = "0.05",
    policy: Annotated[
        tuple[str, ...],
        Option(
            "Policy to simulate: owmesos, or fixed:MB for OpenWhisk's fixed user-memory. May be repeated.",
            "POLICY",
        ),
    ] = ("owmesos",),
    page: Annotated[Path, Option("HTML file to write, with tables and plots.", "FILE")] = Path("simulation.html"),
    jobs: Annotated[int, Option("Settings to run at the same time, each in a process.", "N")] = 2,
    output: Output = "table",
) -> None:
    """Run a trace on a simulated cluster, in virtual time.

    Writes the results as one HTML page.

    Each setting (a buffer of the policy owmesos, a user-memory) meets the same activations on the same agents.
    The least that the YAML file of the cluster has is `agents: [{count: 10, cpus: 8, mem: 8192}]`.
    """
    from owmesos.sizing.cluster_file import read_cluster
    from owmesos.sizing.comparison import Case
    from owmesos.sizing.page import About, html

    work.check()
    settings = _settings(policy, buffer)
    if not 1 <= jobs <= MOST_JOBS:
        raise InvalidInput(f"--jobs {jobs} is not valid: write a number from 1 to {MOST_JOBS}")
    _check_page(page)
    around = read_cluster(cluster)
    trace = work.work(around)
    case = Case(trace, around, work.seed)
    notes = [*trace.notes, *_doubts(case)]
    for note in notes:
        click.echo(f"owmesos simulate: {note}", err=True)
    summaries = _run(case, settings, jobs)
    name = work.trace.name if work.trace is not None else f"workload {work.workload}, seed {work.seed}"
    text = html(About(name, cluster.name, (_sizes(case), *notes)), summaries)
    with os_errors_as_invalid_input(f"{page} cannot be written"):
        page.write_text(text, encoding="utf-8", errors="replace")  # the name of a file may be any bytes
    show([_document(each) for each in summaries], SIMULATIONS, output)
    if output == "table":
        click.echo(f"written to {page}", err=True)


def _check_page(page: Path) -> None:
    """Before the work, not after it. Raises InvalidInput."""
    if page.exists() and not page.is_file():
        raise InvalidInput(f"{page} is not a regular file: give another --page")
    if not page.parent.is_dir():
        raise InvalidInput(f"{page} cannot be written: there is no folder {page.parent}")


def _settings(policies: Sequence[str], buffers: str) -> list[Setting]:
    """Each once, in the order given. Raises InvalidInput."""
    from owmesos.sizing.trial import Setting

    found: dict[str, Setting] = {}
    for policy in policies:
        kind, _, text = policy.partition(":")
        if policy == "owmesos":
            for share in map(_share, buffers.split(",")):
                name = f"owmesos, buffer {100 * share:g} %"
                found[name] = Setting(name, buffer=share)
        elif kind == "fixed" and _MB.fullmatch(text) and LEAST_USER_MEMORY <= int(text) <= 2**30:
            found[policy] = Setting(f"fixed, {int(text):,} MB", user_memory=int(text))
        else:
            raise InvalidInput(
                f"--policy {policy:.80} is not valid: write owmesos, or fixed:MB with at least {LEAST_USER_MEMORY} MB,"
                " such as fixed:8192"
            )
    return list(found.values())


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise InvalidInput(f"--buffer {text!r} is not valid: write shares from 0 to below 1, such as 0,0.05")
    return share


def _sizes(case: Case) -> str:
    trace, around = case.trace, case.around
    agents, neighbour = len(around.machines) - len(around.absent), ", and a neighbour" if around.foreign else ""
    work = f"{len(trace.invocations):,} activations of {len(trace.functions):,} actions in {trace.seconds:,.0f} s"
    room = f"{agents:,} agents with {around.start_mb / 1024:,.0f} GB at the start"
    return f"{work}; {room}, {len(around.changes):,} changes{neighbour}."


def _doubts(case: Case) -> Iterator[str]:
    """What is probably not as it was meant."""
    largest = max(machine.mem for machine in case.around.machines)
    too_large = sum(each.action.shape.memory > largest for each in case.trace.functions)
    if too_large:
        need = "1 action needs" if too_large == 1 else f"{too_large:,} actions need"
        yield f"{need} more memory than any agent has: those activations fail."
    late = sum(change.at > case.trace.seconds for change in case.around.changes)
    if late:
        changes = "1 change of the cluster comes" if late == 1 else f"{late:,} changes of the cluster come"
        yield f"{changes} after the end."


def _run(case: Case, settings: Sequence[Setting], jobs: int) -> list[Summary]:
    from owmesos.sizing.comparison import compare

    with _progress() as progress:
        tasks = {setting.name: progress.add_task(setting.name, total=1.0) for setting in settings}
        return compare(case, settings, jobs, lambda name, share: progress.update(tasks[name], completed=share))


@contextmanager
def _progress() -> Iterator[Progress]:
    """Bars on a terminal, nothing in a file."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    progress = Progress(*columns, console=console, transient=True)
    if not console.is_terminal:  # one that is started would end with an empty line
        yield progress
        return
    with progress:
        yield progress


def _document(run: Summary) -> SimulationDocument:
    return {
        "setting": run.setting,
        "user_memory": run.user_memory,
        "activations": run.activations,
        "wait_median_s": round(run.median, 3),
        "wait_p99_s": round(run.p99, 3),
        "wait_max_s": round(run.longest, 3),
        "long_waits": run.long_waits,
        "failed": run.failed,
        "lost": run.lost,
        "starts": run.starts,
        "overprovisioned": run.overprovisioned,
        "refused": run.refused,
        "failed_starts": run.failed_starts,
        "cold": round(run.cold, 6),
        "evictions": run.evictions,
        "memory_used": round(run.held, 6),
        "memory_busy": round(run.busy, 6),
        "memory_peak": run.peak,
    }
