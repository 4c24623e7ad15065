"""Where masters are: what a user writes for them, and where they redirect to.

`host:port[,host:port…]`, `http://…`, `https://…`, or `zk://[user:password@]host:port[,…]/path`. A password on
a command line is seen by every user of the machine, so credentials are taken only where the caller allows it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from owmesos.errors import InvalidInput

MESOS_PORT = 5050
ZOOKEEPER_PORT = 2181
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>.*)\Z", re.DOTALL)
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?\Z")


@dataclass(frozen=True)
class Credentials:
    """Who we are to the master (HTTP basic authentication) or to ZooKeeper (digest)."""

    principal: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Address:
    """One master; `host` without the brackets of an IPv6 address."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True)
class Masters:
    """Masters by name; any of them leads, or knows who does."""

    addresses: tuple[Address, ...]
    credentials: Credentials | None = None

    @property
    def scheme(self) -> str:
        return self.addresses[0].scheme


@dataclass(frozen=True)
class ZooKeeperMasters:
    """Masters that are found under `path` in ZooKeeper; `hosts` is `host:port,…`."""

    hosts: str
    path: str
    scheme: str
    credentials: Credentials | None = None


def parse_master(text: str, *, credentials_allowed: bool, tls: bool = False) -> Masters | ZooKeeperMasters:
    """What `text` names. `tls` makes masters found without a scheme of their own `https`.

    Raises InvalidInput, with one line that never repeats a password.
    """
    default_scheme = "https" if tls else "http"
    match = _SCHEME.match(text.strip())
    scheme, rest = (match["scheme"].lower(), match["rest"]) if match else (default_scheme, text.strip())
    credentials, rest = _credentials(rest, credentials_allowed)
    if scheme == "zk":
        hosts, slash, path = rest.partition("/")
        path = path.rstrip("/")
        if not path or "//" in path or not path.isprintable() or " " in path:
            raise InvalidInput(f"{shown(text)!r} names no path in ZooKeeper, as in zk://host:2181/mesos")
        pairs = [_host(part, ZOOKEEPER_PORT, text) for part in hosts.split(",")]
        listed = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in pairs)
        return ZooKeeperMasters(listed, slash + path, default_scheme, credentials)
    if scheme not in ("http", "https"):
        raise InvalidInput(f"{shown(text)!r} is no master: write host:port[,…], https://… or zk://…/path")
    pairs = [_host(part, MESOS_PORT, text) for part in rest.removesuffix("/").split(",")]
    return Masters(tuple(Address(scheme, host, port) for host, port in pairs), credentials)


def redirect_target(location: str, base: Address) -> Address:
    """The master that `base` redirects to: Mesos answers `//host:port/path`.

    A redirection out of TLS is an InvalidInput: it would send the credentials in the clear.
    """
    try:
        parts = urlsplit(location if "//" in location else f"//{location}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    scheme = (parts.scheme or base.scheme) if host else base.scheme
    if not host or scheme not in ("http", "https"):
        raise InvalidInput(f"{base} redirects to what is no master: {location[:100]!r}")
    if base.scheme == "https" and scheme != "https":
        raise InvalidInput(f"{base} redirects out of TLS, to {host}: not followed")
    return Address(scheme, host, port or base.port)


def shown(text: str) -> str:
    """A master's URL, fit for a log: without its password."""
    return re.sub(r"(^|://)[^/@]*@", r"\1…@", text.strip()) if "@" in text else text.strip()


def _credentials(rest: str, allowed: bool) -> tuple[Credentials | None, str]:
    if "@" not in rest:
        return None, rest
    pair, _, rest = rest.rpartition("@")
    if not allowed:
        raise InvalidInput(
            "credentials in a master's URL are taken only from OWMESOS_MASTER or the configuration file, "
            "for the whole machine can read a command line"
        )
    principal, colon, secret = pair.partition(":")
    if not principal or not colon:
        raise InvalidInput("credentials in a master's URL must be user:password@")
    return Credentials(unquote(principal), unquote(secret)), rest


def _host(part: str, default_port: int, text: str) -> tuple[str, int]:
    match = _HOST.match(part)
    if match is None:
        raise InvalidInput(f"{shown(text)!r} is no master: {shown(part)!r} is not host:port")
    port = int(match["port"]) if match["port"] else default_port
    if not 1 <= port <= 65535:
        raise InvalidInput(f"{shown(text)!r} is no master: {port} is no port")
    return match["host"].strip("[]"), port
