"""The command `owmesos`.

Names, flags, JSON fields and exit codes are a contract (docs/cli.md): 0 done, 1 the request failed, 2 wrong usage, with
the reason in one line on stderr. A command's module is loaded when the command is asked for: a shell that completes
a name, or a script that asks for one listing, does not wait for a whole framework.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from owmesos.cli.settings import equip
from owmesos.errors import OwmesosError

_COMMANDS = {
    "run": "owmesos.cli.run:run",
    "launch": "owmesos.cli.launch:launch",
    "kill": "owmesos.cli.launch:kill",
    "teardown": "owmesos.cli.launch:teardown",
    "nodes": "owmesos.cli.listings:nodes",
    "offers": "owmesos.cli.listings:offers",
    "reservations": "owmesos.cli.listings:reservations",
    "launches": "owmesos.cli.listings:launches",
    "containers": "owmesos.cli.listings:containers",
    "explain": "owmesos.cli.listings:explain",
    "story": "owmesos.cli.listings:story",
    "action": "owmesos.cli.action:action",
    "invoke": "owmesos.cli.invoke:invoke",
    "activation": "owmesos.cli.activation:activation",
    "local": "owmesos.cli.local:local",
    "demo": "owmesos.cli.demo.command:demo",
}


class Commands(click.Group):
    """Loads commands on demand, gives them their settings' other sources, and makes every error one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.commands and cmd_name in _COMMANDS:
            module, _, attribute = _COMMANDS[cmd_name].partition(":")
            self.commands[cmd_name] = equip(cmd_name, getattr(import_module(module), attribute), _command)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OwmesosError as error:
            _fail(ctx, str(error), error.exit_code)
        except click.UsageError as error:
            _fail(ctx, _usage(error), error.exit_code)
        except click.ClickException as error:
            _fail(ctx, error.format_message(), error.exit_code)
        except (KeyboardInterrupt, EOFError):
            _fail(ctx, "interrupted", 1)
        except BrokenPipeError:
            raise
        except OSError as error:
            _fail(ctx, str(error), 1)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="owmesos", prog_name="owmesos")
def commands() -> None:
    """Containers on a Mesos cluster that is never over-provisioned.

    `owmesos run` is the framework; the other commands ask it for launches and show what it knows. Every option can
    also be set by the environment (OWMESOS_MASTER, OWMESOS_LAUNCH_MEM, ...) and in a TOML file (--config).
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    try:
        code = commands.main(arguments, prog_name="owmesos", standalone_mode=False)
    except click.ClickException as error:
        click.echo(_line("owmesos", _usage(error) if isinstance(error, click.UsageError) else str(error)), err=True)
        code = error.exit_code
    except click.Abort:
        click.echo("owmesos: interrupted", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _command(name: str) -> click.Command | None:
    return commands.get_command(click.Context(commands), name)


def _usage(error: click.UsageError) -> str:
    path = error.ctx.command_path if error.ctx is not None else "owmesos"
    return f"{error.format_message().rstrip('.')} (see {path} --help)"


def _fail(ctx: click.Context, reason: str, exit_code: int) -> NoReturn:
    click.echo(_line(f"owmesos {ctx.invoked_subcommand or ''}".strip(), reason), err=True)
    raise click.exceptions.Exit(exit_code)


def _line(who: str, reason: str) -> str:
    return f"{who}: {' '.join(reason.split())}"
