"""A process's part in the election on a real ZooKeeper: what it is told, and what it is not told any more."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from owmesos.mesos.wire.address import Credentials, ZooKeeperPath
from owmesos.storage.candidate import ELECTION, SESSION, Candidate
from owmesos.storage.election import Leader
from owmesos.storage.owned_nodes import OWNER
from owmesos.system.lease import Lease
from tests.servers.zookeeper import ZooKeeper, ZooKeeperMissing
from tests.waiting import eventually

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]
_numbers = count()


@pytest.fixture
def address(zookeeper: ZooKeeper) -> ZooKeeperPath:
    return ZooKeeperPath(zookeeper.address, f"/elections/{next(_numbers)}")


@pytest.fixture
def kazoo(zookeeper: ZooKeeper) -> Iterator[Any]:
    client: Any = KazooClient(zookeeper.address)
    client.start()
    yield client
    client.stop()
    client.close()


class Told:
    """What a candidate has told."""

    def __init__(self) -> None:
        self.lease = Lease(SESSION)
        self.leads = threading.Event()
        self.leader: Leader | None = None
        self.ended: list[str] = []

    def lead(self) -> None:
        assert self.lease.holds or self.lease.wait(60.0)
        self.leads.set()

    def follow(self, leader: Leader | None) -> None:
        self.leader = leader

    def end(self, reason: str) -> None:
        self.ended.append(reason)


@contextmanager
def candidate(address: ZooKeeperPath, name: str = "a") -> Iterator[tuple[Candidate, Told]]:
    told = Told()
    taking_part = Candidate(address, f"http://{name}:1", told.lease, told)
    taking_part.start()
    try:
        yield taking_part, told
    finally:
        taking_part.close()


def test_the_first_leads_and_the_next_ones_follow_in_their_order(address: ZooKeeperPath) -> None:
    with candidate(address, "a") as (first, a), candidate(address, "b") as (second, b):
        eventually(lambda: sum(each.leads.is_set() for each in (a, b)))
        (winner, one), (_, other) = ((first, a), (second, b)) if a.leads.is_set() else ((second, b), (first, a))
        leader = eventually(lambda: other.leader)
        assert leader.admin == ("http://a:1" if one is a else "http://b:1")
        assert leader.holder.startswith("process ")
        eventually(lambda: one.lease.others == 1)
        assert not other.lease.holds
        winner.close()
        assert not one.lease.holds
        eventually(other.leads.is_set)
        assert other.lease.taken_over
        assert not one.lease.taken_over
        assert one.ended == other.ended == []


def test_a_session_that_zookeeper_ended_ends_the_lead(address: ZooKeeperPath, zookeeper: ZooKeeper) -> None:
    with candidate(address) as (taking_part, told):
        eventually(told.leads.is_set)
        twin: Any = KazooClient(zookeeper.address, client_id=taking_part._client.client_id)
        twin.start()
        twin.stop()
        twin.close()
        eventually(lambda: told.ended)
        assert not told.lease.holds
        told.leads.clear()
    assert told.ended[0] in (
        "its session at ZooKeeper has ended, and another process may lead",
        "its node in the election was removed",
    )
    assert len(told.ended) == 1
    assert not told.leads.is_set()


def test_a_node_that_was_removed_ends_the_lead_and_not_the_wait(address: ZooKeeperPath, kazoo: Any) -> None:
    with candidate(address, "a") as (_, a):
        eventually(a.leads.is_set)
        (first,) = kazoo.get_children(f"{address.path}/{ELECTION}")
        with candidate(address, "b") as (_, b):
            eventually(lambda: b.leader)
            (second,) = set(kazoo.get_children(f"{address.path}/{ELECTION}")) - {first}
            kazoo.delete(f"{address.path}/{ELECTION}/{second}")
            eventually(lambda: len(kazoo.get_children(f"{address.path}/{ELECTION}")) == 2, what="it is there again")
            kazoo.delete(f"{address.path}/{ELECTION}/{first}")
            eventually(lambda: a.ended)
            eventually(b.leads.is_set)
            assert a.ended == ["its node in the election was removed"]
            assert not a.lease.holds


def test_the_time_out_that_the_server_allows_counts(address: ZooKeeperPath) -> None:
    """With a tick of 200 ms that is 4 s at most, which is what is asked for."""
    with candidate(address) as (taking_part, told):
        eventually(told.leads.is_set)
        assert taking_part._timeout == SESSION


def test_what_is_there_of_others_is_passed_over(address: ZooKeeperPath, kazoo: Any) -> None:
    kazoo.create(f"{address.path}/{ELECTION}/x-0000000000", b"nonsense", makepath=True)
    with candidate(address) as (_, told):
        eventually(lambda: told.lease.others == 1)
        assert told.leader is None
        kazoo.delete(f"{address.path}/{ELECTION}/x-0000000000")
        eventually(told.leads.is_set)


def test_an_internal_error_ends_it(address: ZooKeeperPath, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Told):
        def lead(self) -> None:
            raise ZeroDivisionError("oops")

    told = Broken()
    taking_part = Candidate(address, "http://a:1", told.lease, told)
    taking_part.start()
    eventually(lambda: told.ended)
    taking_part.close()
    assert told.ended == ["internal error in the election: oops"]
    assert not told.lease.holds
    assert "the election broke" in caplog.text


@pytest.fixture
def own_zookeeper(tmp_path: Path) -> Iterator[ZooKeeper]:
    """For one test, which may harm it."""
    try:
        server = ZooKeeper(tmp_path)
    except ZooKeeperMissing as reason:
        pytest.skip(f"no ZooKeeper: {reason}")
    server.start()
    yield server
    server.stop()


def test_a_zookeeper_that_lost_its_data_ends_all_with_the_reason(own_zookeeper: ZooKeeper) -> None:
    """It keeps them out for ever, since they have seen later transactions than it has."""
    address = ZooKeeperPath(own_zookeeper.address, "/lost")
    with candidate(address, "a") as (_, a), candidate(address, "b") as (_, b):
        eventually(lambda: sum(each.leads.is_set() for each in (a, b)) == 1 and (a.leader or b.leader))
        own_zookeeper.stop()
        shutil.rmtree(own_zookeeper.folder / "data" / "version-2")
        own_zookeeper.start()
        eventually(lambda: a.ended and b.ended, 60)
        assert not a.lease.holds
        assert not b.lease.holds
        for (reason,) in (a.ended, b.ended):
            assert reason.startswith(f"ZooKeeper at {own_zookeeper.address} has lost data: its last transaction is 0x")
            assert f"The state in {address} is gone, or an old one" in reason
    with candidate(address, "c") as (_, c):
        eventually(c.leads.is_set)


def test_a_zookeeper_that_was_away_has_lost_nothing(own_zookeeper: ZooKeeper) -> None:
    address = ZooKeeperPath(own_zookeeper.address, "/away")
    with candidate(address) as (taking_part, told):
        eventually(told.leads.is_set)
        known = taking_part._client.last_zxid
        assert known <= (taking_part._last_transaction() or 0)
        own_zookeeper.stop()
        assert taking_part._last_transaction() is None
        own_zookeeper.start()
        assert known <= (eventually(taking_part._last_transaction) or 0)


@pytest.mark.parametrize(
    ("found", "seen_meanwhile", "lost"), [(6, 7, False), (4, 7, True), (4, 5, True), (None, 7, False)]
)
def test_what_is_seen_during_the_look_is_no_loss(
    found: int | None, seen_meanwhile: int, lost: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZooKeeper is back: our own client may be let in while the stranger looks, and see what was done since."""
    told = Told()
    taking_part = Candidate(ZooKeeperPath("127.0.0.1:1", "/away"), "http://a:1", told.lease, told)
    taking_part._client.last_zxid = 5

    def look() -> int | None:
        taking_part._client.last_zxid = seen_meanwhile
        return found

    monkeypatch.setattr(taking_part, "_last_transaction", look)
    for now in (100.0, 106.0):
        taking_part._look_for_lost_data(now)
    assert bool(told.ended) is lost


def test_who_is_to_lead_and_finds_no_state_where_one_was_ends(address: ZooKeeperPath, kazoo: Any) -> None:
    kazoo.create(f"{address.path}/{OWNER}", b"{}", makepath=True)
    with candidate(address, "a") as (first, a):
        eventually(a.leads.is_set)
        with candidate(address, "b") as (_, b):
            eventually(lambda: b.leader)
            kazoo.delete(f"{address.path}/{OWNER}")
            first.close()
            eventually(lambda: b.ended)
            assert not b.leads.is_set()
            assert b.ended[0].startswith(f"the state in {address} is gone: restore ")


def test_credentials(address: ZooKeeperPath) -> None:
    mine = ZooKeeperPath(address.hosts, address.path, Credentials("me", "secret"))
    with candidate(mine) as (_, told):
        eventually(told.leads.is_set)
        with candidate(address) as (_, stranger):
            eventually(lambda: stranger.ended)
            assert "these credentials are not allowed to" in stranger.ended[0]
        with candidate(mine) as (_, other):
            eventually(lambda: other.leader)
