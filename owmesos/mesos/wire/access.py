"""How the framework authenticates to a master, and verifies it: basic authentication and TLS.

Secrets come from a file that only its owner can read, or from the environment, never from an argument. Certificates are
always verified. docs/authentication.md, docs/ssl.md.
"""

from __future__ import annotations

import base64
import os
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from weakref import WeakSet

import aiohttp

from owmesos.errors import InvalidInput, os_reason
from owmesos.mesos.wire.address import Credentials
from owmesos.system.idle_connections import REUSE_WITHIN
from owmesos.system.private_files import read_private
from owmesos.system.tls_files import wrong_with_authority, wrong_with_certificate

SECRET_VARIABLE = "OWMESOS_SECRET"
AUTHORITY = "give the authority that signed it by --tls-ca"
_CONNECT_TIMEOUT = 10.0  # seconds
_READ_BUFFER = 256 * 1024


@dataclass(frozen=True)
class Tls:
    """`ca`: the only trusted authority; by default the system's. `cert` and `key`: the framework's own. All are PEM."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises InvalidInput if a file is missing or not valid."""
        if self.key is not None and self.cert is None:
            raise InvalidInput(f"the TLS key {self.key} needs its certificate: give both")
        try:
            context = ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            why = wrong_with_authority(self.ca, error) if self.ca is not None else os_reason(error)
            raise InvalidInput(f"the TLS authority {self.ca} cannot be used: {why}") from None
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password="")
            except OSError as error:
                why = wrong_with_certificate(self.cert, self.key, error)
                raise InvalidInput(f"the TLS certificate cannot be used: {why}") from None
        return context


@dataclass(eq=False)
class Access:
    """How connections to a master are made. `late` is asked each time while there are no credentials."""

    credentials: Credentials | None = None
    tls: Tls = Tls()
    late: Callable[[], Credentials | None] | None = None
    _lasting: WeakSet[aiohttp.ClientSession] = field(default_factory=WeakSet, init=False, repr=False)

    @property
    def uses_tls(self) -> bool:
        """Whether there are files for TLS."""
        return self.tls != Tls()

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """Raises InvalidInput, see `Tls.context`."""
        return self.tls.context()

    def renew(self) -> bool:
        """Read the files again, for new connections. False if there are none. A former authority is trusted besides the
        new one until the process ends. Raises InvalidInput; then the former ones stay."""
        if not self.uses_tls:
            return False
        self.tls.context()  # they can be used
        context = self.ssl_context
        if self.tls.ca is not None:
            context.load_verify_locations(self.tls.ca)
        if self.tls.cert is not None:
            context.load_cert_chain(self.tls.cert, self.tls.key, password="")
        return True

    def renew_secret(self, secret: str) -> bool:
        """For new subscriptions, and for requests outside of one. False without credentials."""
        if self.credentials is None:
            return False
        self.credentials = Credentials(self.credentials.principal, secret)
        for session in self._lasting:
            session.headers.update(self.headers)
        return True

    @property
    def headers(self) -> dict[str, str]:
        """For every request. Mesos answers 415 to a content type with a charset; a compressed answer would cost the
        master more than it saves."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "owmesos",
        }
        credentials = self.credentials
        if credentials is None and self.late is not None:
            credentials = self.late()
        if credentials is not None:
            pair = f"{credentials.principal}:{credentials.secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def session(self, *, secure: bool, connections: int = 1, lasting: bool = False) -> aiohttp.ClientSession:
        """A new session with at most `connections`. The caller closes it, and limits the time of its requests: only
        connecting is limited here. `lasting`: it is not one of a subscription, and gets a renewed secret at once."""
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT)
        connector = aiohttp.TCPConnector(
            limit=connections, ssl=self.ssl_context if secure else True, keepalive_timeout=REUSE_WITHIN
        )
        session = aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=self.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
        )
        if lasting:
            self._lasting.add(session)
        return session


def read_secret(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The secret in `file`, else that in OWMESOS_SECRET, else None; a line feed at its end is not part of it.

    Raises InvalidInput if the file is missing, empty, not text, or readable by others than its owner.
    """
    if file is None:
        return environment.get(SECRET_VARIABLE) or None
    return read_private(file)
