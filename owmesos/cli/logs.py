"""`owmesos logs`: what a launch or an activation has written, so far or while it runs."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterable
from typing import Annotated
from urllib.parse import quote

import click

from owmesos.cli import completion
from owmesos.cli.connection import AdminAccess, admin_client
from owmesos.cli.options import Argument, Option, with_options
from owmesos.cli.text import visible


@click.command()
@with_options
def logs(
    *,
    name: Annotated[str, Argument("ID", shell_complete=completion.launches_and_activations)],
    stderr: Annotated[bool, Option("Print stderr instead of stdout.")] = False,
    follow: Annotated[bool, Option("Follow the log until the task ends or Ctrl-C.", None, "-f", "--follow")] = False,
    tail: Annotated[int | None, click.IntRange(min=0), Option("Print only the last N lines.", "N")] = None,
    admin: AdminAccess,
) -> None:
    """Print what a launch or an activation has written.

    It prints stdout, or with --stderr stderr, also after the end while the agent keeps the files.

    ID is a launch's, a task's, a container's or an activation's. A running activation has what its container has
    written since the one before ended, or all of it where several run at once; one that has ended, in standalone mode,
    the lines of its record, with --stderr only those of stderr.
    """
    parameters = {"stream": "stderr" if stderr else "stdout", "follow": "1" if follow else "0"}
    if tail is not None:
        parameters["tail"] = str(tail)
    parts = admin_client(admin).stream(f"logs/{quote(name, safe='')}", parameters)
    _print(parts, as_text=sys.stdout.isatty())


def _print(parts: Iterable[bytes], *, as_text: bool) -> None:
    """Write bytes as they come; to a terminal as text, without control characters."""
    if not as_text:
        out = sys.stdout.buffer
        for part in parts:
            out.write(part)
            out.flush()
        return
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    for part in parts:
        lines = decoder.decode(part).split("\n")
        click.echo("\n".join("\t".join(map(visible, line.split("\t"))) for line in lines), nl=False)
