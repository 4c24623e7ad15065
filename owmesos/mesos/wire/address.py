"""The addresses of masters, as users write them and as redirections name them.

`host:port[,host:port…]`, `http://…`, `https://…`, or `zk://[user:password@]host:port[,…]/path`. Credentials are
accepted only if the caller allows it, because every user of the machine can see a command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from owmesos.errors import InvalidInput
from owmesos.resources import MAX_PORT
from owmesos.system.hosts import checked_host

MESOS_PORT = 5050
ZOOKEEPER_PORT = 2181
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)\Z", re.DOTALL)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z")


@dataclass(frozen=True)
class Credentials:
    """For a master (HTTP basic authentication) or ZooKeeper (digest)."""

    principal: str
    secret: str = field(repr=False)

    @classmethod
    def given(cls, principal: str | None, secret: str | None) -> Credentials | None:
        """None unless both are given."""
        return None if principal is None or secret is None else cls(principal, secret)


@dataclass(frozen=True)
class ServerAddress:
    """One server; `host` is without the brackets of an IPv6 address."""

    scheme: str
    host: str
    port: int

    @classmethod
    def checked(cls, scheme: str, host: str, port: int) -> ServerAddress:
        """Raises InvalidInput."""
        if not 1 <= port <= MAX_PORT:
            raise InvalidInput(f"{port} is not a valid port: write 1 to {MAX_PORT}")
        return cls(scheme, checked_host(host), port)

    @property
    def host_and_port(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_and_port}"


@dataclass(frozen=True)
class Masters:
    """A list of masters, each of which leads or redirects to the leader."""

    addresses: tuple[ServerAddress, ...]
    credentials: Credentials | None = None

    @property
    def scheme(self) -> str:
        return self.addresses[0].scheme


@dataclass(frozen=True)
class ZooKeeperMasters:
    """Masters that ZooKeeper has under `path`; `hosts` is `host:port,…`."""

    hosts: str
    path: str
    scheme: str
    credentials: Credentials | None = None


@dataclass(frozen=True)
class ZooKeeperPath:
    """A node in ZooKeeper; `hosts` is `host:port,…`."""

    hosts: str
    path: str
    credentials: Credentials | None = None

    def __str__(self) -> str:
        return f"zk://{self.hosts}{self.path}"


def parse_master(text: str, *, credentials_allowed: bool, tls: bool = False) -> Masters | ZooKeeperMasters:
    """The masters that `text` names. `tls` makes masters without a scheme `https`.

    Raises InvalidInput, with one line that never repeats a password.
    """
    default_scheme = "https" if tls else "http"
    match = _SCHEME.match(text.strip())
    scheme, rest = (match["scheme"].lower(), match["rest"]) if match else (default_scheme, text.strip())
    credentials, rest = _credentials(rest, credentials_allowed)
    if scheme == "zk":
        hosts, path = _hosts_and_path(rest, text, "a master", "mesos")
        return ZooKeeperMasters(hosts, path, default_scheme, credentials)
    if scheme not in ("http", "https"):
        raise InvalidInput(f"{shown(text)!r} is not a master: write host:port[,…], https://… or zk://…/path")
    parts = rest.removesuffix("/").split(",")
    return Masters(tuple(_server(scheme, part, MESOS_PORT, text) for part in parts), credentials)


def parse_zookeeper(text: str, *, credentials_allowed: bool) -> ZooKeeperPath:
    """The node for the state that `text` names, `zk://[user:password@]host:port[,…]/path`.

    Raises InvalidInput, with one line that never repeats a password.
    """
    match = _SCHEME.match(text.strip())
    if match is None or match["scheme"].lower() != "zk":
        raise InvalidInput(f"{shown(text)!r} is not a place for the state: write zk://host:2181/path, or a folder")
    credentials, rest = _credentials(match["rest"], credentials_allowed, "the state's URL", "OWMESOS_STATE")
    return ZooKeeperPath(*_hosts_and_path(rest, text, "a place for the state", "owmesos"), credentials)


def redirect_target(location: str, base: ServerAddress) -> ServerAddress:
    """The master that `base` redirects to: Mesos answers `//host:port/path`.

    Raises InvalidInput, also for a redirection from https to http, which would send the credentials unencrypted.
    """
    try:
        parts = urlsplit(location if "//" in location else f"//{location}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = (parts.scheme or base.scheme) if host else base.scheme
    if not host or scheme not in ("http", "https"):
        raise InvalidInput(f"{base} redirects to {location[:100]!r}, which is not a master's URL")
    if base.scheme == "https" and scheme != "https":
        raise InvalidInput(f"{base} redirects from https to http at {host}: not followed")
    try:
        return ServerAddress.checked(scheme, host, base.port if port is None else port)
    except InvalidInput as error:
        raise InvalidInput(f"{base} redirects to an invalid address: {error}") from None


def shown(text: str) -> str:
    """A master's URL without its password, for the log."""
    return re.sub(r"(^|://)[^/@]*@", r"\1…@", text.strip()) if "@" in text else text.strip()


def _hosts_and_path(rest: str, text: str, what: str, example: str) -> tuple[str, str]:
    """The hosts and the path of ZooKeeper's address. Raises InvalidInput."""
    hosts, slash, path = rest.partition("/")
    path = path.rstrip("/")
    names = path.split("/")
    if not all(names) or not path.isprintable() or " " in path or not {".", ".."}.isdisjoint(names):
        raise InvalidInput(f"{shown(text)!r} lacks the path in ZooKeeper: write zk://host:2181/{example}")
    servers = [_server("zk", part, ZOOKEEPER_PORT, text, what) for part in hosts.split(",")]
    return ",".join(server.host_and_port for server in servers), slash + path


def _credentials(
    rest: str, allowed: bool, what: str = "a master's URL", variable: str = "OWMESOS_MASTER"
) -> tuple[Credentials | None, str]:
    if "@" not in rest:
        return None, rest
    pair, _, rest = rest.rpartition("@")
    if not allowed:
        raise InvalidInput(
            f"credentials in {what} are taken only from {variable} or the configuration file, "
            "because every user can read a command line"
        )
    principal, colon, secret = pair.partition(":")
    if not principal or not colon:
        raise InvalidInput(f"credentials in {what} must be user:password@")
    return Credentials(unquote(principal), unquote(secret)), rest


def _server(scheme: str, part: str, default_port: int, text: str, what: str = "a master") -> ServerAddress:
    match = _HOST.match(part)
    if match is None:
        mend = ", write the scheme once, before the first" if "://" in part else ""
        raise InvalidInput(f"{shown(text)!r} is not {what}: {shown(part)!r} is not host:port{mend}")
    try:
        return ServerAddress.checked(scheme, match["host"].strip("[]"), int(match["port"] or default_port))
    except InvalidInput as error:
        raise InvalidInput(f"{shown(text)!r} is not {what}: {error}") from None
