"""`owmesos invoke`, which is `action invoke` too, and `activation`: runs of standalone mode's functions, with the names
and texts of `wsk`."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, TextIO
from urllib.parse import quote

import click

from owmesos.cli import completion
from owmesos.cli.client import AdminRequest, Document
from owmesos.cli.columns import ACTIVATIONS, short_ids
from owmesos.cli.connection import AdminAccess
from owmesos.cli.openwhisk import ActionName, ActionsClient, Name, Param, ParamFile, action, parameters, print_object
from owmesos.cli.options import Argument, Option, with_options
from owmesos.cli.output import Output, Wide, show, show_object
from owmesos.cli.text import visible
from owmesos.errors import InvalidInput, os_errors_as_invalid_input

PAGE = 200
"""Activations that are asked for at a time: as many as the admin API gives."""
TRACE_COLUMNS = ("at", "namespace", "action", "kind", "memory", "duration")
"""Those of `owmesos.sizing.trace_files`."""


def _invoke(
    *,
    name: Name,
    param: Param = (),
    param_file: ParamFile = None,
    blocking: Annotated[
        bool, Option("Wait up to 60 s for the result.", None, "--blocking/--no-blocking", "-b")
    ] = False,
    result: Annotated[bool, Option("Wait for the result and print only that.", None, "-r")] = False,
    admin: AdminAccess,
    output: Output = "table",
) -> None:
    """Run an action. With --blocking or --result the exit code is 1 if it failed, or still waits for a container.

    While it waits, stderr says why.
    """
    client = ActionsClient(admin)
    document = client.invoke(name, parameters(param, param_file), blocking=blocking or result, waits=_waits)
    ran, activation_id = document.get("response"), document["activationId"]
    if ran is None:
        pending = ", but the request has not yet finished," if blocking or result else ""
        line = f"ok: invoked /_/{name}{pending} with id {activation_id}"
        if output == "table":
            click.echo(line)
        else:
            print_object(document, output, line)
        return
    failed = not ran["success"]
    if result:
        show_object(ran["result"], "yaml" if output == "yaml" else "json")
    else:
        what = f"failed: {ran['status']}: " if failed else "ok: "
        print_object(document, output, f"{what}invoked /_/{name} with id {activation_id}")
    if failed:
        raise click.exceptions.Exit(1)


invoke = click.command(name="invoke")(with_options(_invoke))
action.command(name="invoke")(with_options(_invoke))  # as in `wsk`


def _waits(activation_id: str, why: str) -> None:
    command = click.get_current_context().command_path
    click.echo(visible(f"{command}: activation {activation_id} waits: {short_ids(why)}"), err=True)


@click.group()
def activation() -> None:
    """Show invocations, cancel and export them. Needs `owmesos run --standalone`."""


@dataclass(frozen=True)
class ActivationChoice:
    """Which activation is meant."""

    activation_id: Annotated[str | None, Argument("[ID]", shell_complete=completion.activations)] = None
    last: Annotated[bool, Option("Use the activation that ended last.", None, "-l")] = False

    def document(self, admin: AdminAccess, part: str = "") -> Document:
        """Its record, or a part of it. Raises InvalidInput."""
        client = ActionsClient(admin)
        found: Document = client.get(f"activations/{quote(self.chosen(client), safe='')}{part}")
        return found

    def chosen(self, client: ActionsClient) -> str:
        """Its id. Raises InvalidInput if neither or both are given."""
        if (self.activation_id is None) is not self.last:
            raise click.UsageError("give either the ID of an activation or --last", click.get_current_context())
        if self.activation_id is not None:
            return self.activation_id
        found = client.get("activations", limit=1)
        if not found:
            raise InvalidInput("no activation has ended yet")
        return str(found[0]["activationId"])


@activation.command(name="list")
@with_options
def list_activations(
    *,
    name: Annotated[str | None, Argument("[NAME]", type=ActionName(), shell_complete=completion.actions)] = None,
    limit: Annotated[int, Option("Most activations to show, at most 200.", None, "-l")] = 30,
    skip: Annotated[int, Option("Number of the latest activations to leave out.", None, "-s")] = 0,
    admin: AdminAccess,
    output: Output = "table",
    wide: Wide = False,
) -> None:
    """Show activations, the latest first.

    Those that wait or run come before those that have ended.

    With NAME, it shows only those of that action.
    """
    filters = {} if name is None else {"name": name}
    found = ActionsClient(admin).get("activations", limit=limit, skip=skip, unfinished=1, **filters)
    show(found, ACTIVATIONS, output, wide=wide)


@activation.command()
@with_options
def cancel(
    *,
    activation_id: Annotated[str, Argument("ID", shell_complete=completion.waiting_activations)],
    admin: AdminAccess,
    output: Output = "table",
) -> None:
    """End an activation that waits for a container. Its record says that it was cancelled."""
    path = f"activations/{quote(activation_id, safe='')}/cancel"
    document = ActionsClient(admin).ask(AdminRequest("POST", path, body={}))
    if output == "table":
        click.echo(f"ok: cancelled activation {document['activationId']}")
    else:
        show_object(document, output)


@activation.command(name="get")
@with_options
def get_activation(*, choice: ActivationChoice, admin: AdminAccess, output: Output = "table") -> None:
    """Show the whole record of an activation."""
    found = choice.document(admin)
    print_object(found, output, f"ok: got activation {found['activationId']}")


@activation.command()
@with_options
def logs(*, choice: ActivationChoice, admin: AdminAccess) -> None:
    """Print the log of an activation."""
    for line in choice.document(admin, "/logs")["logs"]:
        click.echo(line)


@activation.command()
@with_options
def result(*, choice: ActivationChoice, admin: AdminAccess) -> None:
    """Print the result of an activation as JSON."""
    show_object(choice.document(admin, "/result")["result"], "json")


@activation.command(name="export")
@with_options
def export_activations(
    *,
    file: Annotated[Path | None, Argument("[FILE]")] = None,
    name: Annotated[str | None, Option("Only activations of this action.", "NAME", type=ActionName())] = None,
    admin: AdminAccess,
) -> None:
    """Write activations as a trace for `owmesos simulate`.

    It says when they came and how long they ran, as CSV, in FILE or on stdout.

    The latest is first. Those that have not run have no duration, and are left out.
    """
    client = ActionsClient(admin)
    rows = _every_activation(client, name)
    first = next(rows, None)  # before FILE is touched: the framework may not answer
    if first is None:
        raise InvalidInput(f"no activation{'' if name is None else f' of {name}'} has ended yet")
    if file is None:
        _export(sys.stdout, first, rows)
        return
    with (
        os_errors_as_invalid_input(f"{file} cannot be written"),
        file.open("w", encoding="utf-8", newline="") as opened,
    ):
        _export(opened, first, rows)


def _every_activation(client: ActionsClient, name: str | None) -> Iterator[Document]:
    """Those that have ended, the latest first. While more end, pages overlap."""
    filters, seen = {} if name is None else {"name": name}, set[str]()
    skip = 0
    while page := client.get("activations", limit=PAGE, skip=skip, **filters):
        for each in page:
            if each["activationId"] not in seen:
                seen.add(each["activationId"])
                yield each
        skip += len(page)


def _export(file: TextIO, first: Document, rest: Iterator[Document]) -> None:
    writer, count, left_out = csv.writer(file, lineterminator="\n"), 0, 0
    writer.writerow(TRACE_COLUMNS)
    for each in chain((first,), rest):
        line = _trace_line(each)
        if line is None:
            left_out += 1
        else:
            count += 1
            writer.writerow(line)
    file.flush()
    more = f"; {left_out:,} that did not run {'is' if left_out == 1 else 'are'} left out" if left_out else ""
    click.echo(f"exported {count:,} activation{'' if count == 1 else 's'}{more}", err=True)


def _trace_line(row: Document) -> tuple[str, ...] | None:
    """In the order of `TRACE_COLUMNS`; None if it did not run. What its record calls its duration has /init in it."""
    noted = {each["key"]: each["value"] for each in row["annotations"]}
    if "limits" not in noted or row["duration"] is None:
        return None
    came = row["start"] - (noted.get("waitTime") or 0)
    ran = max(0, row["duration"] - (noted.get("initTime") or 0))
    memory = str(noted["limits"]["memory"])
    return (f"{came / 1000:.3f}", row["namespace"], row["name"], noted["kind"], memory, f"{ran / 1000:.3f}")
