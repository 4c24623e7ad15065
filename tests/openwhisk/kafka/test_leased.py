"""Sockets to Kafka of a process that may have lost the lead."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator

import pytest
from kafka.errors import KafkaTimeoutError

from owmesos.openwhisk.kafka.broker import NOT_LEADING, Broker, KafkaThread
from owmesos.openwhisk.kafka.leased import LeasedSelector
from owmesos.openwhisk.reachability import Reachability
from owmesos.system.lease import Lease


@pytest.fixture
def writable() -> Iterator[socket.socket]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def test_a_socket_is_named_while_the_lease_holds(writable: socket.socket) -> None:
    now = 0.0
    lease = Lease(4.0, lambda: now)
    with LeasedSelector(lease) as selector:
        selector.register(writable, selectors.EVENT_WRITE)
        assert selector.select(0.0) == []
        assert selector.select(None) == []  # it does not wait for a lease that may never come
        lease.renew(1.0)
        assert [key.fileobj for key, _ in selector.select(None)] == [writable]
        now = 1.0
        assert selector.select(0.0) == []


def test_one_that_was_frozen_while_it_waited_writes_nothing(writable: socket.socket) -> None:
    """The lease holds before the wait, and not after it."""
    times = iter([0.0, 9.0])
    lease = Lease(4.0, lambda: next(times))
    lease.renew(1.0)
    with LeasedSelector(lease) as selector:
        selector.register(writable, selectors.EVENT_WRITE)
        assert selector.select(None) == []


def test_without_a_lease_all_may_be_sent() -> None:
    lease = Lease(4.0)
    assert Broker(hosts=("h:1",)).may_send
    assert not Broker(hosts=("h:1",), lease=lease).may_send


def test_what_could_not_be_sent_without_the_lead_is_not_blamed_on_kafka() -> None:
    now = 0.0
    lease = Lease(4.0, lambda: now)
    kafka = Reachability("Kafka", "h:1")
    user = KafkaThread(Broker(hosts=("h:1",), lease=lease), "x", "use", "activations cannot be read", kafka)
    user._report_failure(KafkaTimeoutError("late"))
    assert kafka.document()["reason"] == f"activations cannot be read: {NOT_LEADING}"
    lease.renew(1.0)
    user._report_failure(KafkaTimeoutError("late"))
    assert kafka.document()["reason"] == "activations cannot be read: KafkaTimeoutError: late"
