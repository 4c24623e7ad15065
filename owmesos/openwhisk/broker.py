"""Where Kafka is, how its clients are set up, and the topics that OpenWhisk expects there
(common/scala/src/main/resources/application.conf; connector/kafka/KafkaMessagingProvider.scala).

kafka-python blocks, so all of this is for threads other than the event loop's. Each of its clients has a thread of its
own for the network: heartbeats go on whatever ours do.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from owmesos.errors import InvalidInput, OwmesosError

_log = logging.getLogger("owmesos.kafka")

MAX_PAYLOAD = 1024 * 1024
MAX_MESSAGE = MAX_PAYLOAD + 6068  # and the rest of an activation message (ActivationEntityLimit.scala)
_HOUR = 3600 * 1000  # ms
_RETENTION = {"invoker": 48 * _HOUR, "completed": _HOUR, "health": _HOUR, "events": _HOUR}
_PASSED_THROUGH = ("security_protocol", "ssl_", "sasl_")


class KafkaLog(logging.Handler):
    """Passes on what kafka-python logs, each of its lines once a minute and as a warning at most.

    It says every failed attempt several times, and a broker may be away for long.
    """

    def __init__(self, every: float = 60.0) -> None:
        super().__init__(logging.WARNING)
        self._every = every
        self._last: dict[tuple[str, int], float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        place = (record.pathname, record.lineno)
        if record.created - self._last.get(place, -self._every) >= self._every:
            self._last[place] = record.created
            _log.warning("%s", " ".join(record.getMessage().split()))

    def install(self) -> None:
        """In place of whatever kafka-python's loggers would do."""
        logger = logging.getLogger("kafka")
        logger.handlers = [self]
        logger.propagate = False


class KafkaFailed(OwmesosError):
    """Kafka cannot be used; the text says why."""


class Topic(msgspec.Struct, frozen=True):
    """`kind` is OpenWhisk's name for its settings."""

    name: str
    kind: str

    def settings(self) -> dict[str, str]:
        """What it is created with."""
        settings = {"segment.bytes": 512 * 1024**2, "retention.bytes": 1024**3, "retention.ms": _RETENTION[self.kind]}
        if self.kind == "invoker":
            settings["max.message.bytes"] = MAX_MESSAGE
        return {name: str(value) for name, value in settings.items()}


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """`security` holds kafka-python's own `security_protocol`, `ssl_*` and `sasl_*`, passed through."""

    hosts: tuple[str, ...]
    prefix: str = ""
    event_prefix: str = ""
    replication_factor: int = 1
    security: dict[str, Any] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.security:
            if not name.startswith(_PASSED_THROUGH):
                raise InvalidInput(f"{name} is no setting of Kafka's TLS or SASL")

    def invoker_topic(self, instance: int) -> Topic:
        return Topic(f"{self.prefix}invoker{instance}", "invoker")

    def health_topic(self) -> Topic:
        return Topic(f"{self.prefix}health", "health")

    def completed_topic(self, controller: str) -> Topic:
        return Topic(f"{self.prefix}completed{controller}", "completed")

    def events_topic(self) -> Topic:
        return Topic(f"{self.event_prefix}events", "events")

    @property
    def address(self) -> str:
        return ",".join(self.hosts)

    def consumer(self, *, group: str, client_id: str, instance_id: str | None = None) -> KafkaConsumer:
        """Blocks until a broker answers. Raises KafkaError.

        With `instance_id` a process that comes back after a crash is given its partition at once, and a second process
        of the same id is found out (KIP-345).
        """
        return KafkaConsumer(
            bootstrap_servers=list(self.hosts),
            client_id=client_id,
            group_id=group,
            group_instance_id=instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=30_000,
            heartbeat_interval_ms=10_000,
            max_poll_interval_ms=30 * 60 * 1000,
            max_partition_fetch_bytes=MAX_MESSAGE,
            allow_auto_create_topics=False,
            reconnect_backoff_max_ms=1000,
            bootstrap_timeout_ms=10_000,
            metrics_enabled=False,
            **self.security,
        )

    def producer(self, *, client_id: str, **settings: Any) -> KafkaProducer:
        """Blocks until a broker answers. Raises KafkaError."""
        return KafkaProducer(
            bootstrap_servers=list(self.hosts),
            client_id=client_id,
            max_request_size=MAX_MESSAGE,
            metadata_max_age_ms=15_000,
            reconnect_backoff_max_ms=1000,
            bootstrap_timeout_ms=10_000,
            metrics_enabled=False,
            **{**settings, **self.security},
        )

    def ensure(self, topics: Iterable[Topic], *, attempts: int = 5) -> None:
        """Creates those that are not there, as OpenWhisk does: one partition each. Raises KafkaFailed."""
        wanted = list(topics)
        names = ", ".join(topic.name for topic in wanted)
        for attempt in range(1, attempts + 1):
            error = self._attempt(wanted)
            if error is None:
                return
            if attempt == attempts or not getattr(error, "retriable", True):
                raise KafkaFailed(f"the topics {names} on {self.address} cannot be had: {said(error)}")
            _log.warning("the topics %s on %s cannot be had yet: %s", names, self.address, said(error))
            threading.Event().wait(1.0)

    def _attempt(self, topics: list[Topic]) -> Exception | None:
        try:
            self._create(topics)
        except (KafkaError, OSError) as error:
            return error
        return None

    def _create(self, topics: list[Topic]) -> None:
        admin = KafkaAdminClient(
            bootstrap_servers=list(self.hosts),
            client_id="owmesos-topics",
            bootstrap_timeout_ms=10_000,
            **self.security,
        )
        try:
            there = set(admin.list_topics())
            for topic in topics:
                if topic.name in there:
                    continue
                asked = {
                    "num_partitions": 1,
                    "replication_factor": self.replication_factor,
                    "configs": topic.settings(),
                }
                with suppress(TopicAlreadyExistsError):
                    admin.create_topics({topic.name: asked}, wait_for_metadata=True)
                    _log.info("created the topic %s", topic.name)
        finally:
            admin.close()


def said(error: BaseException) -> str:
    """What an error of kafka-python says, on one line and with its kind."""
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return text if text.startswith(kind) else f"{kind}: {text}" if text else kind


def parse_hosts(text: str) -> tuple[str, ...]:
    """`HOST:PORT[,HOST:PORT…]`. Raises InvalidInput."""
    hosts = tuple(host.strip() for host in text.split(",") if host.strip())
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdecimal() or not 0 < int(port) < 65536:
            raise InvalidInput(f"{host!r} is no HOST:PORT of a Kafka broker")
    if not hosts:
        raise InvalidInput("no Kafka broker is named: write HOST:PORT[,HOST:PORT…]")
    return hosts
