"""docs/settings.md lists every setting; `python -m tests.docs.test_settings` writes it anew from the commands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from owmesos.cli.main import commands
from owmesos.cli.settings import SHARED

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
HEAD = """\
# Settings

Every option of every command, its variable and what it does. A flag wins over the variable, the variable over the file
that `--config` or `OWMESOS_CONFIG` names. In the file (TOML) an option is its name without the dashes: those of `run`,
and those that several commands share, stand at the top, the others in the table of their command (`[launch]`,
`[action.create]`). A setting that no command knows is an error.

```toml
master = "zk://zk1:2181,zk2:2181/mesos"
name = "batch"
buffer-share = 0.1

[launch]
mem = 128
```

This page is written from the commands.
"""


def every(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    for key in command.list_commands(click.Context(command)):
        each = command.get_command(click.Context(command), key)
        assert each is not None
        yield from every(f"{name} {key}".strip(), each)


def variable(option: click.Option) -> str:
    names = [option.envvar] if isinstance(option.envvar, str) else list(option.envvar or ())
    return f"`{names[-1]}`" if names else ""


def row(option: click.Option) -> str:
    shown, text = option.get_help_record(click.Context(commands)) or ("", "")
    cells = (f"`{shown}`", variable(option), " ".join(text.split()))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def written() -> str:
    parts = [HEAD]
    for name, command in every("", commands):
        options = [each for each in command.params if isinstance(each, click.Option) and each.name != "help"]
        own = [each for each in options if name == "run" or (each.name not in SHARED and each.name != "config")]
        if not own:
            continue
        parts.append(f"\n## {name}\n\n| option | variable | meaning |\n|---|---|---|\n")
        parts += [row(each) + "\n" for each in own]
    return "".join(parts)


def test_the_page_is_what_the_commands_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == written(), "write it anew: python -m tests.docs.test_settings"


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
