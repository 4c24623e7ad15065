"""What the commands for actions share: a client, names, parameters, and how one object is printed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote

import click

from owmesos.cli import documents
from owmesos.cli.client import AdminClient, Document, Endpoint, RequestFailed
from owmesos.cli.output import show_object
from owmesos.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])
NAMESPACE = "guest"
_OWN = ("_", NAMESPACE)
_PATIENCE = 90.0
"""Seconds: more than the framework lets a blocking invocation wait."""


class ActionsClient(AdminClient):
    """Asks for actions and activations. Every method raises RequestFailed."""

    def __init__(self, admin: str) -> None:
        """Raises InvalidInput."""
        super().__init__(Endpoint.parse(admin))

    def get(self, path: str, **parameters: Any) -> Any:
        return self._of_actions("GET", path, parameters)

    def put(self, name: str, action: Document, *, overwrite: bool) -> Document:
        query = {"overwrite": "1"} if overwrite else {}
        return self._of_actions("PUT", action_path(name), query, action)  # type: ignore[no-any-return]

    def delete(self, name: str) -> Document:
        return self._of_actions("DELETE", action_path(name))  # type: ignore[no-any-return]

    def invoke(self, name: str, parameters: Document, *, blocking: bool) -> Document:
        """The activation, or its id alone."""
        body = {"params": parameters, "blocking": blocking}
        return self._of_actions("POST", f"{action_path(name)}/invoke", None, body)  # type: ignore[no-any-return]

    def _of_actions(self, method: str, path: str, parameters: Mapping[str, Any] | None = None, body: Any = None) -> Any:
        target = f"/api/v1/{path}"
        try:
            found, _ = self._ask(method, target, parameters, body, timeout=_PATIENCE)
        except RequestFailed as error:
            if str(error).startswith("there is no /api/"):
                raise RequestFailed("the framework has no actions of its own: start it with --standalone") from None
            raise
        return found


def action_path(name: str) -> str:
    return f"actions/{quote(name, safe='')}"


def name_of(text: str) -> str:
    """`hello`, `/_/hello` or `/guest/hello`. Raises InvalidInput."""
    if not text.startswith("/"):
        return text
    namespace, _, name = text[1:].partition("/")
    if namespace not in _OWN or not name:
        raise InvalidInput(f"there is one namespace, {NAMESPACE}: write NAME or /{NAMESPACE}/NAME, not {text!r}")
    return name


class ActionName(click.types.StringParamType):
    """An action, as people name it."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return name_of(value)


def param_options(command: F) -> F:
    """`param` and `param_file`, for `parameters`."""
    file = click.Path(path_type=Path)
    say = {"param": "JSON if it is that, else text.", "file": "A JSON object; --param comes before it."}
    options = (
        click.option("--param", "-p", nargs=2, multiple=True, metavar="KEY VALUE", help=say["param"]),
        click.option("--param-file", "-P", type=file, metavar="F", help=say["file"]),
    )
    for option in reversed(options):
        command = option(command)
    return command


def parameters(param: tuple[tuple[str, str], ...], param_file: Path | None) -> dict[str, Any]:
    """Raises InvalidInput."""
    found = {} if param_file is None else _object_in(param_file)
    return {**found, **{key: _value(text) for key, text in param}}


def _object_in(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes(), parse_constant=_no_json)
    except OSError as error:
        raise InvalidInput(f"the parameters in {file} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the parameters in {file} are no JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"the parameters in {file} are no JSON object")
    return content


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(constant: str) -> NoReturn:
    """Python would take it."""
    raise ValueError(f"{constant} is no JSON")


def print_object(document: Document, output: str, line: str) -> None:
    """`line` and the object as JSON for people; for programs the object alone."""
    if output == "tsv":
        click.echo("\n".join(f"{key}\t{documents.cell(value)}" for key, value in document.items()))
        return
    if output == "table":
        click.echo(line)
    show_object(document, "yaml" if output == "yaml" else "json")
