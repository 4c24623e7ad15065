"""Virtual time: nothing waits, and every run of a seed is the same."""

from __future__ import annotations

import time

import pytest

from owmesos.core.launch import Launch
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Capability, Decline, Event, Filters, FrameworkInfo, Offers, Revive, Subscribe
from owmesos.resources import Resources
from owmesos.simulator import Faults, MasterSettings, Rates, VirtualCluster, VirtualScheduler, notation
from owmesos.simulator.pieces import Pieces, Reservation

INFO = FrameworkInfo("user", "test", roles=["r"], capabilities=[Capability("MULTI_ROLE")], failover_timeout=60.0)


class Listener:
    """A framework that only looks."""

    def __init__(self, cluster: VirtualCluster, info: FrameworkInfo = INFO) -> None:
        self.cluster = cluster
        self.events: list[tuple[float, Event]] = []
        answer, self.stream = cluster.subscribe(Subscribe(info), lambda event: self.events.append((cluster.now, event)))
        assert answer.status == 200
        cluster.run(0.0)
        self.id: str = self.events[0][1].framework_id.value  # type: ignore[attr-defined]

    def offers(self) -> list[tuple[float, int]]:
        """When OFFERS came, and with how many."""
        return [(when, len(list(event.offers))) for when, event in self.events if isinstance(event, Offers)]

    def decline_all(self, seconds: float) -> None:
        last = [event for _, event in self.events if isinstance(event, Offers)][-1]
        ids = [offer.id for offer in last.offers]
        self.cluster.call(self.id, self.stream, Decline(ids, Filters(seconds)))


def test_a_day_takes_no_time() -> None:
    cluster = VirtualCluster(3)
    Listener(cluster)
    began, now = time.monotonic(), cluster.now
    cluster.run(86400.0)
    assert cluster.now == pytest.approx(now + 86400.0)
    assert time.monotonic() - began < 20.0


def test_what_is_declined_comes_with_the_next_allocation_after_its_filter() -> None:
    cluster = VirtualCluster(3)
    listener = Listener(cluster)
    listener.decline_all(2.5)
    cluster.run(10.0)
    first, second = listener.offers()
    assert second[1] == 3
    assert 2.5 <= second[0] - first[0] <= 3.5


def test_revive_brings_it_at_once() -> None:
    cluster = VirtualCluster(3)
    listener = Listener(cluster)
    listener.decline_all(3600.0)
    cluster.run(5.0)
    cluster.call(listener.id, listener.stream, Revive())
    cluster.run(0.0)
    (_, first), (when, second) = listener.offers()
    assert (first, second, when) == (3, 3, cluster.now)


def test_offers_time_out() -> None:
    cluster = VirtualCluster(1, settings=MasterSettings(offer_timeout=3.0))
    listener = Listener(cluster)
    cluster.run(4.5)
    kinds = [type(event).__name__ for _, event in listener.events if type(event).__name__ != "Heartbeat"]
    assert kinds == ["Subscribed", "Offers", "Rescind", "Offers"]


def test_shares_are_levelled_between_frameworks() -> None:
    """The first takes all; when it lets go both get the same."""
    cluster = VirtualCluster(4)
    first, second = Listener(cluster), Listener(cluster)
    assert (first.offers()[-1][1], second.offers()) == (4, [])
    first.decline_all(0.0)
    cluster.run(1.5)
    assert (first.offers()[-1][1], second.offers()[-1][1]) == (2, 2)


def test_our_scheduler_places_what_fits() -> None:
    cluster = VirtualCluster(3)
    ours = VirtualScheduler(cluster)
    cluster.run(6.0)
    ours.submit(*(Launch(command="sleep 10", cpus=1, mem=512) for _ in range(30)))
    cluster.run(60.0)
    assert {record.state.value for record in ours.records()} == {"FINISHED"}


def test_a_lost_answer_is_lost_once() -> None:
    cluster = VirtualCluster(1)
    faults = Faults(cluster.world, Rates())
    ours = VirtualScheduler(cluster)
    cluster.run(6.0)
    faults.start()
    for taken in (True, False):
        faults.lose_next_accept(taken=taken)
        ours.submit(Launch(command="true", cpus=1, mem=512))
        cluster.run(30.0)
    assert {record.state.value for record in ours.records()} == {"FINISHED"}


class TestNotation:
    def test_resources(self) -> None:
        whole = notation.resources("cpus:2;mem:1024;cpus(web):0.5;ports:[31000-31001,31005-31006]")
        assert whole == Pieces.of(Resources.of(cpus=2, mem=1024, ports=[(31000, 31001), (31005, 31006)])).plus(
            Pieces.of(Resources.of(cpus=0.5), (Reservation("web", "STATIC"),))
        )

    @pytest.mark.parametrize("text", ["cpus", "cpus:x", "ports:31000-31001", "widgets:[1-2]", "cpus:-1"])
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            notation.resources(text)

    @pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("1secs", 1.0), ("1.5mins", 90.0), ("1hrs", 3600.0)])
    def test_durations(self, text: str, seconds: float) -> None:
        assert notation.seconds(text) == seconds
