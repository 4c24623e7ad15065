"""How connections to Kafka are secured: kafka-python's own `security_protocol`, `ssl_…` and `sasl_…`.

kafka-python copies them when a client is made. Here each connection begins with those that are valid then, so that
credentials are renewed without another client: what is connected goes on.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.sasl import get_sasl_mechanism
from kafka.net.selector import NetworkSelector

from owmesos.errors import InvalidInput, os_reason
from owmesos.system.tls_files import wrong_with_authority, wrong_with_certificate

_log = logging.getLogger("owmesos.kafka")

_NOT_READY = 50.0  # ms; at least, between two looks at a broker that is not ready
_OBJECTS = ("ssl_context", "sasl_oauth_token_provider")  # which no file can hold
_USUAL: dict[str, Any] = {
    name: value
    for name, value in KafkaConnectionManager.DEFAULT_CONFIG.items()
    if name.startswith(("security_protocol", "ssl_", "sasl_")) and name not in _OBJECTS
}
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_SECURED = {"SASL_": "SASL_SSL or SASL_PLAINTEXT", "SSL": "SSL or SASL_SSL"}
_WITH_PASSWORD = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


class KafkaAccess:
    """Shared by all clients. From any thread."""

    def __init__(self, settings: Mapping[str, Any] | None = None) -> None:
        """`settings` are kafka-python's. Raises InvalidInput if they, or a file that they name, cannot be used."""
        self.settings = _complete(settings or {})
        """For new clients and connections. Replaced as a whole."""

    def renew(self, other: KafkaAccess) -> None:
        """New connections are secured as `other` says."""
        self.settings = other.settings

    @property
    def has_login(self) -> bool:
        return self.settings["sasl_mechanism"] is not None

    def client(self, **settings: Any) -> KafkaNetClient:
        """kafka-python's `kafka_client` for consumers and administrators."""
        return self._client(KafkaNetClient, settings)

    def producer_client(self, **settings: Any) -> KafkaNetClient:
        """kafka-python's `kafka_client` for producers."""
        return self._client(_ProducerClient, settings)

    def _client(self, kind: Any, settings: dict[str, Any]) -> KafkaNetClient:
        net = NetworkSelector(**settings)
        return kind(net, _Connections(net, self, **settings), **settings)


class _ProducerClient(KafkaNetClient):  # type: ignore[misc]
    """A producer's client, whose thread sleeps while a broker is not ready; with kafka-python's own it busy-loops."""

    def connection_delay(self, node_id: Any) -> float:
        """How many milliseconds the sender waits for a broker that is not ready, unless something else happens.

        kafka-python returns seconds, and 0 while a connection is being made; its sender takes them for milliseconds.
        """
        return max(1000 * float(self._manager.connection_delay(node_id)), _NOT_READY)


class _Connections(KafkaConnectionManager):  # type: ignore[misc]
    """Of one client."""

    def __init__(self, net: NetworkSelector, access: KafkaAccess, **settings: Any) -> None:
        super().__init__(net, **settings)
        _share_updates(self.cluster)
        self._access = access
        self._known: dict[str, Any] | None = None  # `settings` may be older than what is valid by now
        self._latest: dict[Any, Any] = {}  # the last connection to each node, also if closed

    def get_connection(self, node_id: Any, *arguments: Any, **more: Any) -> Any:
        current = self._access.settings
        if current is not self._known:
            self._known = current
            self.config.update(current)
        connection = self._latest[node_id] = super().get_connection(node_id, *arguments, **more)
        return connection

    def reset_backoff(self, node_id: Any) -> None:
        """Keeps the pause after a connection that ended before it was usable, such as one with a rejected login:
        kafka-python ends the pause there too, and would connect again at once."""
        connection = self._latest.get(node_id)
        if connection is not None and connection.closed:
            self.update_backoff(node_id)
        else:
            super().reset_backoff(node_id)


def _share_updates(metadata: Any) -> None:
    """Makes `request_update` return the update that is under way instead of waking the client again. Without this a
    producer busy-loops while a partition has no leader, or its topic is gone."""
    ask, under_way = metadata.request_update, None

    def request_update() -> Any:
        nonlocal under_way
        if under_way is None or under_way.is_done or not metadata.need_update:
            under_way = ask()
        return under_way

    metadata.request_update = request_update


class TlsFiles:
    """In place of an SSLContext, of which kafka-python only calls `wrap_socket`. Each connection reads the files again,
    for somebody may have replaced them; while they cannot be used, it has what they held before."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Raises InvalidInput."""
        self._settings = settings
        self._usable = _context(settings)
        self._reported: str | None = None

    def wrap_socket(self, sock: Any, **how: Any) -> ssl.SSLSocket:
        try:
            self._usable = _context(self._settings)
            self._reported = None
        except InvalidInput as error:
            if str(error) != self._reported:
                self._reported = str(error)
                _log.error("a new connection to Kafka has what was read before: %s; replace the file", error)
        return self._usable.wrap_socket(sock, **how)


def _context(settings: Mapping[str, Any]) -> ssl.SSLContext:
    """As kafka-python makes it. Raises InvalidInput."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = settings["ssl_check_hostname"]
    authority, revoked = settings["ssl_cafile"], settings["ssl_crlfile"]
    certificate, key = settings["ssl_certfile"], settings["ssl_keyfile"]
    try:
        wrong: Callable[[OSError], str] = partial(wrong_with_authority, authority)
        what = f"ssl_cafile {authority}"
        if authority:
            context.load_verify_locations(authority)
        else:
            context.load_default_certs()
        what = f"ssl_certfile {certificate}" + (f" with ssl_keyfile {key}" if key else "")
        wrong = partial(wrong_with_certificate, certificate, key)
        if certificate:  # without a password OpenSSL would ask for one at the terminal
            context.load_cert_chain(certificate, key, password=settings["ssl_password"] or "")
        what, wrong = f"ssl_crlfile {revoked}", os_reason
        if revoked:
            context.load_verify_locations(revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        raise InvalidInput(f"{what} cannot be used: {wrong(error)}") from None
    except ValueError as error:
        raise InvalidInput(f"{what} cannot be used: {error}") from None
    return context


def _complete(given: Mapping[str, Any]) -> dict[str, Any]:
    """Checked, with kafka-python's own values for the others. Raises InvalidInput."""
    for name, value in given.items():
        if name not in _USUAL:
            known = ", ".join(sorted(_USUAL))
            raise InvalidInput(f"{name} is not a setting of Kafka's TLS or login; there are {known}")
        kind = bool if isinstance(_USUAL[name], bool) else str
        if not isinstance(value, kind):
            raise InvalidInput(f"{name} must be {'true or false' if kind is bool else 'a string'}")
    settings = {**_USUAL, **given, "ssl_context": None}
    protocol = settings["security_protocol"]
    if protocol not in _PROTOCOLS:
        raise InvalidInput(f"security_protocol {protocol!r} is unknown: write {', '.join(_PROTOCOLS)}")
    for name in given:
        needed = {"sasl": "SASL_", "ssl": "SSL"}.get(name.partition("_")[0], "")
        if settings[name] and needed not in protocol:
            raise InvalidInput(f"{name} has no effect with security_protocol {protocol}: write {_SECURED[needed]}")
    if protocol.startswith("SASL_"):
        _check_login(settings)
    if protocol.endswith("SSL"):
        settings["ssl_context"] = TlsFiles(settings)
    return settings


def _check_login(settings: Mapping[str, Any]) -> None:
    """Raises InvalidInput."""
    protocol, mechanism = settings["security_protocol"], settings["sasl_mechanism"]
    if mechanism is None:
        raise InvalidInput(f"security_protocol {protocol} needs sasl_mechanism, such as {' or '.join(_WITH_PASSWORD)}")
    if mechanism in _WITH_PASSWORD:
        for name in ("sasl_plain_username", "sasl_plain_password"):
            if not settings[name]:
                raise InvalidInput(f"sasl_mechanism {mechanism} needs {name}")
    try:
        get_sasl_mechanism(mechanism)
    except KeyError:
        raise InvalidInput(f"sasl_mechanism {mechanism!r} is unknown: write {', '.join(_WITH_PASSWORD)}") from None
