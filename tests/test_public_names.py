"""The names that others depend on do not change by accident: what they import, type, script against, and have stored.

`python -m tests.test_public_names` writes them down anew; a name that goes or changes belongs in CHANGELOG.md.
"""

from __future__ import annotations

import ast
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import msgspec

import owmesos
from owmesos.cli import columns
from owmesos.cli.main import commands
from owmesos.mesos.scheduler.launches import LaunchRecord

PINNED = Path(__file__).with_name("public_names.json")
PACKAGES = ("owmesos", "owmesos.compat.pymesos", "owmesos.simulator", "owmesos.storage")


def exported() -> dict[str, list[str]]:
    """Names by package; each of them is there."""
    found: dict[str, list[str]] = {}
    for package in PACKAGES:
        module = import_module(package)
        found[package] = sorted(name for name in module.__all__ if getattr(module, name) is not None)
    return found


def options(command: click.Command, path: str) -> dict[str, list[str]]:
    """Options and arguments by command."""
    found = {path: sorted(text for each in command.params for text in (*each.opts, *each.secondary_opts))}
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            each = command.get_command(context, name)
            assert each is not None
            found |= options(each, f"{path} {name}")
    return found


def fields() -> dict[str, list[str]]:
    """Of the listings, in their order."""
    listings = {name: each for name, each in vars(columns).items() if isinstance(each, columns.Listing)}
    return {name.lower(): list(each.fields) for name, each in sorted(listings.items())}


def stored() -> list[str]:
    """The fields of a launch that outlives the process."""
    return sorted(field.encode_name for field in msgspec.structs.fields(LaunchRecord))


def names() -> dict[str, Any]:
    return {"imports": exported(), "commands": options(commands, "owmesos"), "fields": fields(), "stored": stored()}


def test_no_name_that_others_depend_on_has_changed() -> None:
    assert names() == json.loads(PINNED.read_text(encoding="utf-8"))


def test_no_two_classes_have_the_same_public_name() -> None:
    modules: dict[str, list[str]] = {}
    for file in Path(owmesos.__file__).parent.rglob("*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                modules.setdefault(node.name, []).append(file.as_posix())
    modules["Scheduler"] = [each for each in modules["Scheduler"] if "/compat/pymesos/" not in each]  # pymesos's name
    assert {name: files for name, files in modules.items() if len(files) > 1} == {}


if __name__ == "__main__":
    PINNED.write_text(json.dumps(names(), indent=1) + "\n", encoding="utf-8")
