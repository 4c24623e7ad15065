"""A command's options, declared once: as the parameters of its function, or as the fields of a dataclass among them.

    @click.command()
    @with_options
    def offers(*, outstanding: Annotated[bool, Option("Only those in hand.")] = False, admin: AdminAccess) -> None: ...

The name gives the flag; the annotation gives the type, or a type of click's before the Option does. An option without a
default is required. `settings` makes environment variables and keys of the configuration file of the flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

Command = Callable[..., Any]


class _Path(click.Path):
    """One that is not empty, which would be the folder where the command runs."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("it is empty", param, ctx)
        return super().convert(value, param, ctx)


_TYPES = {Path: _Path(path_type=Path)}


class Option:
    """`flags` are those that the name does not give; `more` is click's. False as default makes a flag without --no-."""

    def __init__(self, text: str | None = None, metavar: str | None = None, *flags: str, **more: Any) -> None:
        self._flags = flags
        self._more = {"help": text, "metavar": metavar, **more}

    def flags(self, name: str, *, both: bool = False) -> tuple[str, ...]:
        if any(flag.startswith("--") for flag in self._flags):
            return self._flags
        text = name.replace("_", "-")
        return (f"--{text}/--no-{text}" if both else f"--{text}", *self._flags)

    def decorator(self, name: str, kind: Any, default: Any, more: dict[str, Any]) -> Callable[[Command], Command]:
        flags = self.flags(name, both=kind == bool | None or default is True)
        if default is Parameter.empty:
            more["required"] = True
        elif kind is bool and "/" not in flags[0]:
            more["is_flag"] = True
        else:
            more |= {"default": default, "show_default": default not in (None, ())}
        return click.option(name, *flags, **more | self._more)


class Argument:
    """Not required if it has a default."""

    def __init__(self, metavar: str | None = None, **more: Any) -> None:
        self._more = {"metavar": metavar, **more}

    def decorator(self, name: str, kind: Any, default: Any, more: dict[str, Any]) -> Callable[[Command], Command]:
        if more.pop("multiple", False):
            more["nargs"] = -1
        more = {"callback": not_empty, **more, **self._more}
        return click.argument(name, required=default is Parameter.empty, **more)


def not_empty(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
    """A script's variable that is not set names nothing."""
    if value == "":
        raise click.BadParameter("it is empty")
    return value


def with_options(function: Command) -> Command:
    """`function` takes click's values from here on. A parameter that is a dataclass takes those of its fields."""

    @wraps(function)
    def with_click(**given: Any) -> Any:
        return _called(function, given)

    command: Command = with_click
    for decorator in reversed(list(_decorators(function))):
        command = decorator(command)
    return command


def settings_of(declaration: Callable[..., Any]) -> frozenset[str]:
    """The options' names as `settings` has them: `admin_token_file` for `--admin-token-file`."""
    options = ((name, get_args(kind)[-1]) for name, kind, _ in _parameters(declaration))
    return frozenset(option.flags(name)[0].lstrip("-").replace("-", "_") for name, option in options)


def _called(declaration: Callable[..., Any], given: dict[str, Any]) -> Any:
    arguments = {}
    for name, kind, _ in _parameters(declaration):
        arguments[name] = _called(kind, given) if isinstance(kind, type) else given[name]
    return declaration(**arguments)


def _decorators(declaration: Callable[..., Any]) -> Iterator[Callable[[Command], Command]]:
    for name, kind, default in _parameters(declaration):
        if isinstance(kind, type):
            yield from _decorators(kind)
        else:
            kind, *types, declared = get_args(kind)
            shape = _shape(kind)
            if types:
                shape["type"] = types[0]
            yield declared.decorator(name, kind, default, shape)


def _parameters(declaration: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default."""
    hints = get_type_hints(declaration, include_extras=True)
    for name, parameter in signature(declaration).parameters.items():
        kind = hints[name]
        if get_origin(kind) is Union:
            kind = get_args(kind)[0]  # Python 3.10 adds None where that is the default
        yield name, kind, parameter.default


def _shape(kind: Any) -> dict[str, Any]:
    """click's type of what is annotated so."""
    if get_origin(kind) in (Union, UnionType):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if kind is bool:
        return {}
    if get_origin(kind) is Literal:
        return {"type": click.Choice(get_args(kind))}
    if get_origin(kind) is tuple:
        return {**_shape(get_args(kind)[0]), "multiple": True}
    return {"type": _TYPES.get(kind, kind)}
