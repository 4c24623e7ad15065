"""`owmesos doctor`: whether `owmesos run` can work here with its settings, and what to do if not."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from owmesos.cli.columns import Column, Listing
from owmesos.cli.connection import credentials_allowed
from owmesos.cli.findings import Finding, findings
from owmesos.cli.high_availability import check_ha
from owmesos.cli.kubernetes import reject_options_of_others
from owmesos.cli.options import with_options
from owmesos.cli.output import Output, show
from owmesos.cli.run import RunOptions
from owmesos.cli.state_places import place_of_state
from owmesos.cli.status import print_for_people
from owmesos.cli.text import visible
from owmesos.documents import CheckDocument

if TYPE_CHECKING:
    from rich.console import RenderableType

_STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}
CHECKS = Listing(
    CheckDocument,
    "nothing was checked",
    Column("CHECK", lambda row: str(row["check"])),
    Column("STATE", lambda row: str(row["state"])),
    Column("MESSAGE", lambda row: str(row["message"]), long=True),
)


@click.command()
@with_options
def doctor(*, options: RunOptions, output: Output = "table") -> None:
    """Check everything that `owmesos run` needs.

    It takes the same settings, and says how to fix what is wrong.

    It changes nothing. The exit code is 1 if a check fails.
    """
    from owmesos.cli import machine_checks, server_checks
    from owmesos.mesos.wire.address import parse_master
    from owmesos.service.local_master import LOCAL

    reject_options_of_others(options.cluster)
    check_ha(options)
    if options.cluster == "mesos" and options.mesos_master != LOCAL:
        parse_master(options.mesos_master, credentials_allowed=credentials_allowed())
    place_of_state(options.state, options.name)
    logging.getLogger("owmesos").addHandler(logging.NullHandler())  # the findings contain what would be logged
    found = findings([*machine_checks.checks(options), *server_checks.checks(options)])
    show_findings(found, output)


def show_findings(found: Sequence[Finding], output: str) -> None:
    """Ends the command with exit code 1 if a check failed."""
    if output == "table":
        print_for_people(_report(found))
    else:
        show([each._asdict() for each in found], CHECKS, output)
    if any(each.state == "fail" for each in found):
        raise click.exceptions.Exit(1)


def _report(found: Sequence[Finding]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for each in found:
        text = Text(visible(" ".join(each.message.split())))
        if each.mend is not None and each.state != "ok":
            text.append(f"\n→ {visible(each.mend)}", "bold")
        table.add_row(Text(each.state, _STYLES[each.state]), each.check, text)
    return table
