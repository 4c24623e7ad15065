"""`owmesos invoke`: run a function, by the names and with the words of `wsk action invoke`."""

from __future__ import annotations

from pathlib import Path

import click

from owmesos.cli.connection import admin_option
from owmesos.cli.openwhisk import ActionName, ActionsClient, param_options, parameters, print_object
from owmesos.cli.output import output_option, show_object


@click.command()
@click.argument("name", type=ActionName())
@param_options
@click.option(
    "--blocking/--no-blocking", "-b", default=False, show_default=True, help="Wait for the result, 60 s at most."
)
@click.option("--result", "-r", is_flag=True, help="Print the result alone; waits for it.")
@admin_option
@output_option
@click.pass_context
def invoke(
    ctx: click.Context,
    /,
    name: str,
    param: tuple[tuple[str, str], ...],
    param_file: Path | None,
    blocking: bool,
    result: bool,
    admin: str,
    output: str,
) -> None:
    """Run an action. Exits 1 if it was waited for and failed."""
    document = ActionsClient(admin).invoke(name, parameters(param, param_file), blocking=blocking or result)
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
        ctx.exit(1)
