"""The commands that ask for something: launch, kill, teardown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from owmesos.cli import documents
from owmesos.cli.connection import admin_client, admin_option
from owmesos.cli.documents import Document
from owmesos.cli.output import output_option, show, show_object
from owmesos.errors import OwmesosError

F = TypeVar("F", bound=Callable[..., Any])


class LaunchesFailed(OwmesosError):
    """At least one of the launches did not do what was waited for."""


class _Line(click.types.StringParamType):
    """A text that may hold blanks: several of them in a variable are one a line."""

    envvar_list_splitter = "\n"


class _Pair(_Line):
    """`NAME=VALUE`"""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return key, text


def _what_to_run(command: F) -> F:
    options = (
        click.option("--command", metavar="CMD", help="A shell command."),
        click.option("--image", metavar="I", help="A Docker image; without --command its own entry point runs."),
        click.option("--containerizer", type=click.Choice(["docker", "mesos"]), default="docker", show_default=True),
        click.option("--force-pull", is_flag=True, help="Pull the image even where the agent has it."),
        click.option("--docker-parameter", "docker_parameters", type=_Pair(), multiple=True, help="For `docker run`."),
        click.option("--network", metavar="host|bridge|NAME", help="The container's network."),
        click.option("--container-port", "container_ports", type=int, multiple=True, help="A port inside a bridge."),
        click.option("--env", type=_Pair(), multiple=True, help="A variable; may be given more than once."),
        click.option("--label", "labels", type=_Pair(), multiple=True, help="A label; may be given more than once."),
        click.option("--uri", "uris", type=_Line(), multiple=True, help="What the fetcher brings into the sandbox."),
        click.option("--user", metavar="U", help="Whom it runs as."),
        click.option("--kill-grace", type=float, metavar="S", help="Seconds between SIGTERM and SIGKILL."),
    )
    return _with(options, command)


def _what_it_needs(command: F) -> F:
    options = (
        click.option("--cpus", type=float, default=0.1, show_default=True),
        click.option("--mem", type=float, default=64.0, show_default=True, help="MB."),
        click.option("--disk", type=float, default=0.0, show_default=True, help="MB."),
        click.option("--gpus", type=float, default=0.0, show_default=True),
        click.option("--ports", type=int, default=0, show_default=True, help="How many; their numbers are in PORT0..."),
        click.option(
            "--constraint",
            "constraints",
            type=_Line(),
            multiple=True,
            metavar="'ATTR OP VALUE'",
            help="OP is LIKE, UNLIKE (a regular expression), == or !=; ATTR may be @hostname.",
        ),
        click.option("--role", metavar="R", help="Only room of this role of the framework's."),
        click.option("--deadline", type=float, default=300.0, show_default=True, help="Seconds to RUNNING at most."),
    )
    return _with(options, command)


def _with(options: Sequence[Callable[[F], F]], command: F) -> F:
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.option("--count", type=click.IntRange(1, 10_000), default=1, show_default=True, help="How many.")
@click.option("--name", default="launch", show_default=True, help="The beginning of its id.")
@_what_to_run
@_what_it_needs
@click.option(
    "--wait",
    type=click.Choice(["none", "running", "ended"]),
    default="none",
    show_default=True,
    help="Return when all run (or once ran), or have ended.",
)
@admin_option
@output_option
def launch(count: int, wait: str, admin: str, output: str, **fields: Any) -> None:
    """Start containers. All of one's resources come from one agent.

    Prints the launches. The exit code is 1 if any failed: with --wait running if it ended, or was overdue, without
    running; else if it ended otherwise than FINISHED.

    A task's environment has HOST, PORT0..., PORT, PORTS and OWMESOS_LAUNCH_ID.
    """
    import msgspec

    from owmesos.core.launch import Launch
    from owmesos.mesos.task_info import template

    for mapping in ("env", "labels", "docker_parameters"):
        fields[mapping] = dict(fields[mapping])
    wanted = Launch(**fields)
    template(wanted)  # what no TaskInfo can be made of is refused before anybody is asked
    client = admin_client(admin)
    rows = client.launch(msgspec.to_builtins(wanted), count)
    if wait != "none":
        rows = client.wait([row["launch_id"] for row in rows], wait)
    show(rows, documents.LAUNCHES, output)
    failed = [row for row in rows if _failed(row, wait)]
    if failed:
        first = failed[0]
        why = first["message"] or first["reason"] or "no reason is known"
        raise LaunchesFailed(f"{len(failed)} of {len(rows)} failed: {first['launch_id']} is {first['state']}: {why}")


def _failed(row: Document, wait: str) -> bool:
    if wait == "running":
        return row["started_at"] is None
    return row["ended_at"] is not None and row["state"] != "FINISHED"


@click.command()
@click.argument("names", metavar="ID...", nargs=-1, required=True)
@admin_option
@output_option
def kill(names: tuple[str, ...], admin: str, output: str) -> None:
    """End launches. ID is a launch's or a task's.

    Returns when the wish is stored: KILL is repeated until the end is seen. Prints the launches.
    """
    show(admin_client(admin).kill(names), documents.LAUNCHES, output)


@click.command()
@admin_option
@output_option
def teardown(admin: str, output: str) -> None:
    """End the framework and kill all its tasks. `owmesos run` ends with it."""
    document = admin_client(admin).teardown()
    if output in ("json", "yaml"):
        show_object(document, output)
    elif output == "tsv":
        click.echo(f"framework_id\n{document['framework_id']}")
    else:
        click.echo(f"framework {document['framework_id']} is torn down")
