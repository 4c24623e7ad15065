"""Shell completion: commands and options by click, names and IDs from the framework.

The framework that the options on the line name is asked, for a second at most. If it does not answer, nothing is
suggested: an error would appear in the middle of the line.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import click

from owmesos.cli.options import Argument, with_options
from owmesos.errors import OwmesosError

_VARIABLE = "_OWMESOS_COMPLETE"  # the one that click reads
_PATIENCE = 1.0  # seconds
_MOST = 200  # rows of one listing
Complete = Callable[[click.Context, click.Parameter, str], list[str]]


@click.command()
@with_options
def completion(*, shell: Annotated[Literal["bash", "zsh", "fish"], Argument("bash|zsh|fish")]) -> None:
    """Print the script for completion in bash, zsh or fish.

    It makes the shell complete commands, options and names.

    Put `eval "$(owmesos completion bash)"` into ~/.bashrc, or the same with zsh into ~/.zshrc; for fish,
    `owmesos completion fish > ~/.config/fish/completions/owmesos.fish`.
    """
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    root = click.get_current_context().find_root().command
    click.echo(_mended(made(root, {}, "owmesos", _VARIABLE).source()))


def _mended(script: str) -> str:
    """Click's script for fish cuts an option's description at its first comma."""
    return script.replace('string split "," $completion', 'string split -m1 "," $completion')


def _completes(names: Callable[[Callable[[str], Any]], Iterable[str]]) -> Complete:
    """`names` is called with a function that requests the document at a path below /api/v1/."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
        try:
            found = dict.fromkeys(names(_asker(ctx)))
        except (OwmesosError, OSError, ValueError, LookupError, TypeError):
            return []
        return [name for name in found if name.startswith(incomplete)]

    return complete


def _asker(ctx: click.Context) -> Callable[[str], Any]:
    """Raises InvalidInput."""
    from owmesos.cli.client import AdminRequest
    from owmesos.cli.connection import AdminAccess

    given = {name: ctx.params[name] for name in ("url", "token_file", "ca", "insecure") if ctx.params.get(name)}
    client = AdminAccess(**given).client()
    return lambda path: client.ask_once(AdminRequest("GET", path, timeout=_PATIENCE))


@_completes
def launches_and_activations(ask: Callable[[str], Any]) -> Iterable[str]:
    yield from _of_launches(ask)
    try:
        yield from _of_activations(ask)
    except OwmesosError:  # without --standalone there are none
        return


@_completes
def waiting_activations(ask: Callable[[str], Any]) -> Iterable[str]:
    rows = ask(f"activations?unfinished=1&limit={_MOST}")
    return [row["activationId"] for row in rows if row.get("state") == "waiting"]


def _launches(ask: Callable[[str], Any]) -> list[Any]:
    """The latest first."""
    found: list[Any] = ask(f"launches?limit={_MOST}")
    return found[::-1]


def _of_launches(ask: Callable[[str], Any]) -> list[str]:
    """Ids, and names that stand for one launch: that only one has, or only one that has not ended."""
    rows = _launches(ask)
    every = Counter(row["name"] for row in rows)
    not_ended = Counter(row["name"] for row in rows if row["ended_at"] is None)
    return [row["launch_id"] for row in rows] + [name for name in every if 1 in (every[name], not_ended[name])]


def _of_activations(ask: Callable[[str], Any]) -> list[str]:
    return [row["activationId"] for row in ask(f"activations?unfinished=1&limit={_MOST}")]


launches = _completes(_of_launches)
launch_names = _completes(lambda ask: [row["name"] for row in _launches(ask)])
actions = _completes(lambda ask: [row["name"] for row in ask("actions")])
activations = _completes(_of_activations)
