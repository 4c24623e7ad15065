"""Virtual time: nothing waits, and every run of a seed is the same."""

from __future__ import annotations

import time

import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Capability, Decline, Event, Filters, FrameworkInfo, Offers, Range, Revive, Subscribe
from owmesos.mesos.scheduler.launch import Launch
from owmesos.resources import Resources
from owmesos.simulator import Faults, MasterSettings, Rates, VirtualCluster, VirtualScheduler, notation
from owmesos.simulator.pieces import PieceReservation, Pieces, from_resources, to_resources

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


@pytest.mark.parametrize(("retry", "states"), [("safe", ["FINISHED", "LOST"]), ("lost", ["FINISHED", "FINISHED"])])
def test_a_lost_answer_is_lost_once(retry: str, states: list[str]) -> None:
    cluster = VirtualCluster(1)
    faults = Faults(cluster.world, Rates())
    ours = VirtualScheduler(cluster)
    cluster.run(6.0)
    faults.start()
    for taken in (True, False):
        faults.lose_next_accept(taken=taken)
        ours.submit(Launch(command="true", cpus=1, mem=512, retry=retry))
        cluster.run(30.0)
    assert [record.state.value for record in ours.records()] == states


def written_ranges(pieces: Pieces) -> list[Range]:
    (ports,) = (each for each in to_resources(pieces, None, refinement=True) if each.name == "ports")
    assert ports.ranges is not None
    return list(ports.ranges.range)


class TestNotation:
    def test_resources(self) -> None:
        whole = notation.resources("cpus:2;mem:1024;cpus(web):0.5;ports:[31000-31001,31005-31006]")
        assert whole == Pieces.of(Resources.of(cpus=2, mem=1024, ports=[(31000, 31001), (31005, 31006)])).plus(
            Pieces.of(Resources.of(cpus=0.5), (PieceReservation("web", "STATIC"),))
        )

    @pytest.mark.parametrize(
        "text",
        [
            "cpus",
            "cpus:x",
            "ports:31000-31001",
            "widgets:[1-2]",
            "cpus:-1",
            "cpus:1_0",
            "cpus:inf",
            "cpus:[1-2]",
            "ports:[1-x]",
        ],
    )
    def test_what_is_none(self, text: str) -> None:
        with pytest.raises(InvalidInput):
            notation.resources(text)

    def test_ports_that_nobody_can_listen_on_are_taken_as_mesos_takes_them(self) -> None:
        pieces = notation.resources("cpus:1;ports:[32000-70000]")
        assert [(each.begin, each.end) for each in written_ranges(pieces)] == [(32000, 70000)]
        assert from_resources(to_resources(pieces.plus(pieces), None, refinement=True)) == pieces.plus(pieces)

    @pytest.mark.parametrize(
        ("text", "kind", "value"),
        [  # each measured on an agent of Mesos 1.11.0
            ("a:x y", "TEXT", "xy"),
            ("a:1_000", "TEXT", "1_000"),
            ("a:0x1A", "TEXT", "0x1A"),
            ("a:1e400", "TEXT", "1e400"),
            ("a:1e", "TEXT", "1e"),
            ("a:a(b)", "TEXT", "a(b)"),
            ("a:b:c", "TEXT", "b:c"),
            ("a:٣", "TEXT", "٣"),
            ("a:5.", "SCALAR", 5.0),
            ("a:.5", "SCALAR", 0.5),
            ("a:+5", "SCALAR", 5.0),
            ("a: 4 . 5", "SCALAR", 4.5),
            ("a:-0", "SCALAR", 0.0),
            ("a:[1-5,6-9]", "RANGES", [(1, 9)]),
            ("a:[3-4, 1-2]", "RANGES", [(1, 4)]),
            ("a:[0x10-0x20]", "RANGES", [(16, 32)]),
            ("a:[5-1]", "RANGES", [(5, 1)]),
            ("a:[]", "RANGES", []),
        ],
    )
    def test_attributes_are_what_mesos_makes_of_them(self, text: str, kind: str, value: object) -> None:
        (attribute,) = notation.attributes(text)
        assert (attribute.name, attribute.type) == ("a", kind)
        if kind == "TEXT":
            assert attribute.text is not None
            assert attribute.text.value == value
        elif kind == "SCALAR":
            assert attribute.scalar is not None
            assert attribute.scalar.value == value
        else:
            assert attribute.ranges is not None
            assert [(each.begin, each.end) for each in attribute.ranges.range] == value

    def test_the_name_of_an_attribute_keeps_its_blanks(self) -> None:
        assert [each.name for each in notation.attributes("a:b; c:d;")] == ["a", " c"]

    @pytest.mark.parametrize(
        "value",
        [
            "{centos}",
            "infinity",
            "NaN",
            "-inf",
            "-5",
            "1e-310",
            "a[1]",
            "a{1}",
            "a(b",
            "a}b",
            "[1-2",
            "[a-b]",
            "[1]",
            " ",
        ],
    )
    def test_an_attribute_that_ends_an_agent_of_mesos_is_refused(self, value: str) -> None:
        with pytest.raises(InvalidInput, match="a Mesos agent does not start with"):
            notation.attributes(f"a:{value}")

    @pytest.mark.parametrize(("text", "seconds"), [("100ms", 0.1), ("1secs", 1.0), ("1.5mins", 90.0), ("1hrs", 3600.0)])
    def test_durations(self, text: str, seconds: float) -> None:
        assert notation.seconds(text) == seconds
