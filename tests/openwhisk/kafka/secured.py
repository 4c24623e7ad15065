"""Brokers that clients reach by TLS and with a login."""

from __future__ import annotations

from owmesos.openwhisk.kafka.access import KafkaAccess
from owmesos.openwhisk.kafka.broker import Broker
from tests.servers.kafka import PASSWORD, USER, Kafka


def secure(broker: Broker, kafka: Kafka, **changes: str) -> Broker:
    """The same broker by TLS and with a login."""
    return Broker(
        hosts=(f"127.0.0.1:{kafka.secure_port}",),
        prefix=broker.prefix,
        access=KafkaAccess(
            {
                "security_protocol": "SASL_SSL",
                "ssl_cafile": str(kafka.authority),
                "sasl_mechanism": "PLAIN",
                "sasl_plain_username": USER,
                "sasl_plain_password": PASSWORD,
                **changes,
            }
        ),
    )
