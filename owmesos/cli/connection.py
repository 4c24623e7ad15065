"""Options by which commands reach a framework's admin API, or a master."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from owmesos.cli.client import DEFAULT_ADMIN, AdminClient, Endpoint
from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.mesos.access import Tls

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
MASTER_FORMS = "host:port[,host:port...], https://..., or zk://host:port[,...]/path"


def admin_option(command: F) -> F:
    help_text = "Where the framework's admin API is."
    return click.option("--admin", metavar="URL", default=f"http://{DEFAULT_ADMIN}", show_default=True, help=help_text)(
        command
    )


@dataclass(frozen=True)
class MasterAccess:
    """Who we are to a master, and whether we believe it, as the options say."""

    principal: str | None
    secret_file: Path | None
    tls_ca: Path | None
    tls_cert: Path | None
    tls_key: Path | None

    def secret(self) -> str | None:
        """That of the principal, who must have one. Raises InvalidInput."""
        from owmesos.mesos.access import SECRET_VARIABLE, read_secret

        if self.principal is None:
            if self.secret_file is not None:
                raise InvalidInput("a secret without its principal: give --principal too")
            return None
        secret = read_secret(self.secret_file)
        if secret is None:
            raise InvalidInput(f"principal {self.principal} needs a secret: give --secret-file or {SECRET_VARIABLE}")
        return secret

    def tls(self) -> Tls | None:
        """None when nothing is given: then masters without a scheme are spoken to in plain HTTP.

        Raises InvalidInput when a file cannot be used.
        """
        from owmesos.mesos.access import Tls

        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if all(file is None for file in files):
            return None
        tls = Tls(*files)
        tls.context()
        return tls


def master_access_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets `access`, a MasterAccess, in place of the options."""

    @wraps(command)
    def with_access(*args: Any, **given: Any) -> Any:
        access = MasterAccess(*(given.pop(field.name) for field in fields(MasterAccess)))
        return command(*args, access=access, **given)

    options = (
        click.option("--principal", metavar="P", help="Who we are to the master (HTTP basic authentication)."),
        click.option("--secret-file", type=FILE, metavar="F", help="Its secret; or give OWMESOS_SECRET."),
        click.option("--tls-ca", type=FILE, metavar="F", help="The authority to trust in place of the system's."),
        click.option("--tls-cert", type=FILE, metavar="F", help="Our own certificate."),
        click.option("--tls-key", type=FILE, metavar="F", help="Its key."),
    )
    for option in reversed(options):
        with_access = option(with_access)
    return with_access


def admin_client(admin: str) -> AdminClient:
    """Raises InvalidInput."""
    return AdminClient(Endpoint.parse(admin))


def credentials_allowed(ctx: click.Context) -> bool:
    """Whether --master may hold a password: not where every user of the machine can read it."""
    return ctx.get_parameter_source("master") is not click.core.ParameterSource.COMMANDLINE
