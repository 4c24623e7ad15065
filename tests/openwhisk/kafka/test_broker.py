"""Where Kafka is, and what its client says."""

from __future__ import annotations

import logging
import ssl
import time
from typing import cast

import pytest
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaTimeoutError,
    RequestTimedOutError,
    SaslAuthenticationFailedError,
    UnsupportedCodecError,
    UnsupportedVersionError,
)

from owmesos.errors import InvalidInput
from owmesos.openwhisk.kafka.access import KafkaAccess
from owmesos.openwhisk.kafka.broker import Broker, KafkaFailed, KafkaLog, advice, parse_hosts, said

LOGIN = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "u",
    "sasl_plain_password": "p",
}


def test_topics_have_their_prefixes() -> None:
    broker = Broker(hosts=("a:1", "b:2"), prefix="p-", event_prefix="e-")
    assert broker.address == "a:1,b:2"
    assert [
        topic.name
        for topic in (
            broker.invoker_topic(3),
            broker.completed_topic("0"),
            broker.health_topic(),
            broker.events_topic(),
        )
    ] == ["p-invoker3", "p-completed0", "p-health", "e-events"]


def test_several_hosts_are_read() -> None:
    assert parse_hosts("a:9092, [::1]:9093,") == ("a:9092", "[::1]:9093")


ODD = ["a..b:1", "[::1:9092", "http://a:9092", "\u00fc:1", f"{'a' * 64}:1", "a:" + "9" * 5000, "[1:2]:3"]


@pytest.mark.parametrize("text", ["", " , ", "a", "a:", ":9092", "a:0", "a:65536", "a:b", "a:9092,b", *ODD])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_hosts(text)


def test_what_its_client_logs_is_for_debugging_and_keeps_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    handler = KafkaLog()
    began = time.monotonic()
    with caplog.at_level(logging.DEBUG, "owmesos.kafka"):
        for error in (KafkaConnectionError("refused"), KafkaTimeoutError("late")):
            record = logging.LogRecord("kafka.x", logging.ERROR, "x.py", 1, "lost\n%s: %s", (1, error), None)
            handler.handle(record)
    assert [record.levelname for record in caplog.records] == ["DEBUG", "DEBUG"]
    assert "KafkaConnectionError: refused" in str(handler.why(began))
    assert handler.why(time.monotonic() + 1) is None


def test_a_login_that_is_refused_says_more_than_the_connection_that_breaks_with_it() -> None:
    handler = KafkaLog()
    began = time.monotonic()
    for error in (SaslAuthenticationFailedError("no"), KafkaConnectionError("disconnected")):
        handler.handle(logging.LogRecord("kafka.x", logging.ERROR, "x.py", 1, "%s", (error,), None))
    why = handler.why(began)
    assert why is not None
    assert "SaslAuthenticationFailedError" in str(why)
    assert why.advice is not None


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (UnsupportedCodecError("lz4"), "owmesos[openwhisk]"),
        (GroupAuthorizationFailedError("invoker0"), "read and describe"),
        (SaslAuthenticationFailedError("no"), "--kafka-settings"),
        (UnsupportedVersionError("old"), "Kafka 2.3"),
        (KafkaFailed("connecting failed", "do this"), "do this"),
    ],
)
def test_an_error_that_will_not_pass_has_advice(error: Exception, says: str) -> None:
    assert says in str(advice(error))


def test_so_has_one_that_kafka_python_has_wrapped() -> None:
    """As it does with those of a TLS handshake."""
    wrapped = KafkaConnectionError("Handshake failed")
    wrapped.__context__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert "ssl_cafile" in str(advice(wrapped))


def test_a_certificate_that_has_expired_needs_no_other_authority() -> None:
    error = ssl.SSLCertVerificationError("no")
    error.verify_message = "certificate has expired"
    assert str(advice(error)).startswith("renew it")


@pytest.mark.parametrize(
    ("what", "doubt"),
    [
        ("Handshake failed: EOF occurred", "(does that port speak TLS?)"),
        ("socket disconnected", "(is the login in --kafka-settings right?)"),
    ],
)
def test_what_may_be_wrong_with_a_connection_that_broke(what: str, doubt: str) -> None:
    def breaks(**_: object) -> None:
        raise KafkaConnectionError(what)

    access = KafkaAccess(LOGIN)
    with pytest.raises(KafkaFailed) as caught:
        Broker(hosts=("h:1",), access=access)._connected(breaks)
    assert str(caught.value).endswith(doubt)


@pytest.mark.parametrize("error", [KafkaTimeoutError("late"), KafkaConnectionError("refused"), OSError("reset")])
def test_one_that_may_pass_has_none(error: Exception) -> None:
    assert advice(error) is None


def test_the_type_of_an_error_is_said_once() -> None:
    assert said(RequestTimedOutError("after 3 s")).count("RequestTimedOutError") == 1
    assert said(ValueError("no")) == "ValueError: no"


def test_a_producer_waits_for_a_broker_that_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its client does; see test_access.py."""
    monkeypatch.setattr("owmesos.openwhisk.kafka.broker.KafkaProducer", lambda **settings: settings)
    broker = Broker(hosts=("h:1",))
    made = cast("dict[str, object]", broker.producer(client_id="test"))
    assert made["kafka_client"] == broker.access.producer_client
