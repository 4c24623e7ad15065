"""`owmesos action`: standalone mode's functions, with the names and texts of `wsk`."""

from __future__ import annotations

import base64
import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

import click

from owmesos.cli import completion
from owmesos.cli.client import AdminClient, AdminRequest, Document, NotRunning, RequestFailed, UnknownPath
from owmesos.cli.columns import ACTIONS, short_ids
from owmesos.cli.connection import AdminAccess
from owmesos.cli.options import Argument, Option, with_options
from owmesos.cli.output import Output, show, show_object
from owmesos.errors import Interrupted, InvalidInput, os_errors_as_invalid_input

NAMESPACE = "guest"
_OWN = ("_", NAMESPACE)
BLOCKING_WAIT = 60.0  # seconds that a blocking invocation waits, as the framework lets it
_LOOK = 2.0  # seconds after which it is asked why there is no result
_FIRST_LOOK = 0.2  # seconds after which the id is known, which Ctrl-C names
_LEAST_WAIT = 0.01  # seconds; the framework takes no 0
_PATIENCE = 90.0  # seconds: more than the framework lets a blocking invocation wait
MAX_PARAMETER_FILE = 8 * 2**20  # bytes; blanks between the parameters do not count against the framework's limit
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
_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b")  # zip and gzip begin so
_BINARY = (".zip", ".jar", ".tar.gz", ".tgz")


class StillWaits(RequestFailed):
    """The activation waits for a container."""


class ActionsClient(AdminClient):
    """Asks for actions and activations. Every method raises RequestFailed."""

    def __init__(self, admin: AdminAccess) -> None:
        """Raises InvalidInput."""
        super().__init__(*admin.endpoints(), **admin.client_settings())

    def put(self, name: str, action: Document, *, overwrite: bool) -> None:
        request = AdminRequest("PUT", action_path(name), {"overwrite": "1"} if overwrite else {}, action)
        self.ask_again(request, after=NotRunning)  # `owmesos run` may have been started on the line before

    def invoke(
        self,
        name: str,
        parameters: Document,
        *,
        blocking: bool,
        waits: Callable[[str, str], None] = lambda activation_id, why: None,
    ) -> Document:
        """The activation, or its id alone, if it has no result within a minute. `waits` gets its id and why it waits.

        The request is repeated with its key, which makes it wait for the same activation. Raises StillWaits, and
        Interrupted where Ctrl-C leaves an activation that goes on.
        """
        path, key, begun = f"{action_path(name)}/invoke", os.urandom(16).hex(), time.monotonic()

        def ask(wait: float) -> Document:
            body = {"params": parameters, "blocking": blocking, "timeout": max(_LEAST_WAIT, wait)}
            activation: Document = self.ask_again(AdminRequest("POST", path, body=body, key=key))
            return activation

        activation = ask(_FIRST_LOOK)
        if not blocking:
            return activation
        activation_id = activation["activationId"]
        try:
            return self._awaited(activation, ask, begun, waits)
        except KeyboardInterrupt:
            text = f"interrupted: activation {activation_id} goes on; {_later(activation_id)}"
            raise Interrupted(text) from None

    def _awaited(
        self,
        activation: Document,
        ask: Callable[[float], Document],
        begun: float,
        waits: Callable[[str, str], None],
    ) -> Document:
        """As it is with its result, or when BLOCKING_WAIT has passed since it was `begun`. Raises StillWaits."""
        activation_id, until, told = activation["activationId"], begun + BLOCKING_WAIT, None
        while "response" not in activation:
            now = time.monotonic()
            why = self._why_it_waits(activation_id) if now >= begun + _LOOK else None
            if now >= until:
                if why is None:
                    break
                raise StillWaits(f"activation {activation_id} still waits: {short_ids(why)}; {_later(activation_id)}")
            if why is not None and why != told:
                waits(activation_id, why)
            told = why
            activation = ask(min(_LOOK, until - time.monotonic()))
        return activation

    def _why_it_waits(self, activation_id: str) -> str | None:
        """None if it does not."""
        try:
            explained = self.get(f"explain/{activation_id}")
        except RequestFailed:  # it has ended, or is not in the pool yet
            return None
        return explained["summary"] if explained["state"] == "waiting" else None

    def ask(self, request: AdminRequest) -> Any:
        try:
            return super().ask(request._replace(timeout=_PATIENCE))
        except UnknownPath:
            raise RequestFailed("the framework has no actions: start it with --standalone") from None


def _later(activation_id: str) -> str:
    return (
        f"`owmesos activation get {activation_id}` shows its result once it has ended, `owmesos activation cancel"
        f" {activation_id}` ends it while it waits"
    )


def action_path(name: str) -> str:
    return f"actions/{quote(name, safe='')}"


class ActionName(click.types.StringParamType):
    """The name of an action: `hello`, `/_/hello` or `/guest/hello`."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not value.startswith("/"):
            return value
        namespace, _, name = value[1:].partition("/")
        if namespace not in _OWN or not name:
            raise InvalidInput(f"unknown namespace in {value!r}: write NAME or /{NAMESPACE}/NAME")
        return name


Name = Annotated[str, Argument("NAME", type=ActionName(), shell_complete=completion.actions)]
Param = Annotated[
    tuple[tuple[str, str], ...],
    Option("Parameter; VALUE is JSON, else text. May be repeated.", "KEY VALUE", "--param", "-p", nargs=2),
]
ParamFile = Annotated[
    Path | None, Option("File with parameters as a JSON object, - for stdin; --param overrides it.", "F", "-P")
]
_STDIN = Path("-")


def parameters(param: tuple[tuple[str, str], ...], param_file: Path | None) -> dict[str, Any]:
    """Raises InvalidInput."""
    found = {} if param_file is None else _object_in(param_file)
    return {**found, **{key: _value(key, text) for key, text in param}}


def _read(file: Path, most: int) -> bytes:
    """Its content, or `most` bytes and one more of a longer one, which need not end. Raises OSError."""
    if file == _STDIN:
        return sys.stdin.buffer.read(most + 1)
    with file.open("rb") as opened:
        return opened.read(most + 1)


def _object_in(file: Path) -> dict[str, Any]:
    where = "stdin" if file == _STDIN else file
    with os_errors_as_invalid_input(f"the parameters in {where} cannot be read"):
        data = _read(file, MAX_PARAMETER_FILE)
    if len(data) > MAX_PARAMETER_FILE:
        most = MAX_PARAMETER_FILE // 2**20
        raise InvalidInput(f"the parameters in {where} are larger than {most} MB: an invocation's may have 1 MB")
    try:
        content = _decoded(data)
    except _TooLarge as error:
        raise InvalidInput(f"the parameters in {where} cannot be sent: {error}") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the parameters in {where} are not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise InvalidInput(f"the parameters in {where} are not a JSON object")
    return content


def _value(key: str, text: str) -> Any:
    try:
        return _decoded(text)
    except _TooLarge as error:
        raise InvalidInput(f"parameter {key} cannot be sent: {error}; for text write '\"{text[:100]}\"'") from None
    except (ValueError, RecursionError):
        return text


class _TooLarge(Exception):
    """A number that becomes Infinity, which JSON does not have."""


def _decoded(data: str | bytes) -> Any:
    """Raises ValueError, RecursionError and _TooLarge."""
    return json.loads(data, parse_constant=_reject_constant, parse_float=_finite)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise _TooLarge(f"the number {digits[:100]} is too large")
    return number


def _reject_constant(constant: str) -> NoReturn:
    """For NaN and Infinity, which Python accepts as JSON. Raises ValueError."""
    raise ValueError(f"{constant} is not valid JSON")


def print_object(document: Document, output: str, line: str) -> None:
    """`line` and the object as JSON for people; for programs the object alone."""
    if output == "table":
        click.echo(line)
    show_object(document, "json" if output == "table" else output)


@click.group()
def action() -> None:
    """Deploy and invoke functions. Needs `owmesos run --standalone`."""


@dataclass(frozen=True)
class ActionOptions:
    """What `create` and `update` say of an action."""

    name: Name
    file: Annotated[Path | None, Argument("[FILE]")] = None
    kind: Annotated[str | None, Option("Kind, such as python:3. [default: by FILE's name]", "K")] = None
    main: Annotated[str | None, Option("Function to call. [default: main]", "F")] = None
    memory: Annotated[int | None, Option("MB of memory for each container. [default: 256]", "MB", "-m")] = None
    timeout: Annotated[int | None, Option("Milliseconds that a run may take. [default: 60000]", "MS", "-t")] = None
    concurrency: Annotated[int | None, Option("Runs at once in one container. [default: 1]", "N", "-c")] = None
    log_limit: Annotated[int | None, Option("MB of logs to keep, 0 for none. [default: 10]", "MB", "-l")] = None
    param: Param = ()
    param_file: ParamFile = None

    def body(self) -> Document:
        """The body of `PUT …/actions/NAME`. Raises InvalidInput."""
        limits = {
            "memory": self.memory,
            "timeout": self.timeout,
            "logs": self.log_limit,
            "concurrency": self.concurrency,
        }
        body: Document = {"limits": {key: value for key, value in limits.items() if value is not None}}
        if self.file == self.param_file == _STDIN:
            raise InvalidInput("FILE and --param-file cannot both be read from stdin")
        if self.file is not None:
            main = {"main": self.main} if self.main else {}
            body["exec"] = {"kind": self.kind or _kind_of(self.file), **_code_in(self.file), **main}
        elif self.kind is not None or self.main is not None:
            raise InvalidInput("--kind and --main need FILE")
        if self.param or self.param_file is not None:
            found = parameters(self.param, self.param_file)
            body["parameters"] = [{"key": key, "value": value} for key, value in found.items()]
        return body


@action.command()
@with_options
def create(*, options: ActionOptions, admin: AdminAccess) -> None:
    """Deploy the function in FILE (- for stdin).

    FILE is source text, or a zip or tar.gz archive.

    --param sets default parameters.
    """
    if options.file is None:
        raise click.UsageError("Missing argument 'FILE'.", click.get_current_context())
    ActionsClient(admin).put(options.name, options.body(), overwrite=False)
    click.echo(f"ok: created action {options.name}")


@action.command()
@with_options
def update(*, options: ActionOptions, admin: AdminAccess) -> None:
    """Update an action, or create it. What is not given stays as it is."""
    ActionsClient(admin).put(options.name, options.body(), overwrite=True)
    click.echo(f"ok: updated action {options.name}")


@action.command(name="get")
@with_options
def get_action(*, name: Name, admin: AdminAccess, output: Output = "table") -> None:
    """Show an action with its code."""
    print_object(ActionsClient(admin).get(action_path(name)), output, f"ok: got action {name}")


@action.command(name="list")
@with_options
def list_actions(*, admin: AdminAccess, output: Output = "table") -> None:
    """Show all actions."""
    show(ActionsClient(admin).get("actions"), ACTIONS, output)


@action.command()
@with_options
def delete(*, name: Name, admin: AdminAccess) -> None:
    """Delete an action."""
    ActionsClient(admin).ask(AdminRequest("DELETE", action_path(name)))
    click.echo(f"ok: deleted action {name}")


def _kind_of(file: Path) -> str:
    family = _FAMILIES.get(file.suffix.lower())
    if file == _STDIN:
        raise InvalidInput("code from stdin has no name to tell its kind by: give --kind")
    if family is None:
        raise InvalidInput(f"cannot tell the kind of {file.name} by its name: give --kind")
    return f"{family}:default"


def _code_in(file: Path) -> Document:
    from owmesos.invoker.action_rules import MAX_CODE

    binary = file.name.lower().endswith(_BINARY)
    with os_errors_as_invalid_input(f"the code in {file} cannot be read"):
        data = _read(file, MAX_CODE)
    try:
        binary = binary or (file == _STDIN and data.startswith(_ARCHIVES))
        too_large = len(data) > MAX_CODE
        code = "" if too_large else base64.b64encode(data).decode() if binary else data.decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"the code in {file} is not valid UTF-8: name binary code .zip, .jar or .tar.gz") from None
    if too_large or len(code) > MAX_CODE:
        raise InvalidInput(f"the code in {file} is larger than {MAX_CODE // 2**20} MB, as base64 if it is an archive")
    return {"code": code, "binary": binary}
