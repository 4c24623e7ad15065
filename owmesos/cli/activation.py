"""`owmesos activation`: what became of invocations, by the names and with the words of `wsk activation`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import quote

import click

from owmesos.cli.connection import admin_option
from owmesos.cli.documents import ACTIVATIONS
from owmesos.cli.openwhisk import ActionName, ActionsClient, print_object
from owmesos.cli.output import output_option, show, show_object
from owmesos.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])


@click.group()
def activation() -> None:
    """Show what became of invocations. Needs `owmesos run --standalone`."""


def _which(command: F) -> F:
    options = (
        click.argument("activation_id", metavar="[ID]", required=False),
        click.option("--last", "-l", is_flag=True, help="The last one that ended."),
        admin_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@activation.command(name="list")
@click.argument("name", type=ActionName(), metavar="[NAME]", required=False)
@click.option("--limit", "-l", type=int, default=30, show_default=True, help="How many; 200 at most.")
@click.option("--skip", "-s", type=int, default=0, show_default=True, help="How many of the last are left out.")
@admin_option
@output_option
def list_(name: str | None, limit: int, skip: int, admin: str, output: str) -> None:
    """Show the activations that have ended, the last first; of the action NAME alone, if it is given."""
    filters = {} if name is None else {"name": name}
    show(ActionsClient(admin).get("activations", limit=limit, skip=skip, **filters), ACTIVATIONS, output)


@activation.command()
@_which
@output_option
def get(activation_id: str | None, last: bool, admin: str, output: str) -> None:
    """Show an activation's whole record."""
    client = ActionsClient(admin)
    chosen = _chosen(client, activation_id, last=last)
    print_object(client.get(_path(chosen)), output, f"ok: got activation {chosen}")


@activation.command()
@_which
def logs(activation_id: str | None, last: bool, admin: str) -> None:
    """Print an activation's log."""
    client = ActionsClient(admin)
    for line in client.get(_path(_chosen(client, activation_id, last=last)) + "/logs")["logs"]:
        click.echo(line)


@activation.command()
@_which
def result(activation_id: str | None, last: bool, admin: str) -> None:
    """Print an activation's result, as JSON."""
    client = ActionsClient(admin)
    show_object(client.get(_path(_chosen(client, activation_id, last=last)) + "/result")["result"], "json")


def _chosen(client: ActionsClient, activation_id: str | None, *, last: bool) -> str:
    """Raises InvalidInput, where neither or both are given."""
    if (activation_id is None) is not last:
        raise InvalidInput("give either the ID of an activation or --last")
    if activation_id is not None:
        return activation_id
    found = client.get("activations", limit=1)
    if not found:
        raise InvalidInput("no activation has ended yet")
    return str(found[0]["activationId"])


def _path(activation_id: str) -> str:
    return f"activations/{quote(activation_id, safe='')}"
