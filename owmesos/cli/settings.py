"""Where a command's settings come from: flags, then the environment, then a TOML file.

One rule for both others. Option `--some-thing` of command C is `OWMESOS_C_SOME_THING`, and `some-thing` in the file's
table `[C]`; an option of `run`, and those that every command shares, are `OWMESOS_SOME_THING` and stand at the file's
top. A setting that no command knows is an error, since a misspelt one would silently do nothing; a misspelt variable is
a warning.
"""

from __future__ import annotations

import difflib
import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from owmesos.cli.connection import AdminAccess, MasterAccess
from owmesos.cli.options import settings_of
from owmesos.errors import InvalidInput, os_errors_as_invalid_input
from owmesos.system.private_files import read_private

SHARED = settings_of(AdminAccess) | settings_of(MasterAccess) | {"output"}
_ALONE = ("demo", "local")
"""Commands without shared settings: a demo must not run on the cluster that OWMESOS_MASTER names."""
_AS_RUN = ("doctor", "state export", "state import", "state check")
"""Commands with settings of `run`, which they look up as it does."""
_CONFIG = "config"
_ALIKE = 0.9  # one letter more, less or other in a name of ten
_NO_SETTINGS = ("OWMESOS_LAUNCH_ID", "OWMESOS_SECRET", "OWMESOS_CACHE", "OWMESOS_TRACEBACK", "OWMESOS_COMPLETE")
_AGAIN = "owmesos.settings"
Find = Callable[[str], click.Command | None]


def equip(name: str, command: click.Command, find: Find) -> click.Command:
    """Give the options of `command` their variables, and it the option --config. `find` knows the other commands.

    Of a group each command gets its own: `action create` is `OWMESOS_ACTION_CREATE_…`, and the table [action.create].
    """
    if isinstance(command, click.Group):
        for key, each in command.commands.items():
            equip(f"{name} {key}", each, find)
        return command
    prefix = name.upper().replace(" ", "_")
    for key, option in _options(command).items():
        if option.envvar is None:
            shared = [f"OWMESOS_{key.upper()}"] if _shared(name, key) else []
            of_run = [f"OWMESOS_RUN_{key.upper()}"] if name in _AS_RUN else []
            option.envvar = [f"OWMESOS_{prefix}_{key.upper()}", *of_run, *shared]

    def read(ctx: click.Context, option: click.Parameter, value: Path | None) -> None:
        if not ctx.resilient_parsing:
            _warn_of_misspelt_variables(ctx, command)
        if value is not None:
            ctx.default_map = {**_settings(value, name, command, find), **(ctx.default_map or {})}
            ctx.meta[_AGAIN] = lambda: _settings(value, name, command, find)

    command.params.append(
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            envvar="OWMESOS_CONFIG",
            is_eager=True,
            expose_value=False,
            callback=read,
            help="TOML file with settings; flags and OWMESOS_* override it.",
        )
    )
    return command


def _warn_of_misspelt_variables(ctx: click.Context, command: click.Command) -> None:
    """Of a variable that no command knows, where one of `command` is but a letter away. No error: it may belong to
    another version, or to a program of the user's."""
    own = _variables(command)
    for name in os.environ:
        if not name.startswith("OWMESOS_") or name in own or name in _NO_SETTINGS:
            continue
        meant = difflib.get_close_matches(name, own, 1, _ALIKE)
        if not meant:
            continue
        group = ctx.find_root().command
        if isinstance(group, click.Group):  # only now, since it loads all commands
            every = [group.get_command(ctx, each) for each in group.list_commands(ctx)]
            if any(name in _variables(each) for each in every if each is not None):
                continue
        click.echo(f"owmesos: unknown variable {name}: did you mean {meant[0]}?", err=True)


def _variables(command: click.Command) -> set[str]:
    found: set[str] = set()
    for option in command.params:
        found |= {option.envvar} if isinstance(option.envvar, str) else set(option.envvar or ())
    for each in command.commands.values() if isinstance(command, click.Group) else ():
        found |= _variables(each)
    return found


def read_again(ctx: click.Context, setting: str) -> Any:
    """What the file of --config says of a setting now, or else its default. None if there is no file, or a flag or a
    variable decides. Raises InvalidInput."""
    option = _options(ctx.command)[setting]
    source = ctx.get_parameter_source(option.name or "")
    of_file = (click.core.ParameterSource.DEFAULT_MAP, click.core.ParameterSource.DEFAULT)
    if _AGAIN not in ctx.meta or source not in of_file:
        return None
    value = ctx.meta[_AGAIN]().get(option.name, option.default)
    try:
        return option.type.convert(value, option, ctx)
    except click.BadParameter as error:
        raise InvalidInput(error.format_message()) from None


def _settings(file: Path, name: str, command: click.Command, find: Find) -> dict[str, Any]:
    """What `file` says to command `name`, by parameter name. Raises InvalidInput."""
    content = _read(file)
    own = _options(command)
    tables = {key: _table(file, key, value, find(key)) for key, value in content.items() if isinstance(value, dict)}
    run = find("run")
    of_run = _options(run) if run is not None else {}
    known = {**own, **of_run}
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            continue
        setting = _normal(key)
        if setting not in SHARED and setting not in of_run:
            raise InvalidInput(f"{file}: unknown setting {key!r}")
        if setting in known:
            _check(file, key, value, known[setting])
        if setting in own and _shared(name, setting):
            found[setting] = value
    if name in _AS_RUN:
        found |= {setting: value for setting, value in tables.get("run", {}).items() if setting in own}
    for part in name.split():
        tables = tables.get(part, {})
    found |= tables
    return {own[setting].name or setting: value for setting, value in found.items()}


def _table(file: Path, name: str, table: Any, command: click.Command | None) -> dict[str, Any]:
    """What `table` says to `command`, or to the commands of a group. Raises InvalidInput."""
    if command is None or not isinstance(table, dict):
        raise InvalidInput(f"{file}: unknown command [{name}]")
    if isinstance(command, click.Group):
        return {key: _table(file, f"{name}.{key}", value, command.commands.get(key)) for key, value in table.items()}
    options = _options(command)
    for key, value in table.items():
        if _normal(key) not in options:
            raise InvalidInput(f"{file}: unknown setting {key!r} in [{name}]")
        _check(file, f"{name}.{key}", value, options[_normal(key)])
    return {_normal(key): value for key, value in table.items()}


def _check(file: Path, key: str, value: Any, option: click.Option) -> None:
    """Check the shape of a value; the option's type checks the rest. Raises InvalidInput."""
    if any(isinstance(each, str) and "\0" in each for each in (value if isinstance(value, list) else [value])):
        raise InvalidInput(f"{file}: {key} must not contain a NUL character")
    if option.multiple:
        right = isinstance(value, list) and all(isinstance(each, (str, int, float)) for each in value)
        kind = "a list"
    elif option.is_flag:
        right, kind = isinstance(value, bool), "true or false"
    else:
        right, kind = isinstance(value, (str, int, float)) and not isinstance(value, bool), "one value"
    if not right:
        raise InvalidInput(f"{file}: {key} must be {kind}")


def _read(file: Path) -> dict[str, Any]:
    content = read_table(file)
    if any("@" in url for url in _urls(content)):
        with os_errors_as_invalid_input(f"{file} cannot be read"):  # it may have gone
            mode = stat.S_IMODE(file.stat().st_mode)
        if mode & 0o077:
            raise InvalidInput(f"{file} holds credentials and can be read by others: chmod 600 {file}")
    return content


def _urls(content: Mapping[str, Any]) -> list[str]:
    """URLs that may hold a password."""
    tables = [content, *(value for value in content.values() if isinstance(value, dict))]
    return [table[key] for table in tables for key in ("master", "couchdb", "state") if isinstance(table.get(key), str)]


def _options(command: click.Command) -> dict[str, click.Option]:
    """By their flags, as `buffer_mem`."""
    options = [option for option in command.params if isinstance(option, click.Option) and option.name != _CONFIG]
    return {_normal(max(option.opts, key=len).lstrip("-")): option for option in options}


def _shared(name: str, setting: str) -> bool:
    return name not in _ALONE and (name in ("run", *_AS_RUN) or setting in SHARED)


def _normal(key: str) -> str:
    return key.replace("-", "_")


def read_table(file: Path, *, private: bool = False) -> dict[str, Any]:
    """JSON if it is named so, else TOML. With `private`, only its owner may have access to it. Raises InvalidInput."""
    try:
        with os_errors_as_invalid_input(f"{file} cannot be read"):
            text = read_private(file) if private else file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else _toml(text)
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise InvalidInput(f"{file} is not valid {kind}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} is not a JSON object")
    return found


def _toml(text: str) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads(text)
