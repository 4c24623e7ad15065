"""What each Python and each version of kazoo has to do for a state in ZooKeeper: a fake server is enough.

`test_zookeeper.py` has the same and more with a real one, on one Python.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import SaveFramework, StateInUse, StoreFailed
from owmesos.storage.zookeeper import ZooKeeperStore
from owmesos.system.clock import process_time
from tests.fakes.zookeeper import FakeZooKeeper
from tests.storage.records import a_record, save
from tests.waiting import eventually


@pytest.fixture
def address(fake_zookeeper: FakeZooKeeper) -> ZooKeeperPath:
    return ZooKeeperPath(fake_zookeeper.address, "/owmesos/fake")


@contextmanager
def opened(address: ZooKeeperPath, **more: Any) -> Iterator[ZooKeeperStore]:
    store = ZooKeeperStore(address, **{"wait": 0.0, **more})
    try:
        yield store
    finally:
        store.close()


def end_session(store: ZooKeeperStore, server: FakeZooKeeper) -> None:
    session = store._nodes._session.id
    assert session is not None
    server.tree.leave(session)


def test_a_commit_waits_for_a_server_that_is_away(address: ZooKeeperPath, fake_zookeeper: FakeZooKeeper) -> None:
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
        fake_zookeeper.stop()
        back = threading.Timer(0.5, fake_zookeeper.start)
        back.start()
        store.commit([save(a_record())])
        back.join()
        assert store.load()[:3] == ("framework-1", [a_record()], [])


def test_a_server_that_stays_away(address: ZooKeeperPath, fake_zookeeper: FakeZooKeeper) -> None:
    with opened(address, patience=0.5) as store:
        fake_zookeeper.stop()
        with pytest.raises(StoreFailed, match=rf"^ZooKeeper at {address.hosts} does not answer: is it running"):
            store.commit([SaveFramework("framework-1")])


def test_a_server_that_is_away_is_its_trouble(address: ZooKeeperPath, fake_zookeeper: FakeZooKeeper) -> None:
    with opened(address) as store:
        assert store.trouble() is None
        before = process_time()
        fake_zookeeper.stop()
        trouble = eventually(store.trouble)
        assert trouble is not None
        assert trouble.reason == f"ZooKeeper at {address.hosts} does not answer"
        assert before <= trouble.since <= process_time()
        fake_zookeeper.start()
        eventually(lambda: store.trouble() is None)


def test_an_owner_whose_session_ended_takes_its_lock_again(
    address: ZooKeeperPath, fake_zookeeper: FakeZooKeeper
) -> None:
    with opened(address) as store:
        before = store._nodes._session.id
        end_session(store, fake_zookeeper)

        def owner() -> int | None:
            node = fake_zookeeper.tree.nodes.get(f"{address.path}/lock")
            return node.owner if node is not None else None

        eventually(lambda: owner() not in (None, before), what="the lock belongs to the new session")
        store.commit([SaveFramework("framework-1")])
        assert store.load().framework_id == "framework-1"


def test_a_former_owner_can_neither_commit_nor_send(address: ZooKeeperPath, fake_zookeeper: FakeZooKeeper) -> None:
    with opened(address) as former:
        former.load()
        former._nodes._open = False  # it does not notice
        end_session(former, fake_zookeeper)
        with opened(address) as store:
            store.commit([SaveFramework("framework-1")])
            with pytest.raises(StateInUse, match=r"took over the state in|uses the state in"):
                former.commit([SaveFramework("framework-2")])
            assert store.load().framework_id == "framework-1"


def test_a_request_beyond_the_limit_of_zookeeper_is_not_sent(address: ZooKeeperPath) -> None:
    """The fake breaks the connection then, as ZooKeeper does."""
    records = [a_record(f"launch-{number}", place=number) for number in range(4)]
    for record in records:
        record.message = "m" * 900_000
    with opened(address) as store:
        store.commit([save(record) for record in records])
    with opened(address) as store:
        assert store.load().records == records
