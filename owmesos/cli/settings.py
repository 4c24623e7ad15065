"""Where a command's settings come from: flags, then the environment, then a TOML file.

One rule for both others. Option `--some-thing` of command C is `OWMESOS_C_SOME_THING`, and `some-thing` in the file's
table `[C]`; an option of `run`, and those that every command shares, are `OWMESOS_SOME_THING` and stand at the file's
top. What the file says and no command knows is an error, for a misspelt setting would silently do nothing.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from owmesos.errors import InvalidInput

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SHARED = frozenset({"admin", "output", "principal", "secret_file", "tls_ca", "tls_cert", "tls_key"})
_ALONE = ("demo", "local")
"""Commands that share nothing: a demo must not run on the cluster that OWMESOS_MASTER names."""
_CONFIG = "config"
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
            option.envvar = [f"OWMESOS_{prefix}_{key.upper()}", *shared]

    def read(ctx: click.Context, option: click.Parameter, value: Path | None) -> None:
        if value is not None:
            ctx.default_map = {**_settings(value, name, command, find), **(ctx.default_map or {})}

    command.params.append(
        click.Option(
            ["--config"],
            type=click.Path(path_type=Path),
            envvar="OWMESOS_CONFIG",
            is_eager=True,
            expose_value=False,
            callback=read,
            help="A TOML file with settings; flags and OWMESOS_* come before it.",
        )
    )
    return command


def _settings(file: Path, name: str, command: click.Command, find: Find) -> dict[str, Any]:
    """What `file` says to command `name`, by parameter name. Raises InvalidInput."""
    content = _read(file)
    own = _options(command)
    tables = {key: _table(file, key, value, find) for key, value in content.items() if isinstance(value, dict)}
    run = find("run")
    of_run = _options(run) if run is not None else {}
    known = {**own, **of_run}
    found: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, dict):
            continue
        setting = _normal(key)
        if setting not in SHARED and setting not in of_run:
            raise InvalidInput(f"{file}: there is no setting {key!r}")
        if setting in known:
            _check(file, key, value, known[setting])
        if setting in own and _shared(name, setting):
            found[setting] = value
    for part in name.split():
        tables = tables.get(part, {})
    found |= tables
    return {own[setting].name or setting: value for setting, value in found.items()}


def _table(file: Path, name: str, table: Mapping[str, Any], find: Find) -> dict[str, Any]:
    command = find(name)
    if command is None:
        raise InvalidInput(f"{file}: there is no command [{name}]")
    return _table_of(file, name, table, command)


def _table_of(file: Path, name: str, table: Mapping[str, Any], command: click.Command) -> dict[str, Any]:
    if isinstance(command, click.Group):
        found = {}
        for key, value in table.items():
            each = command.commands.get(key)
            if each is None or not isinstance(value, dict):
                raise InvalidInput(f"{file}: there is no command [{name}.{key}]")
            found[key] = _table_of(file, f"{name}.{key}", value, each)
        return found
    options = _options(command)
    for key, value in table.items():
        if _normal(key) not in options:
            raise InvalidInput(f"{file}: there is no setting {key!r} of [{name}]")
        _check(file, f"{name}.{key}", value, options[_normal(key)])
    return {_normal(key): value for key, value in table.items()}


def _check(file: Path, key: str, value: Any, option: click.Option) -> None:
    """That the value has the option's shape; its own type sees to the rest."""
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
    try:
        with file.open("rb") as opened:
            mode = stat.S_IMODE(file.stat().st_mode)
            content: dict[str, Any] = tomllib.load(opened)
    except OSError as error:
        raise InvalidInput(f"the configuration {file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the configuration {file} is no TOML: {error}") from None
    if mode & 0o077 and any("@" in url for url in _urls(content)):
        raise InvalidInput(f"{file} holds credentials and can be read by others: chmod 600 {file}")
    return content


def _urls(content: Mapping[str, Any]) -> list[str]:
    """Those that may hold a password."""
    tables = [content, *(value for value in content.values() if isinstance(value, dict))]
    return [table[key] for table in tables for key in ("master", "couchdb") if isinstance(table.get(key), str)]


def _options(command: click.Command) -> dict[str, click.Option]:
    """By their flags, as `buffer_mem`; what they are called in the program is nobody's business."""
    options = [option for option in command.params if isinstance(option, click.Option) and option.name != _CONFIG]
    return {_normal(max(option.opts, key=len).lstrip("-")): option for option in options}


def _shared(name: str, setting: str) -> bool:
    return name not in _ALONE and (name == "run" or setting in SHARED)


def _normal(key: str) -> str:
    return key.replace("-", "_")
