"""The commands that ask for something: launch, kill, teardown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import click

from owmesos.cli import columns, completion
from owmesos.cli.client import RequestFailed
from owmesos.cli.columns import Document
from owmesos.cli.connection import AdminAccess, admin_client
from owmesos.cli.options import Argument, Option, with_options
from owmesos.cli.output import Output, show, show_object
from owmesos.cli.text import log_named
from owmesos.documents import LivingState
from owmesos.errors import Interrupted, InvalidInput

if TYPE_CHECKING:
    from owmesos.mesos.scheduler.launch import Launch

_LIVING = get_args(LivingState)
_NAMED = 5  # ids that an error names at most


class _LaunchLine(click.types.StringParamType):
    """A text that may hold blanks: an environment variable holds one a line."""

    envvar_list_splitter = "\n"


class _KeyValue(_LaunchLine):
    """`NAME=VALUE`"""

    name = "K=V"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, tuple):
            return value
        key, equals, text = str(value).partition("=")
        if not equals or not key:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return key, text


_Lines = Annotated[tuple[str, ...], _LaunchLine()]
_Pairs = Annotated[tuple[tuple[str, str], ...], _KeyValue()]


@dataclass(frozen=True)
class LaunchOptions:
    """What one launch runs, and what it needs: the fields of a `Launch`."""

    name: Annotated[str, Option("Prefix of the launch ids.")] = "launch"
    command: Annotated[str | None, Option("Shell command to run.", "CMD")] = None
    image: Annotated[str | None, Option("Docker image to run; without --command its entry point runs.", "I")] = None
    containerizer: Annotated[Literal["docker", "mesos"], Option("Containerizer for the image.")] = "docker"
    force_pull: Annotated[bool, Option("Pull the image even if the agent has it.")] = False
    docker_parameters: Annotated[
        _Pairs, Option("Parameter of `docker run`. May be repeated.", None, "--docker-parameter")
    ] = ()
    network: Annotated[str | None, Option("Network of the container.", "host|bridge|NAME")] = None
    container_ports: Annotated[
        tuple[int, ...], Option("Port inside a bridge. May be repeated.", None, "--container-port")
    ] = ()
    env: Annotated[_Pairs, Option("Environment variable. May be repeated.")] = ()
    labels: Annotated[_Pairs, Option("Label. May be repeated.", None, "--label")] = ()
    uris: Annotated[_Lines, Option("URI to fetch into the sandbox. May be repeated.", None, "--uri")] = ()
    user: Annotated[str | None, Option("User to run as.", "U")] = None
    kill_grace: Annotated[float | None, Option("Seconds between SIGTERM and SIGKILL.", "S")] = None
    cpus: Annotated[float, Option("CPUs.")] = 0.1
    mem: Annotated[float, Option("MB of memory.")] = 64.0
    disk: Annotated[float, Option("MB of disk.")] = 0.0
    gpus: Annotated[float, Option("GPUs.")] = 0.0
    ports: Annotated[int, Option("Number of ports, which the task finds in PORT0, PORT1, ...")] = 0
    constraints: Annotated[
        _Lines,
        Option(
            "Constraint on an attribute or @hostname. OP is LIKE or UNLIKE (regular expression), == or !=."
            " May be repeated.",
            "'ATTR OP VALUE'",
            "--constraint",
        ),
    ] = ()
    role: Annotated[str | None, Option("Role of the framework whose resources to use. [default: any]", "R")] = None
    retry: Annotated[
        Literal["safe", "lost"],
        Option("Replace a task lost before RUNNING only if it never ran (safe), or even if it may have (lost)."),
    ] = "safe"
    deadline: Annotated[float, Option("Seconds until a launch must be RUNNING.")] = 300.0

    def launch(self) -> Launch:
        """Raises InvalidInput for what no TaskInfo can be made of."""
        if not (self.command or self.image):
            raise InvalidInput("a launch needs --command, --image or both")
        from owmesos.mesos.scheduler.launch import Launch
        from owmesos.mesos.scheduler.task_info import template

        pairs = {name: dict(getattr(self, name)) for name in ("docker_parameters", "env", "labels")}
        launch = Launch(**vars(self) | pairs)
        template(launch)
        return launch


@click.command()
@with_options
def launch(
    *,
    count: Annotated[int, Option("Number of launches.", type=click.IntRange(1, 10_000))] = 1,
    options: LaunchOptions,
    wait: Annotated[
        Literal["none", "running", "ended"], Option("Wait until all launches run (or once ran), or have ended.")
    ] = "none",
    admin: AdminAccess,
    output: Output = "table",
) -> None:
    """Start containers, each on one agent.

    Prints the launches. The exit code is 1 if any failed: with --wait running, if it ended or passed its deadline
    without running; otherwise, if it ended in another state than FINISHED.

    A task's environment has HOST, PORT0..., PORT, PORTS and OWMESOS_LAUNCH_ID.
    """
    import msgspec

    wanted = options.launch()  # refused before anybody is asked
    client = admin_client(admin)
    try:
        rows = client.launch(msgspec.to_builtins(wanted), count)
    except KeyboardInterrupt:
        raise Interrupted("interrupted before the answer: `owmesos launches` shows whether it was taken") from None
    if wait != "none":
        try:
            rows = client.wait([row["launch_id"] for row in rows], wait)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted: {_go_on([row['launch_id'] for row in rows])}") from None
    show(rows, columns.LAUNCHES, output)
    failed = [row for row in rows if _failed(row, wait)]
    if failed:
        first = failed[0]
        why = log_named(first["message"] or first["reason"] or "unknown reason", first["launch_id"])
        raise RequestFailed(f"{len(failed)} of {len(rows)} failed: {first['launch_id']} is {first['state']}: {why}")


def _go_on(ids: list[str]) -> str:
    if len(ids) == 1:
        return f"launch {ids[0]} goes on; `owmesos kill {ids[0]}` ends it"
    return f"{len(ids)} launches go on, {ids[0]} first; `owmesos launches` lists them, `owmesos kill ID...` ends them"


def _failed(row: Document, wait: str) -> bool:
    if wait == "running":
        return row["started_at"] is None and row["state"] != "FINISHED"
    return row["ended_at"] is not None and row["state"] != "FINISHED"


@click.command()
@with_options
def kill(
    *,
    ids: Annotated[tuple[str, ...], Argument("[ID]...", shell_complete=completion.launches)] = (),
    name: Annotated[
        str | None,
        Option("Kill all launches of this name that have not ended.", "S", shell_complete=completion.launch_names),
    ] = None,
    state: Annotated[
        str | None, Option("Kill all launches in this state.", type=click.Choice(_LIVING, case_sensitive=False))
    ] = None,
    everything: Annotated[bool, Option("Kill all launches that have not ended.", None, "--all")] = False,
    admin: AdminAccess,
    output: Output = "table",
) -> None:
    """Kill launches. ID is a launch's or a task's.

    --name and --state together select launches that match both. They and --all leave the containers of a pool alone.

    Returns when the request is stored; KILL is repeated until the launch has ended. Prints the launches, each with its
    OUTCOME. The exit code is 1 if an ID is unknown; the other launches are killed nevertheless.
    """
    by_field = {"name": name, "state": state}
    if bool(ids) + any(by_field.values()) + everything != 1:
        raise click.UsageError("give either IDs, or --name or --state or both, or --all")
    choice: dict[str, Any] = {"ids": ids} if ids else {"all": True} if everything else by_field
    fields = dict.fromkeys(columns.KILLS.fields)
    rows = [{**fields, **row} for row in admin_client(admin).kill(choice)]
    show(rows, columns.KILLS, output)
    unknown = [row["launch_id"] for row in rows if row["outcome"] == "unknown"]
    if unknown:
        named = ", ".join(unknown[:_NAMED]) + (", …" if len(unknown) > _NAMED else "")
        raise RequestFailed(f"{len(unknown)} of {len(rows)} are not killed: unknown launch or task {named}")


@click.command()
@with_options
def teardown(*, admin: AdminAccess, output: Output = "table") -> None:
    """Tear down the framework and kill all its tasks. `owmesos run` ends too."""
    document = admin_client(admin).teardown()
    if output == "table":
        click.echo(f"framework {document['framework_id']} is torn down")
    elif output == "tsv":
        click.echo(f"framework_id\n{document['framework_id']}")
    else:
        show_object(document, output)
