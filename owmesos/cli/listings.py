"""The commands that show: nodes, offers, reservations, launches, containers, invoker, explain, story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, get_args
from urllib.parse import quote

import click

from owmesos.cli import columns, completion
from owmesos.cli.client import AdminClient, RequestFailed, UnknownPath
from owmesos.cli.columns import Listing
from owmesos.cli.connection import MASTER_FORMS, AdminAccess, MasterAccess, admin_client, credentials_allowed
from owmesos.cli.options import Argument, Option, with_options
from owmesos.cli.output import Output, Watch, Wide, show, show_object, watch
from owmesos.cli.status import REFUSES
from owmesos.cli.table import window_of_stdout
from owmesos.cli.text import log_named, visible, wrapped
from owmesos.documents import LaunchState

SERVERS = {"mesos": "a master", "kubernetes": "the API server"}
"""What answers for the cluster, by its manager."""
AnyId = Annotated[str, Argument("ID", shell_complete=completion.launches_and_activations)]


@dataclass(frozen=True)
class Shown:
    """Where a listing comes from, and how it is shown."""

    admin: AdminAccess
    output: Output = "table"
    watch: Watch = False
    wide: Wide = False

    def of_framework(
        self, path: str, listing: Listing, parameters: Mapping[str, str] = {}, *, latest_first: bool = False
    ) -> None:
        client = admin_client(self.admin)

        def rows() -> Sequence[columns.Document]:
            get = client.watched if self.watch else client.get
            found: list[columns.Document] = get(path, **parameters)
            if latest_first:
                found.reverse()
            if not found and self.output == "table" and not self.watch:
                self._say_if_disconnected(client)
            return found

        self.rows(rows, listing)

    @staticmethod
    def _say_if_disconnected(client: AdminClient) -> None:
        cluster = client.get("status")["cluster"]
        if not cluster["connected"]:
            click.echo(
                f"not connected to {SERVERS[cluster['manager']]} since {cluster['since']}: {cluster['reason']}",
                err=True,
            )
        elif cluster.get("silent_since"):
            click.echo(f"the master has been silent since {cluster['silent_since']}", err=True)

    def rows(self, rows: Callable[[], Sequence[columns.Document]], listing: Listing) -> None:
        if self.watch:
            watch(rows, listing, self.output, wide=self.wide)
        else:
            show(rows(), listing, self.output, wide=self.wide)


@click.command()
@with_options
def nodes(
    *,
    master: Annotated[str | None, Option(f"Ask this master instead of a framework: {MASTER_FORMS}.", "M")] = None,
    access: MasterAccess,
    shown: Shown,
) -> None:
    """Show what each node has: available, used, reserved, buffer.

    CPUS and MEM (MB) are "available of total"; USED, RESERVED and BUFFER, which is kept free, are CPUs / MB. With
    --master, USED counts all frameworks, and available is total - allocated - offered.

    STATE `fresh` has offers in hand. `known` is normal while nothing waits (programs read `stale`): the room is as it
    was last offered, and SEEN says when.
    """
    if master is None:
        shown.of_framework("nodes", columns.NODES)
        return
    from owmesos.mesos.wire.address import parse_master
    from owmesos.service.inspection import nodes_of_master

    connection = access.to_master()
    masters = parse_master(master, credentials_allowed=credentials_allowed(), tls=connection.uses_tls)
    shown.rows(lambda: nodes_of_master(masters, connection), columns.NODES)


@click.command()
@with_options
def offers(*, outstanding: Annotated[bool, Option("Show only offers in hand.")] = False, shown: Shown) -> None:
    """Show the offers in hand and the last one of every agent."""
    shown.of_framework("offers", columns.OFFERS, {"outstanding": "1"} if outstanding else {})


@click.command()
@with_options
def reservations(*, shown: Shown) -> None:
    """Show what is reserved, and for what.

    These are starts that do not run yet, and stops whose room was not offered yet.
    """
    shown.of_framework("reservations", columns.RESERVATIONS)


@click.command()
@with_options
def launches(
    *,
    unreadable: Annotated[bool, Option("Show the stored launches that cannot be read and are set aside.")] = False,
    state: Annotated[
        str | None,
        Option("Show only launches in this state.", type=click.Choice(get_args(LaunchState), case_sensitive=False)),
    ] = None,
    name: Annotated[
        str | None, Option("Show only launches of this name.", "S", shell_complete=completion.launch_names)
    ] = None,
    limit: Annotated[int | None, Option("Most launches to show.", "N", "-l", type=click.IntRange(1))] = None,
    shown: Shown,
) -> None:
    """Show launches, the latest first.

    These are all that have not ended, and the last 1,000 that have.
    """
    choice = {"state": state, "name": name, "limit": limit}
    given = {key: str(value) for key, value in choice.items() if value is not None}
    if unreadable:
        if given:
            raise click.UsageError(f"give either --unreadable or --{next(iter(given))}")
        shown.of_framework("unreadable", columns.UNREADABLE)
    else:
        chosen = columns.LAUNCHES.saying("no launch matches") if state or name else columns.LAUNCHES
        shown.of_framework("launches", chosen, given, latest_first=True)


@click.command()
@with_options
def containers(*, shown: Shown) -> None:
    """Show the container pool.

    It shows the action of each container, and whether it is prewarmed, warm or busy.
    """
    shown.of_framework("containers", columns.CONTAINERS)


@click.command()
@with_options
def invoker(*, admin: AdminAccess, output: Output = "table") -> None:
    """Show the invoker of `run --kafka`.

    It shows whether the invoker accepts activations, how many it holds, and the state of Kafka and CouchDB.
    """
    try:
        document = admin_client(admin).get("invoker")
    except UnknownPath:
        raise RequestFailed("this framework is not an invoker for OpenWhisk: it runs without --kafka") from None
    servers = [{"server": name, **document[name]} for name in ("kafka", "couchdb")]
    if output in ("json", "yaml"):
        show_object(document, output)
        return
    if output == "table":
        why = document["refuses"]
        accepts = "accepts activations" if why is None else f"accepts no activations: {REFUSES.get(why, why)}"
        click.echo(
            f"{document['invoker']} {accepts}; {document['held']} held; records: "
            f"{document['records_waiting']} waiting, {document['records_written']} written, "
            f"{document['records_dropped']} dropped"
        )
    show(servers, columns.SERVERS, output)


@click.command()
@with_options
def explain(*, name: AnyId, admin: AdminAccess, output: Output = "table", wide: Wide = False) -> None:
    """Explain why a launch or an activation waits.

    It says how many nodes lack what, and which comes closest.

    ID is a launch's, a task's, a container's or an activation's.
    """
    document = admin_client(admin).get(f"explain/{quote(name, safe='')}")
    if output != "table":
        show_object(document, output)
        return
    subject = document.get("launch_id") or document.get("activation_id")
    click.echo(f"{subject} is {document['state']}{_place(document.get('queue_position'))}")
    summary = document["summary"]
    if "launch_id" in document:
        summary = log_named(summary, document["launch_id"])
    if not wide:
        summary = columns.short_ids(summary)
    width = window_of_stdout(wide=wide).width
    click.echo("\n".join(line for text in summary.split("\n") for line in wrapped(visible(text), width)))


@click.command()
@with_options
def story(*, name: AnyId, admin: AdminAccess, output: Output = "table", wide: Wide = False) -> None:
    """Show all that happened to a launch or an activation.

    ID is a launch's, a task's, a container's or an activation's.
    """
    document = admin_client(admin).get(f"story/{quote(name, safe='')}")
    if output in ("json", "yaml"):
        show_object(document, output)
    else:
        show(document["story"], columns.STORY, output, wide=wide)


def _place(position: int | None) -> str:
    if position is None:
        return ""
    return f", {position} ahead of it in the queue" if position else ", at the head of the queue"
