"""`owmesos action`: what runs in standalone mode, by the names and with the words of `wsk action`."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from owmesos.cli.client import Document
from owmesos.cli.connection import admin_option
from owmesos.cli.documents import ACTIONS
from owmesos.cli.openwhisk import ActionName, ActionsClient, action_path, param_options, parameters, print_object
from owmesos.cli.output import output_option, show
from owmesos.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])
_FAMILIES = {
    ".py": "python",
    ".js": "nodejs",
    ".php": "php",
    ".rb": "ruby",
    ".go": "go",
    ".swift": "swift",
    ".rs": "rust",
    ".jar": "java",
}
_BINARY = (".zip", ".jar")


@click.group()
def action() -> None:
    """Deploy functions. Needs `owmesos run --standalone`."""


def _what_it_is(command: F) -> F:
    options = (
        click.argument("name", type=ActionName(), metavar="NAME"),
        click.argument("file", type=click.Path(path_type=Path), metavar="[FILE]", required=False),
        click.option("--kind", metavar="K", help="Such as python:3 or nodejs:default; else by the file's name."),
        click.option("--main", metavar="F", help="The function to be called; default: main."),
        click.option("--memory", "-m", type=int, metavar="MB", help="Default 256."),
        click.option("--timeout", "-t", type=int, metavar="MS", help="Default 60000."),
        click.option("--concurrency", "-c", type=int, metavar="N", help="Runs at once in one container; default 1."),
        click.option("--log-limit", "-l", type=int, metavar="MB", help="Default 10; 0 keeps none."),
        param_options,
        admin_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


@action.command()
@_what_it_is
def create(name: str, admin: str, **wanted: Any) -> None:
    """Deploy the function in FILE: text, or a zip file. --param gives its parameters defaults."""
    if wanted["file"] is None:
        raise click.UsageError("Missing argument 'FILE'.", click.get_current_context())
    ActionsClient(admin).put(name, _body(**wanted), overwrite=False)
    click.echo(f"ok: created action {name}")


@action.command()
@_what_it_is
def update(name: str, admin: str, **wanted: Any) -> None:
    """Change an action, or create it. What is not given stays as it is."""
    ActionsClient(admin).put(name, _body(**wanted), overwrite=True)
    click.echo(f"ok: updated action {name}")


@action.command()
@click.argument("name", type=ActionName())
@admin_option
@output_option
def get(name: str, admin: str, output: str) -> None:
    """Show an action with its code."""
    print_object(ActionsClient(admin).get(action_path(name)), output, f"ok: got action {name}")


@action.command(name="list")
@admin_option
@output_option
def list_(admin: str, output: str) -> None:
    """Show all actions."""
    show(ActionsClient(admin).get("actions"), ACTIONS, output)


@action.command()
@click.argument("name", type=ActionName())
@admin_option
def delete(name: str, admin: str) -> None:
    """Delete an action."""
    ActionsClient(admin).delete(name)
    click.echo(f"ok: deleted action {name}")


def _body(
    *,
    file: Path | None,
    kind: str | None,
    main: str | None,
    memory: int | None,
    timeout: int | None,
    concurrency: int | None,
    log_limit: int | None,
    param: tuple[tuple[str, str], ...],
    param_file: Path | None,
) -> Document:
    """Of `PUT …/actions/NAME`. Raises InvalidInput."""
    limits = {"memory": memory, "timeout": timeout, "logs": log_limit, "concurrency": concurrency}
    body: Document = {"limits": {key: value for key, value in limits.items() if value is not None}}
    if file is not None:
        body["exec"] = {"kind": kind or _kind_of(file), **_code_in(file), **({"main": main} if main else {})}
    elif kind is not None or main is not None:
        raise InvalidInput("--kind and --main are of the code: give its FILE too")
    if param or param_file is not None:
        body["parameters"] = [{"key": key, "value": value} for key, value in parameters(param, param_file).items()]
    return body


def _kind_of(file: Path) -> str:
    family = _FAMILIES.get(file.suffix.lower())
    if family is None:
        raise InvalidInput(f"the kind of {file.name} cannot be told by its name: give --kind")
    return f"{family}:default"


def _code_in(file: Path) -> Document:
    from owmesos.service.standalone_actions import MAX_CODE

    binary = file.suffix.lower() in _BINARY
    try:
        data = file.read_bytes()
        code = base64.b64encode(data).decode() if binary else data.decode()
    except OSError as error:
        raise InvalidInput(f"the code in {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"the code in {file} is no UTF-8 text; binary code is a file named .zip") from None
    if len(code) > MAX_CODE:
        raise InvalidInput(f"the code in {file} is larger than {MAX_CODE // 2**20} MB, as base64 if it is a zip file")
    return {"code": code, "binary": binary}
