"""Where the API server is, whom we trust as it, and who we are. TLS is always verified.

Nothing here is bound to an event loop: the requests and the watches share one `ClusterAccess`, from two threads.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from owmesos.errors import InvalidInput, OwmesosError, os_reason

REREAD = (
    60.0  # seconds; a service account's token is replaced long before it expires, the file is read again each minute
)
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


class CredentialsUnavailable(OwmesosError):
    """No credentials are available now: a plugin failed, or a file is missing. A later try may succeed."""


@dataclass(frozen=True)
class ClientCertificate:
    """Both PEM; `certificate` may hold a chain, `key` is not encrypted."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True)
class Credential:
    """Who we are: by a bearer token, a certificate, both or neither."""

    token: str | None = field(default=None, repr=False)
    certificate: ClientCertificate | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}


class ApiCredentials(Protocol):
    """Used from several threads. `str` of it says for people what it is."""

    def current(self) -> Credential | None:
        """What is in force, without waiting; None if it has to be renewed. Raises CredentialsUnavailable."""

    def renew(self, rejected: Credential | None = None) -> Credential:
        """Another one than `rejected`, if there is another. May wait for a program. Raises CredentialsUnavailable."""


class FixedCredentials:
    """They stand in the kubeconfig itself."""

    def __init__(self, credential: Credential, name: str) -> None:
        self._credential = credential
        self._name = name

    def __str__(self) -> str:
        return self._name

    def current(self) -> Credential:
        return self._credential

    def renew(self, rejected: Credential | None = None) -> Credential:
        return self._credential


class FileCredentials:
    """A token, or a certificate and its key, in files that somebody replaces: read again each minute."""

    def __init__(self, read: Callable[[], Credential], name: str, clock: Callable[[], float] = time.monotonic) -> None:
        """`read` raises InvalidInput."""
        self._read = read
        self._name = name
        self._clock = clock
        self._lock = Lock()
        self._known: Credential | None = None
        self._read_at = 0.0

    def __str__(self) -> str:
        return self._name

    def current(self) -> Credential:
        with self._lock:
            if self._known is None or self._clock() - self._read_at >= REREAD:
                self._again()
            assert self._known is not None
            return self._known

    def renew(self, rejected: Credential | None = None) -> Credential:
        with self._lock:
            self._again()
            assert self._known is not None
            return self._known

    def _again(self) -> None:
        """What was read last holds on while a file is just being replaced."""
        try:
            self._known = self._read()
        except InvalidInput as error:
            if self._known is None:
                raise CredentialsUnavailable(str(error)) from None
        self._read_at = self._clock()


@dataclass(eq=False)
class ClusterAccess:
    """All that a connection needs. Only `renew` changes it.

    server:       https://host:port, and a path where the API is below one
    authority:    reads the PEM of the only authorities that are trusted; raises InvalidInput. None: the system's
    server_name:  what the server's certificate must be for; None: the host in `server`
    namespace:    of the context or the service account
    source:       where all this is from, for people
    """

    server: str
    credentials: ApiCredentials
    source: str
    authority: Callable[[], str] | None = None
    server_name: str | None = None
    proxy: str | None = None
    namespace: str = "default"
    clock: Callable[[], float] = time.monotonic
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)
    _trusted: str | None = field(default=None, init=False, repr=False)  # what was read last
    _trusted_at: float = field(default=0.0, init=False, repr=False)

    def __post_init__(self) -> None:
        host = checked_server(self.server, self.source)
        if self.server.startswith("http://") and host not in _LOOPBACK:
            raise InvalidInput(f"{self.source}: {self.server} is not encrypted: give an https:// address")

    def renew(self, other: ClusterAccess) -> None:
        """The next requests have the credentials and authorities of `other`, another reading of the same kubeconfig.
        Raises InvalidInput if that leads elsewhere."""
        for what, now, then in (
            ("server", self.server, other.server),
            ("tls-server-name", self.server_name, other.server_name),
            ("proxy-url", self.proxy, other.proxy),
        ):
            if now != then:
                raise InvalidInput(f"{other.source} has another {what}, {then}, which needs a restart; it was {now}")
        trusted = other.trusted()
        with self._lock:
            self.credentials, self.authority = other.credentials, other.authority
            self._trusted, self._trusted_at = trusted, self.clock()

    def trusted(self, *, again: bool = False) -> str | None:
        """The PEM of the authorities that are trusted; None: the system's. It is read each minute, with `again` now;
        what was read last holds on while a file is just being replaced. Raises InvalidInput."""
        with self._lock:
            if self.authority is None:
                return None
            if self._trusted is None or again or self.clock() - self._trusted_at >= REREAD:
                try:
                    pem = self.authority()
                    if pem != self._trusted:
                        self._context_of(pem)
                    self._trusted = pem
                except InvalidInput:
                    if self._trusted is None:
                        raise
                self._trusted_at = self.clock()
            return self._trusted

    def _context_of(self, trusted: str | None) -> ssl.SSLContext:
        """Raises InvalidInput."""
        try:
            if trusted is not None and not trusted.strip():
                raise ValueError("it is empty")  # OpenSSL would trust the system's
            return ssl.create_default_context(cadata=trusted)
        except (ssl.SSLError, ValueError) as error:
            raise InvalidInput(f"{self.source}: the certificate authority is not valid PEM: {error}") from None

    def ssl_context(self, certificate: ClientCertificate | None) -> ssl.SSLContext:
        """Raises InvalidInput if the authorities or the certificate are not valid."""
        context = self._context_of(self.trusted())
        # Python 3.13 demands extensions of an authority that those of many clusters lack. Chain, name and dates stay.
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate is not None:
            _show(context, certificate, self.source)
        return context

    def proxy_for_requests(self) -> str | None:
        """The context's, else that of the environment: HTTPS_PROXY, unless NO_PROXY names the server."""
        if self.proxy is not None:
            return self.proxy
        parts = urlsplit(self.server)
        proxies = getproxies_environment()
        if parts.hostname is None or proxy_bypass(parts.netloc, proxies):
            return None
        return proxies.get(parts.scheme)


def checked_server(server: str, source: str) -> str:
    """Its host. Raises InvalidInput."""
    try:
        parts = urlsplit(server)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("https", "http") or not parts.hostname or parts.query or parts.fragment:
        raise InvalidInput(f"{source}: the server {server!r} is not an address such as https://host:6443")
    if parts.username is not None:
        raise InvalidInput(f"{source}: the server's address holds a password: give a token or a certificate")
    return parts.hostname


def checked_token(text: str, where: str) -> str:
    """`text` as a bearer token. Raises InvalidInput."""
    token = text.strip()
    if not token:
        raise InvalidInput(f"{where} is empty")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise InvalidInput(f"{where} has characters that a token cannot have")
    return token


def read_file(file: Path, what: str) -> bytes:
    """At most 1 MB. `what` it is, for the error. Raises InvalidInput."""
    try:
        with file.open("rb") as opened:
            return opened.read(1024 * 1024)
    except OSError as error:
        raise InvalidInput(f"the {what} {file} cannot be read: {os_reason(error)}") from None
    except ValueError as error:  # a NUL, or half a character, in its name
        raise InvalidInput(f"the {what} {str(file)!r} cannot be read: {error}") from None


def read_token(file: Path) -> str:
    """Raises InvalidInput."""
    return checked_token(read_text(file, "token file"), f"the token file {file}")


def read_text(file: Path, what: str) -> str:
    """Raises InvalidInput."""
    try:
        return read_file(file, what).decode()
    except UnicodeDecodeError:
        raise InvalidInput(f"the {what} {file} is not valid UTF-8") from None


def _show(context: ssl.SSLContext, certificate: ClientCertificate, source: str) -> None:
    """OpenSSL takes them from a file only: one in memory, so that no key lies on a disk."""
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as opened:
            opened.write(certificate.certificate.rstrip() + b"\n" + certificate.key)
        try:
            context.load_cert_chain(f"/proc/self/fd/{descriptor}", password="")
        except (ssl.SSLError, ValueError) as error:
            why = getattr(error, "reason", None) or error
            raise InvalidInput(
                f"{source}: the client certificate or its key cannot be used: {why}; give PEM without a password"
            ) from None
    finally:
        os.close(descriptor)
