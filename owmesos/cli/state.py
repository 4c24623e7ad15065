"""`owmesos state`: the state of a framework that does not run, from one place to another, and what is wrong with it."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Annotated

import click

from owmesos.cli.doctor import show_findings
from owmesos.cli.options import Argument, Option, not_empty, with_options
from owmesos.cli.output import Output
from owmesos.cli.state_places import StateOption, place_of_state, state_findings
from owmesos.errors import InvalidInput, os_errors_as_invalid_input
from owmesos.storage.store import StoreFailed
from owmesos.system.private_files import make_folder, write_private

Name = Annotated[str, Option("Name of the framework, for the default --state.", callback=not_empty)]


@click.group()
def state() -> None:
    """Export, import and check the state of `owmesos run`.

    It is in a folder or in ZooKeeper.
    """


@state.command(name="export")
@with_options
def export_state(
    *,
    file: Annotated[Path | None, Argument("[FILE]")] = None,
    state: StateOption = None,
    name: Name = "owmesos",
) -> None:
    """Write the state as lines of JSON to FILE, or to stdout. No framework may use it meanwhile.

    They hold what the launches hold, secrets in their environment included: FILE is only for you.
    """
    from owmesos.storage.places import exported

    lines = b"".join(line + b"\n" for line in exported(place_of_state(state, name)))
    if file is None:
        click.echo(lines.decode(), nl=False)
        return
    _write(file, lines.decode())


@state.command(name="import")
@with_options
def import_state(
    *,
    file: Annotated[Path | None, Argument("[FILE]")] = None,
    state: StateOption = None,
    name: Name = "owmesos",
) -> None:
    """Read an exported state into a place without one.

    It comes from FILE, or from stdin, and all of it is taken, or nothing.

    Start only one framework with it: another with the same framework ID would take its place at the master.
    """
    from owmesos.storage.places import imported

    with os_errors_as_invalid_input(f"{file} cannot be read"):
        data = file.read_bytes() if file is not None else sys.stdin.buffer.read()
    place = place_of_state(state, name)
    counts = imported(place, data)
    click.echo(f"imported {counts.framework_id or 'no framework'}, {counts.launches} launches into {place}")
    if counts.unreadable:
        click.echo(f"{len(counts.unreadable)} launches cannot be read and are set aside: see owmesos state check")


@state.command(name="check")
@with_options
def check_state(*, state: StateOption = None, name: Name = "owmesos", output: Output = "table") -> None:
    """Say what is in the state, and what of it cannot be read. It changes nothing, and a framework may use it.

    The exit code is 1 if something cannot be read.
    """
    from owmesos.cli.findings import Finding

    place = place_of_state(state, name)
    try:
        found = state_findings(place)
    except StoreFailed as error:
        found = (Finding("state", "fail", str(error)),)
    show_findings(found, output)


def _write(file: Path, text: str) -> None:
    """In a folder with any other uses, such as /tmp or /etc, which keeps its mode. Raises InvalidInput."""
    with os_errors_as_invalid_input(f"{file} cannot be written"):
        if os.path.lexists(file) and not stat.S_ISREG(file.lstat().st_mode):
            raise InvalidInput(f"{file} is not a regular file: give another, or none to write to stdout")
        make_folder(file.parent)
        write_private(file, text)
