"""The command `owmesos`.

Names, flags, JSON fields and exit codes are a contract (docs/cli.md): 0 done, 1 the request failed, 2 wrong usage, 130
Ctrl-C, with the reason in one line on stderr. A command's module is loaded when the command is asked for: a shell that
completes a name, or a script that asks for one listing, does not wait for a whole framework.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from owmesos.cli.settings import equip
from owmesos.cli.text import visible
from owmesos.errors import Interrupted, OwmesosError, os_reason

_COMMANDS = {
    "run": "owmesos.cli.run:run",
    "status": "owmesos.cli.status:status",
    "doctor": "owmesos.cli.doctor:doctor",
    "state": "owmesos.cli.state:state",
    "top": "owmesos.cli.top:top",
    "dashboard": "owmesos.cli.dashboard:dashboard",
    "launch": "owmesos.cli.launch:launch",
    "kill": "owmesos.cli.launch:kill",
    "teardown": "owmesos.cli.launch:teardown",
    "nodes": "owmesos.cli.listings:nodes",
    "offers": "owmesos.cli.listings:offers",
    "reservations": "owmesos.cli.listings:reservations",
    "launches": "owmesos.cli.listings:launches",
    "containers": "owmesos.cli.listings:containers",
    "invoker": "owmesos.cli.listings:invoker",
    "logs": "owmesos.cli.logs:logs",
    "explain": "owmesos.cli.listings:explain",
    "story": "owmesos.cli.listings:story",
    "action": "owmesos.cli.activations:action",
    "invoke": "owmesos.cli.activations:invoke",
    "activation": "owmesos.cli.activations:activation",
    "local": "owmesos.cli.local:local",
    "demo": "owmesos.cli.demo.command:demo",
    "simulate": "owmesos.cli.simulate:simulate",
    "completion": "owmesos.cli.completion:completion",
}


_TRACEBACK = "OWMESOS_TRACEBACK"
_NO_ARGUMENTS: Any = getattr(click.exceptions, "NoArgsIsHelpError", ())  # before 8.2 click prints the help itself
_NOT_IN_RANGE = re.compile("(is not a valid (?:float|integer)) range")  # as click names the type, not what to write
_NO_SUCH_COMMAND = re.compile("No such command '(?P<name>[^']*)'")


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
        except (click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except OwmesosError as error:
            _fail(ctx, str(error), error.exit_code)
        except _NO_ARGUMENTS:
            raise
        except click.UsageError as error:
            _fail(ctx, _usage(error, ctx), error.exit_code)
        except click.ClickException as error:
            _fail(ctx, error.format_message(), error.exit_code)
        except KeyboardInterrupt:
            _fail(ctx, "interrupted", Interrupted.exit_code)
        except OSError as error:
            if (
                error.filename is None and error.errno == errno.ENOSPC
            ):  # a command writes to nothing else without a name
                _fail(ctx, f"the output cannot be written: {os_reason(error)}", 1)
            _fail(ctx, str(error), 1)
        except UnicodeEncodeError as error:  # an argument or a variable has surrogates in the place of its bytes
            _fail(ctx, f"not valid UTF-8: {ascii(error.object)[:100]}", 2)
        except Exception as error:  # a fault of ours: one line, as every error
            if os.environ.get(_TRACEBACK):
                raise
            what = f"{type(error).__name__}: {error}"
            _fail(ctx, f"internal error, please report it: {what} (where: set {_TRACEBACK}=1)", 1)


def _show_version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from owmesos.cli.version import version_text

        click.echo(version_text())
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the versions of owmesos and of what it uses, and exit.",
)
def commands() -> None:
    """Run containers on Apache Mesos or Kubernetes without over-provisioning the cluster.

    `owmesos run` is the framework; the other commands start launches and show its state. Every option can also be set
    in the environment (OWMESOS_MASTER, OWMESOS_LAUNCH_MEM, ...) and in a TOML file (--config).
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code."""
    _open_closed_streams()
    try:
        code = commands.main(arguments, prog_name="owmesos", standalone_mode=False)
        sys.stdout.flush()
    except _NO_ARGUMENTS as error:
        click.echo(error.format_message(), err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(_line("owmesos", _usage(error) if isinstance(error, click.UsageError) else str(error)), err=True)
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):  # the latter: again, while the first was answered
        click.echo("owmesos: interrupted", err=True)
        code = Interrupted.exit_code
    except OSError as error:
        code = _cannot_write(error)
    sys.exit(code if isinstance(code, int) else 0)


def _open_closed_streams() -> None:
    """As `>&-` leaves them: Python has None there, and the next file or socket would get the descriptor."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _cannot_write(error: OSError) -> int:
    """The output cannot be written: the disk is full, or the reader went away, which is not our error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # at its end Python tries again
    if error.errno != errno.EPIPE:
        click.echo(_line("owmesos", f"the output cannot be written: {os_reason(error)}"), err=True)
    return 1


def _command(name: str) -> click.Command | None:
    return commands.get_command(click.Context(commands), name)


def _usage(error: click.UsageError, parent: click.Context | None = None) -> str:
    """click's option parser does not name the command: then it is the one below `parent`."""
    if error.ctx is not None:
        path = error.ctx.command_path
    else:
        path = f"owmesos {parent.invoked_subcommand or ''}".strip() if parent is not None else "owmesos"
    return f"{_what_is_wrong(error)} (see {path} --help)"


def _what_is_wrong(error: click.UsageError) -> str:
    """With what was meant, perhaps: how click says that depends on its version."""
    if isinstance(error, click.NoSuchOption):
        said, meant = f"No such option '{error.option_name}'", sorted(error.possibilities or ())
    else:
        said, meant = _NOT_IN_RANGE.sub(r"\1", error.format_message()), []
        unknown = _NO_SUCH_COMMAND.match(said)
        if unknown is not None and error.ctx is not None and isinstance(error.ctx.command, click.Group):
            said, known = unknown[0], error.ctx.command.list_commands(error.ctx)
            from difflib import get_close_matches

            meant = get_close_matches(unknown["name"], known)
    return f"{said}: did you mean {' or '.join(meant)}?" if meant else said.rstrip(".")


def _fail(ctx: click.Context, reason: str, exit_code: int) -> NoReturn:
    click.echo(_line(f"owmesos {ctx.invoked_subcommand or ''}".strip(), reason), err=True)
    raise click.exceptions.Exit(exit_code)


def _line(who: str, reason: str) -> str:
    return visible(f"{who}: {' '.join(reason.split())}")
