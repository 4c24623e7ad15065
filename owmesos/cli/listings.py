"""The commands that show: nodes, offers, reservations, launches, containers, explain, story."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click

from owmesos.cli import documents
from owmesos.cli.connection import (
    MASTER_FORMS,
    MasterAccess,
    admin_client,
    admin_option,
    credentials_allowed,
    master_access_options,
)
from owmesos.cli.documents import Listing
from owmesos.cli.output import output_option, show, show_object, watch, watch_option

Rows = Callable[[], Sequence[documents.Document]]


@click.command()
@click.option("--master", metavar="M", help=f"Ask this master, with no framework: {MASTER_FORMS}.")
@master_access_options
@admin_option
@output_option
@watch_option
@click.pass_context
def nodes(
    ctx: click.Context,
    master: str | None,
    access: MasterAccess,
    admin: str,
    output: str,
    watch: bool,
) -> None:
    """Show what each agent has: available for us, used, reserved, kept free as buffer.

    CPUS and MEM (MB) are what is available of the agent's total; USED, RESERVED and BUFFER are cpus / MB. With --master
    the master itself is asked: then USED is what everyone has, and available is total - allocated - offered.
    """
    if master is None:
        client = admin_client(admin)
        _listing(lambda: client.listing("nodes"), documents.NODES, output, watch)
        return
    from owmesos.mesos.access import Access, Tls
    from owmesos.mesos.address import Credentials, parse_master
    from owmesos.service.inspection import nodes_of_master

    tls, secret = access.tls(), access.secret()
    masters = parse_master(master, credentials_allowed=credentials_allowed(ctx), tls=tls is not None)
    credentials = None if access.principal is None or secret is None else Credentials(access.principal, secret)
    connection = Access(credentials, tls or Tls())
    _listing(lambda: nodes_of_master(masters, connection), documents.NODES, output, watch)


@click.command()
@click.option("--outstanding", is_flag=True, help="Only those that are in hand.")
@admin_option
@output_option
@watch_option
def offers(outstanding: bool, admin: str, output: str, watch: bool) -> None:
    """Show the offers in hand, and the last one of every agent."""
    client = admin_client(admin)
    parameters = {"outstanding": "1"} if outstanding else {}
    _listing(lambda: client.listing("offers", **parameters), documents.OFFERS, output, watch)


@click.command()
@admin_option
@output_option
@watch_option
def reservations(admin: str, output: str, watch: bool) -> None:
    """Show what is promised: starts that do not run yet, stops whose room was not seen yet."""
    client = admin_client(admin)
    _listing(lambda: client.listing("reservations"), documents.RESERVATIONS, output, watch)


@click.command()
@admin_option
@output_option
@watch_option
def launches(admin: str, output: str, watch: bool) -> None:
    """Show all launches that live, and the last 1,000 that ended."""
    client = admin_client(admin)
    _listing(lambda: client.listing("launches"), documents.LAUNCHES, output, watch)


@click.command()
@admin_option
@output_option
@watch_option
def containers(admin: str, output: str, watch: bool) -> None:
    """Show the container pool: which action each container is for, and whether it is prewarmed, warm or busy."""
    client = admin_client(admin)
    _listing(lambda: client.listing("containers"), documents.CONTAINERS, output, watch)


@click.command()
@click.argument("name", metavar="ID")
@admin_option
@output_option
def explain(name: str, admin: str, output: str) -> None:
    """Say why a launch or an activation waits: how many agents lack what, and the nearest miss.

    ID is a launch's, a task's, a container's or an activation's.
    """
    document = admin_client(admin).explain(name)
    if output in ("json", "yaml"):
        show_object(document, output)
    elif output == "tsv":
        click.echo("\n".join(f"{key}\t{documents.cell(value)}" for key, value in document.items()))
    else:
        subject = document.get("launch_id") or document.get("activation_id")
        click.echo(f"{subject} is {document['state']}{_place(document.get('queue_position'))}")
        click.echo(document["summary"])


@click.command()
@click.argument("name", metavar="ID")
@admin_option
@output_option
def story(name: str, admin: str, output: str) -> None:
    """Tell all that happened to a launch. ID is a launch's, a task's or a container's."""
    document = admin_client(admin).story(name)
    if output in ("json", "yaml"):
        show_object(document, output)
    else:
        show(document["story"], documents.STORY, output)


def _place(position: int | None) -> str:
    if position is None:
        return ""
    return f", {position} before it in the queue" if position else ", at the head of the queue"


def _listing(rows: Rows, listing: Listing, output: str, watching: bool) -> None:
    if watching:
        watch(rows, listing, output)
    else:
        show(rows(), listing, output)
