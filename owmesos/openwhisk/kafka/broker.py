"""The address of Kafka, the settings of its clients, and the topics that OpenWhisk expects
(common/scala/src/main/resources/application.conf; connector/kafka/KafkaMessagingProvider.scala). Also the base of the
threads that use Kafka, and what its errors mean.

kafka-python blocks, so all of this is for threads other than the event loop's. Each of its clients has its own
network thread, so heartbeats continue.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import msgspec
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, errors
from kafka.errors import KafkaError, KafkaTimeoutError, TopicAlreadyExistsError

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.kafka.access import KafkaAccess
from owmesos.openwhisk.kafka.leased import LeasedSelector
from owmesos.openwhisk.limits import PayloadLimits
from owmesos.openwhisk.reachability import Reachability
from owmesos.system.hosts import checked_host
from owmesos.system.lease import Lease
from owmesos.system.tls_errors import mend

_log = logging.getLogger("owmesos.kafka")

MAX_MESSAGE = PayloadLimits().max_message
BOOTSTRAP = 5000  # ms; for a broker to answer a new client
_ABANDON = 0.4  # seconds; for the thread of a producer that is given up
RECENT = 10.0  # seconds; an older error in the log of kafka-python does not explain a time-out
_HOUR = 3600 * 1000  # ms
_RETENTION = {"invoker": 48 * _HOUR, "completed": _HOUR, "health": _HOUR, "events": _HOUR}


class KafkaLog(logging.Handler):
    """Keeps kafka-python's messages out of the log, except with `--log-level debug`: it logs every failed attempt
    several times, and a broker may be down for long.

    The last error is kept, because nothing else says why a client cannot connect.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._why: tuple[float, KafkaFailed] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        for each in record.args if isinstance(record.args, tuple) else ():
            if isinstance(each, (KafkaError, OSError)) and not isinstance(each, KafkaTimeoutError):
                self._note(KafkaFailed(said(each), advice(each)))
        record.msg, record.args = text, None  # so that a stored record keeps no connection open
        _log.debug("%s", text)

    def _note(self, error: KafkaFailed) -> None:
        """A broker that refuses a login closes the connection as well: that says less, and does not take its place."""
        now = time.monotonic()
        if error.advice is not None or self._why is None or now - self._why[0] > RECENT or self._why[1].advice is None:
            self._why = now, error

    def why(self, since: float) -> KafkaFailed | None:
        """The last error of a client since then, by the monotonic clock; one that says what to do has precedence."""
        return self._why[1] if self._why is not None and self._why[0] >= since else None

    def install(self) -> None:
        """Replaces the handlers of kafka-python's loggers."""
        logger = logging.getLogger("kafka")
        logger.handlers = [self]
        logger.propagate = False


class KafkaFailed(OwmesosError):
    """Kafka cannot be used; the text says why. `advice` says what to do if it will not pass by itself."""

    def __init__(self, reason: str, advice: str | None = None) -> None:
        super().__init__(reason)
        self.advice = advice


class Topic(msgspec.Struct, frozen=True):
    """`kind` is OpenWhisk's name for its settings. `max_message` in bytes."""

    name: str
    kind: str
    max_message: int = MAX_MESSAGE

    def settings(self) -> dict[str, str]:
        """The settings that the topic is created with."""
        settings = {"segment.bytes": 512 * 1024**2, "retention.bytes": 1024**3, "retention.ms": _RETENTION[self.kind]}
        if self.kind == "invoker":
            settings["max.message.bytes"] = self.max_message
        return {name: str(value) for name, value in settings.items()}


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """Kafka, and the settings of its clients."""

    hosts: tuple[str, ...]  # `HOST:PORT` of the brokers
    prefix: str = ""  # of the topics' names
    event_prefix: str = ""  # of the events topic's name
    replication_factor: int = 1  # of created topics
    max_message: int = MAX_MESSAGE  # bytes of the longest message
    access: KafkaAccess = msgspec.field(default_factory=KafkaAccess)  # TLS and login
    lease: Lease | None = None  # while it does not hold, nothing is sent

    @property
    def may_send(self) -> bool:
        return self.lease is None or self.lease.holds

    def invoker_topic(self, instance: int) -> Topic:
        return Topic(f"{self.prefix}invoker{instance}", "invoker", self.max_message)

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
        """Blocks until a broker answers. Raises KafkaFailed.

        With `instance_id`, a process that restarts after a crash gets its partitions back at once, and a second
        process with the same id is detected (KIP-345).
        """
        return self._connected(
            KafkaConsumer,
            client_id=client_id,
            group_id=group,
            group_instance_id=instance_id,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=30_000,
            heartbeat_interval_ms=10_000,
            max_poll_interval_ms=30 * 60 * 1000,
            max_partition_fetch_bytes=self.max_message,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )

    def producer(self, *, client_id: str, **settings: Any) -> KafkaProducer:
        """Blocks until a broker answers. Raises KafkaFailed."""
        usual = {
            "kafka_client": self.access.producer_client,
            "max_request_size": self.max_message,
            "metadata_max_age_ms": 15_000,
            "metrics_enabled": False,
        }
        return self._connected(KafkaProducer, client_id=client_id, **{**usual, **settings})

    def answered_at(self, producer: KafkaProducer) -> float:
        """When a broker last told `producer` which topics there are, by the monotonic clock.

        Only by this a topic that does not exist differs from brokers that do not answer: both are a KafkaTimeoutError.
        """
        metadata = getattr(producer, "_metadata", None)  # kafka-python does not publish it: without, "just now"
        return float(getattr(metadata, "_last_successful_refresh_ms", math.inf)) / 1000

    def abandon(self, producer: KafkaProducer) -> None:
        """Closes it and drops what it holds. kafka-python's `close` alone raises while anything is left, and then its
        `__del__` does too, with a traceback on stderr; if its thread is busy for longer, so it is all the same."""
        producer._sender.force_close()
        with suppress(KafkaTimeoutError):
            producer.close(timeout=_ABANDON)

    def ensure(self, topics: Iterable[Topic]) -> None:
        """Creates missing topics, as OpenWhisk does: one partition each. Raises KafkaFailed."""
        with self._admin() as admin:
            there = set(admin.list_topics())
            for topic in topics:
                if topic.name not in there:
                    self._create(admin, topic)

    def topic_names(self) -> set[str]:
        """Names of the topics that exist and that our user may see. Raises KafkaFailed."""
        with self._admin() as admin:
            return set(admin.list_topics())

    @contextmanager
    def _admin(self) -> Iterator[KafkaAdminClient]:
        """A client that lists and creates topics. Raises KafkaFailed."""
        admin = self._connected(KafkaAdminClient, client_id="owmesos-topics")
        try:
            yield admin
        except (KafkaError, OSError) as error:
            raise KafkaFailed(f"the list of topics cannot be read: {said(error)}", advice(error)) from error
        finally:
            admin.close()

    def _create(self, admin: KafkaAdminClient, topic: Topic) -> None:
        asked = {"num_partitions": 1, "replication_factor": self.replication_factor, "configs": topic.settings()}
        try:
            admin.create_topics({topic.name: asked}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            if topic.name not in set(admin.list_topics()):  # Kafka lists none that may not be read
                raise KafkaFailed(f"owmesos's Kafka user may not describe topic {topic.name}", _RIGHTS) from None
            return
        except (KafkaError, OSError) as error:
            raise KafkaFailed(f"topic {topic.name} cannot be created: {said(error)}", advice(error)) from error
        _log.info("created topic %s", topic.name)

    def _connected(self, kind: Any, **settings: Any) -> Any:
        """A client of `kind`. Raises KafkaFailed."""
        usual: dict[str, Any] = {
            "bootstrap_servers": list(self.hosts),
            "bootstrap_timeout_ms": BOOTSTRAP,
            "reconnect_backoff_max_ms": 1000,
            "kafka_client": self.access.client,
            **self.access.settings,
        }
        if self.lease is not None:
            usual["selector"] = partial(LeasedSelector, self.lease)
        began = time.monotonic()
        try:
            return kind(**{**usual, **settings})
        except (KafkaError, OSError) as error:
            why = _said_by_library(began) or error
            # kafka-python often sees only the end of the connection, and not the refusal before it.
            found, what = advice(why), said(why)
            doubt = ""
            if found is None and _NO_HANDSHAKE in what:  # before any login
                doubt = " (does that port speak TLS?)"
            elif found is None and self.access.has_login and "ECONNREFUSED" not in what:
                doubt = " (is the login in --kafka-settings right?)"
            raise KafkaFailed(f"connecting failed: {what}{doubt}", found) from error


class KafkaThread:
    """Uses Kafka in a thread of its own, because kafka-python blocks, and reports whether that works."""

    reports_while_stopping = False  # whether failures are also reported after `stop` was called

    def __init__(self, broker: Broker, name: str, use: str, failure: str, kafka: Reachability | None) -> None:
        """`name` is the thread's, `use` the name of this use of Kafka in `kafka`. `failure`: what then does not work,
        for the log."""
        self._broker = broker
        self._use = use
        self._failure = failure
        self._kafka = kafka if kafka is not None else Reachability("Kafka", broker.address)
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._change = threading.Condition()
        self._stopping = False  # guarded by `_change`
        self._worked_at: float | None = None  # when it last worked, in seconds since the epoch; None for "just now"

    def start(self) -> None:
        """Starts the thread. It does its work as soon as a broker answers."""
        self._thread.start()

    def start_once(self) -> None:
        """As `start`, unless it was started."""
        if self._thread.ident is None:
            self.start()

    def stop(self, timeout: float) -> None:
        """Blocks until it has ended, at most `timeout` seconds."""
        with self._change:
            self._stopping = True
            self._change.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        raise NotImplementedError

    def _report_working(self) -> None:
        self._kafka.works(self._use)

    def _report_failure(self, error: Exception) -> None:
        if self._stopping and not self.reports_while_stopping:
            return
        if not self._broker.may_send:  # Kafka may be up: see `leased`
            self._kafka.failed(self._use, f"{self._failure}: {NOT_LEADING}", since=self._worked_at)
            return
        why = cause(error)
        self._kafka.failed(self._use, f"{self._failure}: {said(why)}", since=self._worked_at, advice=advice(why))

    def _connected(self, **settings: Any) -> KafkaProducer | None:
        """A producer; None if no broker answers, which is reported."""
        try:
            return self._broker.producer(client_id=f"owmesos-{self._thread.name}", **settings)
        except KafkaFailed as error:
            self._report_failure(error)
            return None


def cause(error: BaseException) -> BaseException:
    """For a time-out the error that kafka-python logged in the `RECENT` seconds before, if any; else `error`."""
    found = _said_by_library(time.monotonic() - RECENT) if isinstance(error, KafkaTimeoutError) else None
    return found or error


def _said_by_library(since: float) -> KafkaFailed | None:
    handlers = logging.getLogger("kafka").handlers
    found = [each.why(since) for each in handlers if isinstance(each, KafkaLog)]
    return next((each for each in found if each is not None), None)


_CODECS = "install the codecs with pip install 'owmesos[openwhisk]', then restart owmesos"
_RIGHTS = (
    "allow owmesos's Kafka user to read and describe the invoker's topic and the group of that name, and to write to "
    "health, completed* and events"
)
_AUTHORITY = "set ssl_cafile in --kafka-settings to the broker's certificate authority, then send SIGHUP"
NOT_LEADING = "nothing is sent while it is not known that this process leads"
_NO_HANDSHAKE = "Handshake failed"  # kafka-python's words
_ADVICE: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((errors.UnsupportedCodecError, errors.UnsupportedCompressionTypeError), _CODECS),
    ((errors.AuthorizationError,), _RIGHTS),
    (
        (
            errors.SaslAuthenticationFailedError,
            errors.UnsupportedSaslMechanismError,
            errors.IllegalSaslStateError,
            errors.KafkaConfigurationError,
        ),
        "correct the login in --kafka-settings, then send SIGHUP",
    ),
    (
        (errors.UnsupportedVersionError, errors.UnsupportedForMessageFormatError, errors.UnrecognizedBrokerVersion),
        "use a broker of Kafka 2.3 or newer, or another version of kafka-python",
    ),
    (
        (errors.CorruptRecordError,),
        "skip the record: stop owmesos, then move its group's offset with kafka-consumer-groups --reset-offsets",
    ),
)


def advice(error: BaseException) -> str | None:
    """What to do about an error that will not pass by itself; None for one that may."""
    if isinstance(error, KafkaFailed):
        return error.advice
    if isinstance(error, ssl.SSLCertVerificationError):
        return mend(error, _AUTHORITY)
    found = next((text for kinds, text in _ADVICE if isinstance(error, kinds)), None)
    if found is None and error.__context__ is not None:  # kafka-python wraps those of TLS
        return advice(error.__context__)
    return found


def said(error: BaseException) -> str:
    """The text of an error of kafka-python, on one line and with its type; for an owmesos error only its text."""
    if isinstance(error, OwmesosError):
        return str(error)
    text = " ".join(str(error).split())
    kind = type(error).__name__
    return text if kind in text else f"{kind}: {text}" if text else kind


def parse_hosts(text: str) -> tuple[str, ...]:
    """`HOST:PORT[,HOST:PORT…]`. Raises InvalidInput."""
    hosts = tuple(host.strip() for host in text.split(",") if host.strip())
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
            raise InvalidInput(f"{host[:100]!r} is not the HOST:PORT of a Kafka broker")
        try:
            checked_host(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        except InvalidInput as error:
            raise InvalidInput(f"{host[:100]!r} is not the HOST:PORT of a Kafka broker: {error}") from None
    if not hosts:
        raise InvalidInput("no Kafka broker given: write HOST:PORT[,HOST:PORT…]")
    return hosts
