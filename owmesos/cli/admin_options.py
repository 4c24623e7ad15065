"""Options of `owmesos run` for the admin API that it serves."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from owmesos.cli import connection
from owmesos.cli.options import Option
from owmesos.errors import InvalidInput
from owmesos.system.discovery import ADMIN, ADMIN_READ, announced
from owmesos.system.hosts import is_loopback
from owmesos.system.tls_files import wrong_with_certificate

if TYPE_CHECKING:
    import ssl

    from owmesos.service.admin import AdminServer
    from owmesos.service.admin_tokens import Tokens

_log = logging.getLogger("owmesos.run")
_EXPIRES_SOON = timedelta(days=14)


class Expiry(NamedTuple):
    """Until when a certificate is valid."""

    when: Literal["expired", "soon", "later"]
    said: str


@dataclass(frozen=True)
class AdminOptions:
    """How the admin API is served: where, to whom, and with which certificate."""

    admin: Annotated[str, Option("Address to serve the admin API at.", "HOST:PORT")] = connection.DEFAULT_ADMIN
    admin_token_file: connection.TokenFile = None
    admin_read_token_file: Annotated[Path | None, Option("File with a second token that may only read.", "F")] = None
    admin_tls_cert: Annotated[Path | None, Option("Certificate of the admin API, for https.", "F")] = None
    admin_tls_key: Annotated[Path | None, Option("Private key of that certificate.", "F")] = None
    admin_insecure: connection.Insecure = False
    metrics_nodes: Annotated[int, Option("Most nodes to show one by one at /metrics; with more, only sums.", "N")] = (
        100  # as service.metrics.cluster.NODES_SHOWN
    )

    def server(self) -> AdminServer:
        """Listens already, but does not answer yet. Raises InvalidInput and CannotListen."""
        from owmesos.service.admin import AdminServer
        from owmesos.service.admin_tokens import read_token

        for file in (self.admin_token_file, self.admin_read_token_file):
            if file is not None:
                read_token(file)  # before anything else is done

        endpoint, tls = connection.Endpoint.parse(self.admin), self.tls()
        if (endpoint.scheme == "https") != (tls is not None) and endpoint.scheme is not None:
            need = "needs" if tls is None else "is not https and does not use"
            raise InvalidInput(f"--admin {self.admin} {need} --admin-tls-cert and --admin-tls-key")
        server = AdminServer(endpoint.host, endpoint.port, tls=tls, metrics_nodes=self.metrics_nodes)
        try:
            self._check(server.address)
        except InvalidInput:
            server.close()
            raise
        return server

    def _check(self, address: str) -> None:
        """Beyond loopback, token and TLS are needed. Raises InvalidInput."""
        if is_loopback(address) or self.admin_insecure:
            return
        needed = {
            "--admin-token-file": self.admin_token_file,
            "--admin-tls-cert": self.admin_tls_cert,
            "--admin-tls-key": self.admin_tls_key,
        }
        missing = [option for option, file in needed.items() if file is None]
        if missing:
            raise InvalidInput(
                f"--admin {self.admin} can be reached from other machines: give {' and '.join(missing)} too, "
                "or --admin-insecure on a private network"
            )

    def tls(self) -> ssl.SSLContext | None:
        cert, key = self.admin_tls_cert, self.admin_tls_key
        if cert is None and key is None:
            return None
        if cert is None or key is None:
            raise InvalidInput("--admin-tls-cert needs --admin-tls-key, and vice versa")
        import ssl

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(cert, key, password="")
        except OSError as error:
            wrong = wrong_with_certificate(cert, key, error)
            raise InvalidInput(f"the certificate of the admin API cannot be used: {wrong}") from None
        return context

    def expiry(self, now: datetime) -> Expiry | None:
        """None without a certificate, or for one that says no end."""
        if self.admin_tls_cert is None:
            return None
        from owmesos.system.certificates import not_after

        end = not_after(self.admin_tls_cert.read_bytes())
        if end is None:
            return None
        what = f"the admin API's certificate {self.admin_tls_cert}"
        if end <= now:
            return Expiry("expired", f"{what} expired at {end:%Y-%m-%d %H:%M} UTC: no command trusts it")
        if end <= now + _EXPIRES_SOON:
            return Expiry("soon", f"{what} expires at {end:%Y-%m-%d %H:%M} UTC")
        return Expiry("later", f"{self.admin_tls_cert} is valid until {end:%Y-%m-%d}")

    def warn_of_expiry(self) -> None:
        expiry = self.expiry(datetime.now(timezone.utc))
        if expiry is not None and expiry.when != "later":
            _log.warning("%s: replace it, then send SIGHUP", expiry.said)

    @contextmanager
    def announced(self, server: AdminServer, tokens: Tokens) -> Iterator[None]:
        """The other commands of this user find the token within the block."""
        if not is_loopback(server.address) and (self.admin_tls_cert is None or self.admin_token_file is None):
            _log.warning(
                "--admin-insecure: the admin API at %s can be reached from other machines, %s",
                server.url,
                "and its token can be read on the way" if self.admin_tls_cert is None else "with a token made here",
            )
        with ExitStack() as stack:
            done = stack.enter_context(announced(ADMIN, server.address, server.port, f"{tokens.admin}\n"))
            if not done:
                _log.warning("no folder to leave the token in for other commands: give them --admin-token-file")
            if tokens.read is not None:
                stack.enter_context(announced(ADMIN_READ, server.address, server.port, f"{tokens.read}\n"))
            yield
