"""Options by which commands reach a framework's admin API, or a master."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import click

from owmesos.cli.options import Option
from owmesos.errors import InvalidInput
from owmesos.system.hosts import checked_host, is_loopback
from owmesos.system.tls_files import wrong_with_authority

if TYPE_CHECKING:
    import ssl

    from owmesos.cli.client import AdminClient
    from owmesos.mesos.wire.access import Access, Tls

DEFAULT_ADMIN = "127.0.0.1:8686"
_ADDRESS = re.compile(r"(?:(?P<scheme>https?)://)?(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})/?\Z")
MASTER_FORMS = "host:port[,host:port...], https://..., or zk://host:port[,...]/path"
TokenFile = Annotated[
    Path | None, Option("File with the admin API's token. [default: that of `owmesos run`]", "F", "--admin-token-file")
]
Insecure = Annotated[bool, Option("Use the admin API without TLS on a network.", None, "--admin-insecure")]


class Endpoint(NamedTuple):
    """Where an admin API is, or shall be."""

    host: str
    port: int
    scheme: str | None = None
    """None where it is not said."""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """`HOST:PORT`, `http://HOST:PORT` or `https://HOST:PORT`. Raises InvalidInput."""
        match = _ADDRESS.match(text.strip())
        if match is None or int(match["port"]) > 65535:
            raise InvalidInput(f"{text!r} is not an address of an admin API: write HOST:PORT, http(s)://HOST:PORT")
        try:
            host = checked_host(match["host"].strip("[]"))
        except InvalidInput as error:
            raise InvalidInput(f"{text!r} is not an address of an admin API: {error}") from None
        return cls(host, int(match["port"]), match["scheme"])

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme or 'http'}://{host}:{self.port}"


@dataclass(frozen=True)
class AdminAccess:
    """Where a framework's admin API is, which certificate it has, and with which token it lets us in."""

    url: Annotated[
        str, Option("Address of the framework's admin API; with run --ha several by comma.", "URL", "--admin")
    ] = f"http://{DEFAULT_ADMIN}"
    token_file: TokenFile = None
    ca: Annotated[Path | None, Option("Certificate authority to trust for an https --admin.", "F", "--admin-ca")] = None
    insecure: Insecure = False

    def client(self, **more: Any) -> AdminClient:
        """Raises InvalidInput."""
        from owmesos.cli.client import AdminClient  # loads http.client and ssl

        return AdminClient(*self.endpoints(), **self.client_settings(), **more)

    def client_settings(self) -> dict[str, Any]:
        """For AdminClient. Raises InvalidInput."""
        endpoints, tls = self.endpoints(), None
        if any(each.scheme == "https" for each in endpoints):
            tls = self._context()
        for each in endpoints:
            if each.scheme != "https" and not is_loopback(each.host) and not self.insecure:
                raise InvalidInput(
                    f"the token would go to {each.url} unencrypted: use https://, or give --admin-insecure"
                )
        return {"token": self._token, "tls": tls, "insecure": self.insecure}

    def endpoints(self) -> tuple[Endpoint, ...]:
        """Raises InvalidInput."""
        return tuple(self._endpoint(each) for each in self.url.split(","))

    def _endpoint(self, url: str) -> Endpoint:
        endpoint = Endpoint.parse(url)
        if self.ca is None:
            return endpoint
        if endpoint.scheme == "http":
            raise InvalidInput(f"--admin-ca needs an https URL, and --admin is {url}")
        return endpoint._replace(scheme="https")

    def reading_token(self, endpoint: Endpoint) -> str | None:
        """The token that is given; else one that may only read, if the framework has one. Raises InvalidInput."""
        from owmesos.system.discovery import ADMIN_READ, find

        found = find(ADMIN_READ, endpoint.host, endpoint.port) if self.token_file is None else None
        return found or self._token(endpoint)

    def _token(self, endpoint: Endpoint) -> str | None:
        from owmesos.service.admin_tokens import read_token

        if self.token_file is not None:
            return read_token(self.token_file)
        from owmesos.system.discovery import ADMIN, find

        return find(ADMIN, endpoint.host, endpoint.port)

    def _context(self) -> ssl.SSLContext:
        import ssl

        if self.ca is None:
            return ssl.create_default_context()
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            why = wrong_with_authority(self.ca, error)
            raise InvalidInput(f"--admin-ca {self.ca} cannot be used: {why}") from None


@dataclass(frozen=True)
class MasterAccess:
    """Our credentials at a master, and how its certificate is checked."""

    principal: Annotated[str | None, Option("Principal for HTTP basic authentication at the master.", "P")] = None
    secret_file: Annotated[Path | None, Option("File with its secret; or set OWMESOS_SECRET.", "F")] = None
    tls_ca: Annotated[Path | None, Option("Authority to trust instead of the system's.", "F")] = None
    tls_cert: Annotated[Path | None, Option("Client certificate for the master.", "F")] = None
    tls_key: Annotated[Path | None, Option("Private key of the client certificate.", "F")] = None

    def secret(self) -> str | None:
        """The secret of the principal, who must have one. Raises InvalidInput."""
        from owmesos.mesos.wire.access import SECRET_VARIABLE, read_secret

        if self.principal is None:
            if self.secret_file is not None:
                raise InvalidInput("--secret-file needs --principal")
            return None
        secret = read_secret(self.secret_file)
        if secret is None:
            raise InvalidInput(f"principal {self.principal} needs a secret: give --secret-file or {SECRET_VARIABLE}")
        return secret

    def tls(self) -> Tls | None:
        """None if no file is given: then a master without a scheme is reached by plain HTTP.

        Raises InvalidInput when a file cannot be used.
        """
        from owmesos.mesos.wire.access import Tls

        files = (self.tls_ca, self.tls_cert, self.tls_key)
        if all(file is None for file in files):
            return None
        tls = Tls(*files)
        tls.context()
        return tls

    def to_master(self) -> Access:
        """Raises InvalidInput."""
        from owmesos.mesos.wire.access import Access, Tls
        from owmesos.mesos.wire.address import Credentials

        tls, secret = self.tls(), self.secret()
        return Access(Credentials.given(self.principal, secret), tls or Tls())


def admin_client(admin: AdminAccess) -> AdminClient:
    """Raises InvalidInput."""
    command = click.get_current_context().command_path
    return admin.client(waiting=lambda line: click.echo(f"{command}: {line}", err=True))


def credentials_allowed() -> bool:
    """Whether --master may hold a password: not where every user of the machine can read it."""
    return click.get_current_context().get_parameter_source("master") is not click.core.ParameterSource.COMMANDLINE
