"""How connections to Kafka are secured, and that new ones have what was renewed. test_renewal.py has a real broker."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from kafka.errors import SaslAuthenticationFailedError

from owmesos.errors import InvalidInput
from owmesos.openwhisk.kafka.access import KafkaAccess
from tests.fakes.pki import Pki

LOGIN = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "u"}


def shown_to(server: ssl.SSLContext, access: KafkaAccess) -> bytes | None:
    """The client's certificate, as the server sees it over a new connection. Raises SSLError if either does not trust
    the other."""
    ours, theirs = socket.socketpair()
    errors: list[ssl.SSLError] = []
    shown: list[bytes | None] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secure:
                shown.append(secure.getpeercert(binary_form=True))
        except ssl.SSLError as error:
            errors.append(error)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        wrapped = access.settings["ssl_context"].wrap_socket(
            ours, server_hostname="localhost", do_handshake_on_connect=False
        )
        with closing(wrapped):
            wrapped.do_handshake()
            wrapped.recv(1)  # TLS 1.3: only now the server has seen the certificate
    finally:
        ours.close()
        serving.join()
        theirs.close()
    if errors:
        raise errors[0]
    return shown[0]


def access_by(pki: Pki) -> KafkaAccess:
    files = {"ssl_cafile": str(pki.ca), "ssl_certfile": str(pki.cert), "ssl_keyfile": str(pki.key)}
    return KafkaAccess({"security_protocol": "SSL", **files})


class TestFilesThatAreReplaced:
    def test_a_new_connection_has_the_new_certificate(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        access, server = access_by(pki), pki.server("localhost", asks_client=True)
        first = shown_to(server, access)
        assert shown_to(server, access) == first
        pki.issue_client()
        assert shown_to(server, access) not in (None, first)

    def test_only_the_new_authority_is_trusted(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        ours, other = Pki(tmp_path), Pki(tmp_path / "other")
        access = access_by(ours)
        with pytest.raises(ssl.SSLError):
            shown_to(other.server("localhost"), access)
        ours.ca.write_bytes(other.ca.read_bytes())
        shown_to(other.server("localhost"), access)
        with pytest.raises(ssl.SSLError):
            shown_to(ours.server("localhost"), access)

    def test_one_that_cannot_be_used_is_said_once_and_changes_nothing(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        pki = Pki(tmp_path)
        access, server = access_by(pki), pki.server("localhost", asks_client=True)
        first = shown_to(server, access)
        good = pki.key.read_bytes()
        pki.key.write_text("no key")
        with caplog.at_level(logging.ERROR, "owmesos.kafka"):
            assert shown_to(server, access) == first
            assert shown_to(server, access) == first
        (line,) = [record.getMessage() for record in caplog.records]
        assert f"ssl_keyfile {pki.key} cannot be used" in line
        pki.key.write_bytes(good)
        assert shown_to(server, access) == first


NODE = "bootstrap-0"


class Manager:
    """kafka-python's connections of one client, a producer's, none of which is made."""

    def __init__(self, access: KafkaAccess) -> None:
        self.client = access.producer_client(bootstrap_servers=["127.0.0.1:1"], **access.settings)
        self.manager: Any = self.client._manager

    def close(self) -> None:
        self.client.close()

    def connection(self) -> Any:
        """A new one."""
        self.manager._conns.clear()
        return self.manager.get_connection(NODE)


class TestALogin:
    def test_a_new_connection_has_the_new_one(self) -> None:
        access = KafkaAccess({**LOGIN, "sasl_plain_password": "first"})
        with closing(Manager(access)) as client:
            before = client.connection()
            access.renew(KafkaAccess({**LOGIN, "sasl_plain_password": "second"}))
            after = client.connection()
            assert before.config["sasl_plain_password"] == "first"
            assert after.config["sasl_plain_password"] == "second"

    def test_what_is_not_set_any_more_is_kafka_pythons_own(self) -> None:
        access = KafkaAccess({**LOGIN, "sasl_plain_password": "first"})
        with closing(Manager(access)) as client:
            access.renew(KafkaAccess())
            config = client.connection().config
            assert (config["security_protocol"], config["sasl_plain_password"]) == ("PLAINTEXT", None)


class TestABrokerThatCannotBeUsed:
    """kafka-python's threads would busy-loop until it can be."""

    def test_after_a_rejected_login_there_is_a_pause(self) -> None:
        with closing(Manager(KafkaAccess({**LOGIN, "sasl_plain_password": "wrong"}))) as client:
            client.connection().close(SaslAuthenticationFailedError())
            client.manager.reset_backoff(NODE)  # as kafka-python does
            assert client.manager.connection_delay(NODE) > 0

    def test_after_an_accepted_one_there_is_none(self) -> None:
        with closing(Manager(KafkaAccess())) as client:
            client.connection()
            client.manager.update_backoff(NODE)
            client.manager.reset_backoff(NODE)
            assert client.manager.connection_delay(NODE) == 0

    def test_a_producer_waits_while_it_connects(self) -> None:
        with closing(Manager(KafkaAccess())) as client:
            client.connection()
            assert client.client.connection_delay(NODE) == 50  # ms

    def test_while_metadata_is_asked_for_nothing_asks_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(Manager(KafkaAccess())) as client:
            cluster, woken = client.manager.cluster, []
            monkeypatch.setattr(cluster._wakeup, "notify", lambda: woken.append(True))
            first = cluster.request_update()
            assert cluster.request_update() is first
            assert len(woken) == 1
            first.success(None)
            assert cluster.request_update() is not first
            assert len(woken) == 2

    def test_a_producer_waits_as_long_as_the_pause_lasts(self) -> None:
        with closing(Manager(KafkaAccess())) as client:
            for _ in range(8):
                client.manager.update_backoff(NODE)
            delay = client.manager.connection_delay(NODE)  # seconds
            assert delay > 0.5
            assert client.client.connection_delay(NODE) == pytest.approx(1000 * delay, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"sasl_mechanism": "PLAIN"},
            "sasl_mechanism has no effect with security_protocol PLAINTEXT: write SASL_SSL or",
        ),
        ({"ssl_cafile": "ca.pem"}, "ssl_cafile has no effect with security_protocol PLAINTEXT: write SSL or SASL_SSL"),
        (
            {**LOGIN, "sasl_plain_password": "p", "ssl_certfile": "c"},
            "ssl_certfile has no effect with security_protocol",
        ),
    ],
    ids=["login", "authority", "certificate"],
)
def test_what_would_not_be_used_is_rejected(settings: dict[str, Any], said: str) -> None:
    """Else the password would seem to protect what it does not."""
    with pytest.raises(InvalidInput, match=said):
        KafkaAccess(settings)
