"""What every store keeps, wherever that is: in memory, in a folder, in ZooKeeper."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import (
    Answer,
    ForgetAnswer,
    ForgetFramework,
    ForgetLaunch,
    MemoryStore,
    SaveFramework,
    SaveLaunch,
    SQLiteStore,
    StateInUse,
    Store,
    StoreFailed,
)
from owmesos.storage.places import KeptStore
from owmesos.storage.zookeeper import ZooKeeperStore
from tests.fakes.zookeeper import FakeZooKeeper
from tests.servers.zookeeper import ZooKeeper
from tests.storage.records import a_record, save

_numbers = count()
LATER = 4_000_000_000.0  # than this test runs

# The fake one is for the Pythons, and the versions of kazoo, on which no test has a real server.
with_zookeeper = pytest.param("zookeeper", marks=[pytest.mark.zookeeper, pytest.mark.cluster])


def opener(kind: str, request: pytest.FixtureRequest, folder: Path) -> Callable[[], KeptStore]:
    """Opens the store of one place, as each start of a process does."""
    if kind == "sqlite":
        return lambda: SQLiteStore(folder)
    server: ZooKeeper | FakeZooKeeper = request.getfixturevalue(kind)
    address = ZooKeeperPath(server.address, f"/stores/{next(_numbers)}")
    return lambda: ZooKeeperStore(address, wait=0.0)


@pytest.fixture(params=["sqlite", "memory", "fake_zookeeper", with_zookeeper])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    keeper: Store = MemoryStore() if request.param == "memory" else opener(request.param, request, tmp_path)()
    yield keeper
    keeper.close()


@pytest.fixture(params=["sqlite", "fake_zookeeper", with_zookeeper])
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], KeptStore]:
    return opener(request.param, request, tmp_path)


# -- what is kept


def test_a_new_store_is_empty(store: Store) -> None:
    assert store.load()[:3] == (None, [], [])


def test_a_record_comes_back_whole(store: Store) -> None:
    record = a_record()
    store.commit([SaveFramework("framework-1"), save(record)])
    assert store.load()[:3] == ("framework-1", [record], [])


def test_the_last_write_of_a_launch_counts(store: Store) -> None:
    record = a_record()
    store.commit([save(record)])
    record.message = "later"
    store.commit([save(record)])
    assert store.load().records[0].message == "later"


def test_records_come_in_the_order_of_their_places(store: Store) -> None:
    store.commit([save(a_record("z", place=1)), save(a_record("a", place=2)), save(a_record("m", place=0))])
    assert [record.id for record in store.load().records] == ["m", "z", "a"]


def test_a_launch_is_forgotten(store: Store) -> None:
    store.commit([save(a_record("one")), save(a_record("two", place=1))])
    store.commit([ForgetLaunch("one"), ForgetLaunch("never there")])
    assert [record.id for record in store.load().records] == ["two"]


def test_a_framework_is_forgotten_with_its_launches(store: Store) -> None:
    store.commit([SaveFramework("framework-1"), save(a_record())])
    store.commit([ForgetFramework()])
    assert store.load()[:3] == (None, [], [])


def test_an_edit_of_the_task_is_stored_by_its_effect(store: Store) -> None:
    record = a_record()
    record.launch = Launch(command="true", task_info=lambda info: info)
    store.commit([save(record)])
    assert store.load().records[0].launch == Launch(command="true")


def test_it_may_be_used_by_another_thread(store: Store) -> None:
    thread = threading.Thread(target=store.commit, args=([SaveFramework("framework-1")],))
    thread.start()
    thread.join()
    assert store.load().framework_id == "framework-1"


# -- answers to requests with a key


def an_answer(key: str, taken_at: float = 1.0, body: bytes = b"\0answer\xff") -> Answer:
    return Answer(key, b"digest", taken_at, body)


def test_answers_come_in_the_order_in_which_they_were_taken(store: Store) -> None:
    answers = [an_answer(key) for key in ("z", "a/b", "..", "1.2", "ä")]
    store.commit(answers[:2])
    store.commit(answers[2:])
    assert store.answers() == answers


def test_an_answer_is_replaced_and_forgotten(store: Store) -> None:
    store.commit([an_answer("one"), an_answer("two")])
    store.commit([an_answer("one", body=b"later"), ForgetAnswer("two"), ForgetAnswer("never there")])
    assert store.answers() == [an_answer("one", body=b"later")]


def test_a_framework_is_forgotten_with_its_answers(store: Store) -> None:
    store.commit([SaveFramework("framework-1"), an_answer("one")])
    store.commit([ForgetFramework()])
    assert store.answers() == []


# -- commits of any size


def test_a_commit_of_many_writes(store: Store) -> None:
    records = [a_record(f"launch-{number}", place=number) for number in range(1200)]
    store.commit([SaveFramework("framework-1"), *map(save, records)])
    assert store.load()[:3] == ("framework-1", records, [])
    store.commit([ForgetLaunch(record.id) for record in records[1:]])
    assert store.load().records == records[:1]


@pytest.mark.parametrize("size", [399_999, 400_000, 400_001, 2_500_000])
def test_a_record_and_an_answer_of_any_size(store: Store, size: int) -> None:
    record = a_record()
    record.message = "m" * size
    answer = an_answer("key", body=b"a" * size)
    store.commit([save(record), answer])
    assert (store.load().records, store.answers()) == ([record], [answer])
    record.message = "short"
    store.commit([save(record), an_answer("key")])
    assert (store.load().records, store.answers()) == ([record], [an_answer("key")])


# -- the next start


def test_what_was_committed_outlives_the_store(start: Callable[[], KeptStore]) -> None:
    first = start()
    first.commit([SaveFramework("framework-1"), save(a_record()), an_answer("one")])
    first.commit([an_answer("two")])
    first.close()
    second = start()
    assert second.load()[:3] == ("framework-1", [a_record()], [])
    assert second.answers() == [an_answer("one"), an_answer("two")]
    second.commit([an_answer("three"), ForgetLaunch("launch-1")])
    assert [each.key for each in second.answers()] == ["one", "two", "three"]
    assert second.load().records == []
    second.close()


def test_a_failed_commit_changes_nothing(start: Callable[[], KeptStore]) -> None:
    store = start()
    store.commit([SaveFramework("framework-1")])
    with pytest.raises(StoreFailed):
        store.commit([ForgetFramework(), SaveLaunch("launch-1", None)])  # type: ignore[arg-type]
    store.commit([save(a_record())])
    assert store.load()[:3] == ("framework-1", [a_record()], [])
    store.close()


def test_there_is_one_owner_at_a_time(start: Callable[[], KeptStore]) -> None:
    store = start()
    with pytest.raises(StateInUse, match=r"^process \d+ .*uses the state in .+: stop it, or give another"):
        start()
    store.close()
    start().close()


def test_a_closed_store_says_so(start: Callable[[], KeptStore]) -> None:
    store = start()
    store.close()
    store.close()
    with pytest.raises(StoreFailed, match="closed"):
        store.load()


def test_a_record_that_cannot_be_read_is_set_aside_and_stays(start: Callable[[], KeptStore]) -> None:
    store = start()
    damaged = SaveLaunch("launch-2", b'{"id": 1}')
    store.commit([SaveFramework("framework-1"), save(a_record()), damaged])
    store.close()
    again = start()
    saved = again.load()
    assert saved.records == [a_record()]
    assert [each.launch_id for each in saved.unreadable] == ["launch-2"]
    assert "Expected `str`, got `int`" in saved.unreadable[0].reason
    assert damaged in again.raw()[0]
    again.close()


# -- which ACCEPTs were sent


def test_before_the_first_start_it_is_unknown_which_accepts_were_sent(start: Callable[[], KeptStore]) -> None:
    store, before = start(), time.time()
    assert store.load().sent_until == math.inf
    store.close()
    store = start()
    assert before <= store.load().sent_until <= time.time()
    store.close()


def test_what_may_have_been_sent_never_goes_back(start: Callable[[], KeptStore]) -> None:
    store = start()
    store.load()
    for accepted_at in (LATER, 1.0):
        store.about_to_send(accepted_at)
        store.sending(accepted_at)
    store.close()
    store = start()
    assert store.load().sent_until == LATER
    store.close()
