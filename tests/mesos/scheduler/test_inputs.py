"""What one stored record, offer, agent or task holds costs nobody else anything: the scheduler goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owmesos.core import listings as core_listings
from owmesos.mesos import listings
from owmesos.mesos.messages import (
    ID,
    Accept,
    Acknowledge,
    Decline,
    Event,
    Kill,
    MalformedEvent,
    Offer,
    Offers,
    Range,
    Ranges,
    Subscribed,
    TaskStatus,
    Update,
    decode_event,
)
from owmesos.mesos.scheduler.effects import Note, SendCall
from owmesos.mesos.scheduler.events import AgentSeen, AgentsSeen, KillLaunches, Submit, Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.task_info import template
from owmesos.resources import Resources
from owmesos.storage.records import read
from tests.examples import examples
from tests.json_faults import faulty
from tests.model.scene import NO_BUFFER, at_rest, running
from tests.model.world import World


def listed(scheduler: Scheduler, now: float) -> None:
    """Every listing can be made and written."""
    state = scheduler.state
    documents: list[Any] = [
        listings.nodes(state, now),
        listings.offers(state, now),
        core_listings.reservations(state.ledger, now),
        listings.launches(state),
        listings.unreadable(state),
    ]
    for record in state.launches.values():
        documents += [listings.story(record), listings.explanation(state, record, scheduler.explain(record.id))]
    json.dumps(documents, allow_nan=False)


def offered(*offers: dict[str, Any]) -> Event:
    """OFFERS as the master writes them."""
    record = json.dumps({"type": "OFFERS", "offers": {"offers": list(offers)}}).encode()
    return decode_event(record, lambda reason: None)


def ports(begin: Any, end: Any) -> dict[str, Any]:
    ranges = {"range": [{"begin": begin, "end": end}]}
    return {"name": "ports", "type": "RANGES", "ranges": ranges, "allocation_info": {"role": "web"}}


def scalar(name: str, value: float) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, "allocation_info": {"role": "web"}}


AMOUNTS = [scalar("cpus", 4.0), scalar("mem", 4096.0), scalar("disk", 100.0)]
WINDOW = {"start": {"nanoseconds": 1_900_000_000 * 10**9}, "duration": {"nanoseconds": 10**9}}


def plain(number: int, *, agent: int | None = None, **more: Any) -> dict[str, Any]:
    """Offer `O<number>` of agent `S<number>`, in which every kind of field occurs but a window of maintenance."""
    agent = number if agent is None else agent
    return {
        "id": {"value": f"O{number}"},
        "framework_id": {"value": "F"},
        "agent_id": {"value": f"S{agent}"},
        "hostname": f"h{agent}",
        "url": {"scheme": "http", "address": {"hostname": f"h{agent}", "ip": f"10.0.0.{agent}", "port": 5051}},
        "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "z1"}}},
        "resources": [*AMOUNTS, ports(31000, 31009)],
        "attributes": [
            {"name": "rack", "type": "TEXT", "text": {"value": "r1"}},
            {"name": "slots", "type": "SCALAR", "scalar": {"value": 4.5}},
            {"name": "prts", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 5}]}},
            {"name": "tags", "type": "SET", "set": {"item": ["a"]}},
        ],
        "allocation_info": {"role": "web"},
        **more,
    }


STATUS: Any = {
    "task_id": {"value": "L1.1"},
    "state": "TASK_RUNNING",
    "message": "m",
    "reason": "R",
    "source": "SOURCE_EXECUTOR",
    "agent_id": {"value": "S1"},
    "executor_id": {"value": "L1.1"},
    "timestamp": 1.5,
    "uuid": "2MGk0bIAQV+5k7QWWle1BQ==",
    "data": "aGk=",
    "container_status": {"network_infos": [{"ip_addresses": [{"ip_address": "10.0.0.1"}]}]},
    "labels": {"labels": [{"key": "a"}]},
}


class Desk:
    """A scheduler alone, connected, with all that it ever said."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        info = framework_info(name="t", user="u", roles=("web",), framework_id="F")
        self.scheduler = Scheduler(Settings(buffer=NO_BUFFER), info)
        self.calls: list[Any] = []
        self.warnings: list[str] = []
        self.take(Subscribed(ID("F")))

    def handle(self, *events: Event) -> None:
        for event in events:
            self.take(event)
            self.scheduler.state.validate()
            listed(self.scheduler, self.now)
            self.now += 1.0

    def take(self, event: Event) -> None:
        """Without a check: most of the time is theirs."""
        for effect in self.scheduler.handle(event, self.now):
            if isinstance(effect, SendCall):
                self.calls.append(effect.call)
            elif isinstance(effect, Note) and effect.level == "warning":
                self.warnings.append(effect.text)

    def submit(self, launch_id: str, **asked: Any) -> None:
        self.submit_launch(launch_id, Launch(command="true", **asked))

    def submit_launch(self, launch_id: str, launch: Launch) -> None:
        self.take(Submit(launch_id, launch, template(launch)))

    def ended(self) -> set[str]:
        """The offers that were accepted or declined; none is in two calls."""
        ids = [offer.value for call in self.calls if isinstance(call, (Accept, Decline)) for offer in call.offer_ids]
        assert len(ids) == len(set(ids))
        return set(ids)

    def nodes(self) -> list[dict[str, Any]]:
        return listings.nodes(self.scheduler.state, self.now)


class OnePass(list[Offer]):
    """Offers that say how often they are gone through."""

    passes = 0

    def __iter__(self) -> Iterator[Offer]:
        self.passes += 1
        return super().__iter__()


class TestOffers:
    def test_each_is_decoded_once(self) -> None:
        """An OFFERS of 50,000 agents has 56 MB, and is decoded as it is gone through."""
        event = offered(plain(1), plain(2))
        assert isinstance(event, Offers)
        offers = OnePass(event.offers)
        desk = Desk()
        desk.handle(Offers(offers))
        assert desk.ended() == {"O1", "O2"}
        assert offers.passes == 1

    @pytest.mark.parametrize(
        ("begin", "end", "left"),
        [
            (32000, 70000, [[32000, 65535]]),
            (70000, 80000, []),
            (0, 10, [[1, 10]]),
            (0, 2**64, [[1, 65535]]),
            (-5, 0, []),
            (9, 5, []),
            (65535, 65536, [[65535, 65535]]),
        ],
    )
    def test_ports_that_nobody_can_listen_on_are_left_out_with_one_warning(
        self, begin: int, end: int, left: list[list[int]]
    ) -> None:
        desk = Desk()
        for number in range(1, 4):
            desk.handle(offered(plain(number, agent=1, resources=[*AMOUNTS, ports(begin, end)])))
        (row,) = desk.nodes()
        assert row["free"]["ports"] == left
        assert desk.warnings == [f"agent S1 offers ports [{begin}-{end}]: those beyond 1 to 65535 are not used"]
        assert desk.ended() == {"O1", "O2", "O3"}

    def test_a_launch_takes_ports_that_exist(self) -> None:
        desk = Desk()
        desk.submit("L1", ports=2)
        desk.handle(offered(plain(1, resources=[*AMOUNTS, ports(65534, 70000)])))
        (accept,) = (call for call in desk.calls if isinstance(call, Accept))
        (task,) = accept.operations[0].launch.task_infos
        assert task.resources[-1].ranges == Ranges([Range(65534, 65535)])

    @pytest.mark.parametrize(
        ("more", "reason"),
        [
            ({"resources": [scalar("mem", -5.0)]}, "an amount must be 0 to 9007199254740"),
            ({"resources": [scalar("mem", 1e308)]}, "an amount must be 0 to 9007199254740"),
            ({"resources": [scalar("cpus", 1e300)]}, "an amount must be 0 to 9007199254740"),
            ({"resources": [{"name": 5}]}, "Expected `str`, got `int`"),
            ({"resources": 5}, "Expected `array`, got `int`"),
            ({"resources": [ports("a", 2)]}, "Expected `int`, got `str`"),
            ({"attributes": [{"name": "a", "scalar": {"value": 1e307}}]}, "an attribute must be"),
            ({"attributes": [{"name": "a", "text": {"value": "x" * 70_000}}]}, "attributes have 70001 characters"),
            ({"hostname": "h\0"}, "hostname must not contain a NUL"),
            ({"hostname": "h" * 2000}, "hostname has 2000 bytes"),
            ({"hostname": None}, "Expected `str`, got `null`"),
            ({"url": {"scheme": 5}}, "$.url.scheme"),
            ({"unavailability": {"start": {}}}, "nanoseconds"),
        ],
    )
    def test_one_that_cannot_be_used_is_declined_with_one_warning(self, more: dict[str, Any], reason: str) -> None:
        desk = Desk()
        desk.submit("L1")
        desk.handle(offered(plain(1, **more), plain(2)))
        assert desk.scheduler.state.launches["L1"].agent_id == "S2"
        for number in range(3, 6):
            desk.handle(offered(plain(number, agent=1, **more)))
        (warning,) = desk.warnings
        assert warning.startswith("offers of agent S1 cannot be used, and are declined: ")
        assert reason in warning
        assert desk.ended() == {"O1", "O2", "O3", "O4", "O5"}
        assert [row["hostname"] for row in desk.nodes()] == ["h2"]

    @pytest.mark.parametrize("nanoseconds", [-(10**30), -1, 10**30, 10**400], ids=["-1e30", "-1", "1e30", "1e400"])
    def test_a_window_of_maintenance_beyond_all_time(self, nanoseconds: int) -> None:
        desk = Desk()
        window = {"start": {"nanoseconds": nanoseconds}, "duration": {"nanoseconds": nanoseconds}}
        desk.handle(offered(plain(1, unavailability=window)))
        (row,) = desk.nodes()
        assert row["unavailability"]["start"] in ("1970-01-01T00:00:00.000Z", "2262-04-11T23:47:16.854Z")
        assert row["state"] == "draining"

    def test_the_same_offer_twice_is_one(self) -> None:
        desk = Desk()
        desk.handle(offered(plain(1), plain(1), plain(2)))
        assert desk.ended() == {"O1", "O2"}
        assert desk.warnings == ["offer O1 came twice: the first one counts"]

    @settings(max_examples=examples(300))
    @given(faulty(plain(1, unavailability=WINDOW)), st.booleans())
    def test_whatever_one_holds_the_others_are_used_and_none_is_kept(self, fault: Any, first: bool) -> None:
        desk = Desk()
        desk.submit("L1", ports=1)
        before, after = (plain(2), plain(3)) if first else (plain(3), plain(2))
        desk.handle(offered(before, fault, after), Tick())
        state = desk.scheduler.state
        assert {"S2", "S3"} <= state.ledger.agents.keys()
        assert state.launches["L1"].state is State.SUBMITTED
        assert {"O2", "O3"} <= desk.ended()
        offer_id = fault.get("id")
        if isinstance(offer_id, dict) and isinstance(offer_id.get("value"), str):
            assert offer_id["value"] in desk.ended()
        assert len(desk.warnings) <= 2
        if offer_id != {"value": "O1"}:
            return
        said = len(desk.warnings)
        desk.handle(offered({**fault, "id": {"value": "O4"}}))
        assert len(desk.warnings) == said


class TestUpdates:
    @settings(max_examples=examples(300))
    @given(faulty(STATUS))
    def test_whatever_one_holds_other_launches_go_on(self, status: Any) -> None:
        desk = Desk()
        desk.submit("L1")
        desk.submit("L2")
        desk.handle(offered(plain(1)))
        record = json.dumps({"type": "UPDATE", "update": {"status": status}}).encode()
        with suppress(MalformedEvent):
            desk.handle(decode_event(record, lambda reason: None))
        desk.handle(Update(TaskStatus(ID("L2.1"), "TASK_RUNNING", agent_id=ID("S1"))), Tick())
        assert desk.scheduler.state.launches["L2"].state is State.RUNNING

    def test_a_long_message_is_cut(self) -> None:
        desk = Desk()
        desk.submit("L1")
        desk.handle(offered(plain(1)))
        desk.handle(Update(TaskStatus(ID("L1.1"), "TASK_FAILED", message="x" * 10**6, reason="R" * 10**6)))
        assert len(desk.scheduler.state.launches["L1"].stored_form()) < 30_000


class TestAgentsSeen:
    def test_one_with_a_bad_name_is_passed_over(self) -> None:
        desk = Desk()
        room = Resources.of(cpus=1, mem=64)
        desk.handle(AgentsSeen((AgentSeen("S1", "h\0", room), AgentSeen("S2", "h2", room))))
        assert [row["hostname"] for row in desk.nodes()] == ["h2"]


class TestStoredRecords:
    @staticmethod
    def stored() -> dict[str, bytes]:
        """L1 runs, L2 waits, L3 was just accepted."""
        world = at_rest()
        running(world)
        world.submit(mem=9999)
        world.submit(name="silent", constraints=["@hostname LIKE h.*"])
        world.wait(0.1)
        assert [world.record(f"L{number}").state for number in (1, 2, 3)] == [
            State.RUNNING,
            State.PENDING,
            State.SUBMITTED,
        ]
        return world.store

    STORED = stored()

    @settings(max_examples=examples(150))
    @given(st.data(), st.sampled_from(sorted(STORED)))
    def test_whatever_one_holds_the_others_go_on(self, data: st.DataObject, victim: str) -> None:
        fault = data.draw(faulty(msgspec.json.decode(self.STORED[victim])))
        store = self.STORED | {victim: msgspec.json.encode(fault)}
        now = 1_700_000_100.0
        records, unreadable = read(store.items())
        scheduler = Scheduler(at_rest().settings, framework_info(name="t", user="u", roles=("web",), framework_id="F"))
        scheduler.restore(records, now, unreadable)
        others = sorted(store.keys() - {victim})
        assert set(others) <= scheduler.state.launches.keys()
        assert victim in scheduler.state.launches or victim in scheduler.state.unreadable
        events: list[Event] = [Subscribed(ID("F")), offered(plain(1))]
        events += [
            Update(TaskStatus(ID(f"{launch_id}.1"), "TASK_RUNNING", agent_id=ID("S1"), uuid="dQ=="))
            for launch_id in ("L1", "L3")
        ]
        events += [Tick(), offered(plain(2, agent=1)), *(KillLaunches((launch_id,)) for launch_id in others)]
        for event in events:
            scheduler.handle(event, now)
            scheduler.state.validate()
            listed(scheduler, now)
            now += 15.0
        for launch_id, state in (("L1", "RUNNING"), ("L2", "KILLED"), ("L3", "RUNNING")):
            if launch_id != victim:
                assert scheduler.state.launches[launch_id].state.value == state

    def unreadable(self) -> World:
        """Its running launch L1 cannot be read after a restart."""
        world = at_rest()
        running(world)
        world.store["L1"] = world.store["L1"].replace(b'"attempts":1', b'"attempts":1000000000000')
        world.crash()
        assert list(world.scheduler.state.unreadable) == ["L1"]
        return world

    def test_a_task_of_one_that_is_set_aside_is_left_alone_and_acknowledged(self) -> None:
        world = self.unreadable()
        world.wait(30)
        update = Update(TaskStatus(ID("L1.1"), "TASK_RUNNING", agent_id=ID("S1"), uuid="u9"))
        world.handle(update)
        assert not world.calls(Kill)
        assert world.calls(Acknowledge)
        assert not [effect for effect in world.effects if isinstance(effect, Note) and effect.level == "warning"]
        assert world.store["L1"].count(b"1000000000000") == 1

    def test_new_launches_run_beside_it(self) -> None:
        world = self.unreadable()
        world.wait(30)
        running(world)

    def test_many_attempts_take_no_time(self) -> None:
        world = at_rest()
        running(world)
        world.store["L1"] = (
            world.store["L1"].replace(b'"attempts":1', b'"attempts":999999999').replace(b'"L1.1"', b'"L1.999999999"')
        )
        world.crash()
        state = world.scheduler.state
        assert state.launch_of("L1.5") == state.launch_of("L1.999999999") == "L1"
        for name in ("L1.0", "L1.05", "L1.1000000000", "L1.-1", "L1.", "L1", "L1.²", "L2.1", "L1.1e3"):
            assert state.launch_of(name) is None

    @pytest.mark.parametrize(
        "template", ["", "{}", '{"name": 1}', "[" * 2000, '{"name":"a\\u0000","task_id":{"value":""}}']
    )
    def test_one_that_no_task_can_be_made_of(self, template: str) -> None:
        world = at_rest()
        launch_id = world.submit(mem=9999)
        document = msgspec.json.decode(world.store[launch_id])
        world.store[launch_id] = msgspec.json.encode(document | {"template": template})
        world.crash()
        assert "template is not valid" in world.scheduler.state.unreadable[launch_id].reason
