"""`owmesos dashboard`: the link to the admin API's page, with the token that lets it in."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import click

from owmesos.cli.client import RequestFailed
from owmesos.cli.connection import AdminAccess, admin_client
from owmesos.cli.options import Option, with_options


@click.command()
@with_options
def dashboard(
    *,
    admin: AdminAccess,
    open: Annotated[bool, Option("Open it in your browser instead of printing it.")] = False,  # noqa: A002
) -> None:
    """Print a link to the dashboard with a read-only token.

    The token follows the #, a part that browsers do not send. It is valid until the framework's process ends, or
    longer with its --admin-read-token-file.
    """
    client = admin_client(admin)
    client.get("status")  # says what is wrong, as every command does
    token = admin.reading_token(client.endpoint)
    if token is None:
        raise RequestFailed("no token was found: give --admin-token-file")
    link = f"{client.endpoint.url}/#token={quote(token, safe='')}"
    if open:
        _open(link)
    else:
        click.echo(link)


def _open(link: str) -> None:
    """By a page of the user's own that leads there: every user of the machine can read a browser's arguments."""
    import webbrowser

    from owmesos.system.private_files import make_private_folder, write_private
    from owmesos.system.user_folders import user_state_folder

    file = user_state_folder() / "dashboard.html"
    make_private_folder(file.parent)
    write_private(file, f'<!doctype html><meta http-equiv="refresh" content="0; url={link}"><title>owmesos</title>\n')
    if not webbrowser.open(file.as_uri()):
        raise RequestFailed("no browser can be started here: open the link that `owmesos dashboard` prints")
