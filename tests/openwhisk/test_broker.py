"""Where Kafka is, and what its client says."""

from __future__ import annotations

import logging

import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.broker import Broker, KafkaLog, parse_hosts


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


@pytest.mark.parametrize("text", ["", " , ", "a", "a:", ":9092", "a:0", "a:65536", "a:b", "a:9092,b"])
def test_what_is_no_host_and_port_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_hosts(text)


def test_what_its_client_repeats_is_said_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    handler = KafkaLog()
    with caplog.at_level(logging.WARNING, "owmesos.kafka"):
        for second in (0, 1, 30, 61, 62):
            for line in (10, 20):
                record = logging.LogRecord("kafka.x", logging.ERROR, "x.py", line, "lost\n%s", (line,), None)
                record.created = 1_000_000.0 + second
                handler.handle(record)
    said = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert said == [("WARNING", "lost 10"), ("WARNING", "lost 20")] * 2
