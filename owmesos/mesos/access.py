"""Who we are to a master, and whether we believe it: basic authentication and TLS.

Secrets come from a file that only its owner reads, or from the environment; never from an argument.
Certificates are always verified. docs/authentication.md, docs/ssl.md.
"""

from __future__ import annotations

import base64
import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import aiohttp

from owmesos.errors import InvalidInput
from owmesos.mesos.address import Credentials

SECRET_VARIABLE = "OWMESOS_SECRET"
_CONNECT_TIMEOUT = 10.0
_READ_BUFFER = 256 * 1024


@dataclass(frozen=True)
class Tls:
    """`ca`: the only authority to trust; without it the system's. `cert` and `key`: our own. All are PEM."""

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Raises InvalidInput when a file is missing or does not hold what it should."""
        if self.key is not None and self.cert is None:
            raise InvalidInput(f"a TLS key without its certificate: {self.key}")
        context = self._trusting()
        if self.cert is not None:
            try:
                context.load_cert_chain(self.cert, self.key, password="")
            except OSError as error:
                files = " and ".join(str(file) for file in (self.cert, self.key) if file is not None)
                raise InvalidInput(f"the TLS certificate cannot be used: {files}: {error.strerror or error}") from None
        return context

    def _trusting(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=self.ca)
        except OSError as error:
            why = error.strerror or error
            raise InvalidInput(f"the TLS authority {self.ca} cannot be used: {why}") from None


@dataclass(frozen=True)
class Access:
    """How connections to a master are made."""

    credentials: Credentials | None = None
    tls: Tls = Tls()

    @cached_property
    def ssl_context(self) -> ssl.SSLContext:
        """Raises InvalidInput, see `Tls.context`."""
        return self.tls.context()

    @property
    def headers(self) -> dict[str, str]:
        """For every request. The content type must have no charset (Mesos answers 415), and a compressed
        answer would cost the master more than it spares.
        """
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "owmesos",
        }
        if self.credentials is not None:
            pair = f"{self.credentials.principal}:{self.credentials.secret}".encode()
            headers["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
        return headers

    def session(self, *, secure: bool, connections: int = 1) -> aiohttp.ClientSession:
        """A session of its own with at most `connections`, to be closed by the caller, who also bounds the time of
        its requests: only connecting has a limit here.
        """
        limits = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT)
        connector = aiohttp.TCPConnector(limit=connections, ssl=self.ssl_context if secure else True)
        return aiohttp.ClientSession(
            connector=connector,
            timeout=limits,
            headers=self.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            read_bufsize=_READ_BUFFER,
        )


def read_secret(file: Path | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The secret in `file`, else that in OWMESOS_SECRET, else None; a line feed at its end is no part of it.

    Raises InvalidInput when the file is missing, empty, no text, or can be read by others than its owner.
    """
    if file is None:
        return environment.get(SECRET_VARIABLE) or None
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidInput(f"the secret file {file} is no regular file")
            if stat.S_IMODE(mode) & 0o077:
                raise InvalidInput(f"the secret file {file} can be read by others: chmod 600 {file}")
            secret = opened.read(64 * 1024).decode().rstrip("\r\n")
    except OSError as error:
        raise InvalidInput(f"the secret file {file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"the secret file {file} is no UTF-8 text") from None
    if not secret:
        raise InvalidInput(f"the secret file {file} is empty")
    return secret
