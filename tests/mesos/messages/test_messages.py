"""Calls as Mesos 1.11 reads them, and events as it was seen to send them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owmesos.mesos.messages import (
    ID,
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperationStatus,
    AttributeConstraint,
    Call,
    Capability,
    CommandInfo,
    ContainerInfo,
    Decline,
    DeclineInverseOffers,
    DockerInfo,
    DurationInfo,
    Environment,
    Error,
    Event,
    Failure,
    Filters,
    FrameworkInfo,
    Group,
    Heartbeat,
    InverseOffers,
    Kill,
    KillPolicy,
    LaunchOperation,
    MalformedEvent,
    MasterInfo,
    Message,
    MessageEvent,
    MinAllocatableResources,
    Offer,
    OfferConstraints,
    OfferFilters,
    Offers,
    Operation,
    Parameter,
    Predicate,
    Range,
    Ranges,
    Reconcile,
    ReconcileOperation,
    ReconcileOperations,
    ReconcileTask,
    Request,
    Rescind,
    RescindInverseOffer,
    Resource,
    ResourceQuantities,
    ResourceRequest,
    Revive,
    RoleConstraints,
    Scalar,
    Selector,
    Shutdown,
    Subscribe,
    Subscribed,
    Suppress,
    TaskInfo,
    Teardown,
    TextEquals,
    UnknownEvent,
    Update,
    UpdateFramework,
    UpdateOperationStatus,
    Variable,
    calls,
    decode_event,
    encode_call,
    unknown_in_event,
)
from tests.examples import examples
from tests.json_faults import faulty

F = {"framework_id": {"value": "F"}}
INFO = FrameworkInfo(
    user="root",
    name="n",
    id=ID("F"),
    failover_timeout=604800.0,
    checkpoint=True,
    roles=["t"],
    capabilities=[Capability("MULTI_ROLE"), Capability("PARTITION_AWARE")],
    offer_filters={
        "t": OfferFilters(MinAllocatableResources([ResourceQuantities({"cpus": Scalar(2.0), "mem": Scalar(1000.0)})]))
    },
)
INFO_JSON = {
    "user": "root",
    "name": "n",
    "id": {"value": "F"},
    "failover_timeout": 604800.0,
    "checkpoint": True,
    "roles": ["t"],
    "capabilities": [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}],
    "offer_filters": {
        "t": {
            "min_allocatable_resources": {
                "quantities": [{"quantities": {"cpus": {"value": 2.0}, "mem": {"value": 1000.0}}}]
            }
        }
    },
}
CONSTRAINTS = OfferConstraints(
    {
        "t": RoleConstraints(
            [Group([AttributeConstraint(Selector(attribute_name="rack"), Predicate(text_equals=TextEquals("r1")))])]
        )
    }
)
CONSTRAINTS_JSON = {
    "role_constraints": {
        "t": {
            "groups": [
                {
                    "attribute_constraints": [
                        {
                            "selector": {"attribute_name": "rack"},
                            "predicate": {"text_equals": {"value": "r1"}},
                        }
                    ]
                }
            ]
        }
    }
}
TASK = TaskInfo(
    name="task",
    task_id=ID("t1"),
    agent_id=ID("S0"),
    resources=[
        Resource("cpus", "SCALAR", Scalar(0.1), role="r1", reservation={"labels": {"labels": []}}),
        Resource("ports", "RANGES", ranges=Ranges([Range(31000, 31001)])),
    ],
    command=CommandInfo(
        shell=False,
        value="/bin/prog",
        arguments=["prog", "x"],
        environment=Environment([Variable("A", "1")]),
    ),
    container=ContainerInfo(
        "DOCKER", docker=DockerInfo("image", network="BRIDGE", parameters=[Parameter("memory-swap", "1g")])
    ),
    kill_policy=KillPolicy(DurationInfo(500_000_000)),
    data=b"hi",
)
TASK_JSON = {
    "name": "task",
    "task_id": {"value": "t1"},
    "agent_id": {"value": "S0"},
    "resources": [
        {
            "name": "cpus",
            "type": "SCALAR",
            "scalar": {"value": 0.1},
            "role": "r1",
            "reservation": {"labels": {"labels": []}},
        },
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31001}]}},
    ],
    "command": {
        "environment": {"variables": [{"name": "A", "value": "1"}]},
        "shell": False,
        "value": "/bin/prog",
        "arguments": ["prog", "x"],
    },
    "container": {
        "type": "DOCKER",
        "docker": {
            "image": "image",
            "network": "BRIDGE",
            "parameters": [{"key": "memory-swap", "value": "1g"}],
        },
    },
    "kill_policy": {"grace_period": {"nanoseconds": 500000000}},
    "data": "aGk=",
}
OFFER_ID, S, T, E = ID("O"), ID("S"), ID("T"), ID("E")
CALLS: list[tuple[Call, dict[str, Any]]] = [
    (
        Subscribe(INFO, ["t"], CONSTRAINTS),
        {
            "type": "SUBSCRIBE",
            **F,
            "subscribe": {
                "framework_info": INFO_JSON,
                "suppressed_roles": ["t"],
                "offer_constraints": CONSTRAINTS_JSON,
            },
        },
    ),
    (Teardown(), {"type": "TEARDOWN", **F}),
    (
        Accept([OFFER_ID], [Operation("LAUNCH", launch=LaunchOperation([TASK]))], Filters(0.0)),
        {
            "type": "ACCEPT",
            **F,
            "accept": {
                "offer_ids": [{"value": "O"}],
                "operations": [{"type": "LAUNCH", "launch": {"task_infos": [TASK_JSON]}}],
                "filters": {"refuse_seconds": 0.0},
            },
        },
    ),
    (
        Decline([OFFER_ID], Filters(3600.0)),
        {
            "type": "DECLINE",
            **F,
            "decline": {"offer_ids": [{"value": "O"}], "filters": {"refuse_seconds": 3600.0}},
        },
    ),
    (
        AcceptInverseOffers([OFFER_ID], Filters(1.0)),
        {
            "type": "ACCEPT_INVERSE_OFFERS",
            **F,
            "accept_inverse_offers": {
                "inverse_offer_ids": [{"value": "O"}],
                "filters": {"refuse_seconds": 1.0},
            },
        },
    ),
    (
        DeclineInverseOffers([OFFER_ID]),
        {
            "type": "DECLINE_INVERSE_OFFERS",
            **F,
            "decline_inverse_offers": {"inverse_offer_ids": [{"value": "O"}]},
        },
    ),
    (Revive(), {"type": "REVIVE", **F, "revive": {}}),
    (Revive(["t"]), {"type": "REVIVE", **F, "revive": {"roles": ["t"]}}),
    (Suppress(["t"]), {"type": "SUPPRESS", **F, "suppress": {"roles": ["t"]}}),
    (
        Kill(T, S, KillPolicy(DurationInfo(5))),
        {
            "type": "KILL",
            **F,
            "kill": {
                "task_id": {"value": "T"},
                "agent_id": {"value": "S"},
                "kill_policy": {"grace_period": {"nanoseconds": 5}},
            },
        },
    ),
    (
        Shutdown(E, S),
        {"type": "SHUTDOWN", **F, "shutdown": {"executor_id": {"value": "E"}, "agent_id": {"value": "S"}}},
    ),
    (
        Acknowledge(S, T, "2MGk0bIAQV+5k7QWWle1BQ=="),
        {
            "type": "ACKNOWLEDGE",
            **F,
            "acknowledge": {
                "agent_id": {"value": "S"},
                "task_id": {"value": "T"},
                "uuid": "2MGk0bIAQV+5k7QWWle1BQ==",
            },
        },
    ),
    (
        AcknowledgeOperationStatus("2MGk0bIAQV+5k7QWWle1BQ==", ID("op"), S),
        {
            "type": "ACKNOWLEDGE_OPERATION_STATUS",
            **F,
            "acknowledge_operation_status": {
                "uuid": "2MGk0bIAQV+5k7QWWle1BQ==",
                "operation_id": {"value": "op"},
                "agent_id": {"value": "S"},
            },
        },
    ),
    (Reconcile(), {"type": "RECONCILE", **F, "reconcile": {}}),
    (
        Reconcile([ReconcileTask(T, S)]),
        {
            "type": "RECONCILE",
            **F,
            "reconcile": {"tasks": [{"task_id": {"value": "T"}, "agent_id": {"value": "S"}}]},
        },
    ),
    (
        ReconcileOperations([ReconcileOperation(ID("op"), S)]),
        {
            "type": "RECONCILE_OPERATIONS",
            **F,
            "reconcile_operations": {"operations": [{"operation_id": {"value": "op"}, "agent_id": {"value": "S"}}]},
        },
    ),
    (
        Message(S, E, b"hi"),
        {
            "type": "MESSAGE",
            **F,
            "message": {"agent_id": {"value": "S"}, "executor_id": {"value": "E"}, "data": "aGk="},
        },
    ),
    (
        Request([ResourceRequest(S, [Resource("cpus", "SCALAR", Scalar(1.0))])]),
        {
            "type": "REQUEST",
            **F,
            "request": {
                "requests": [
                    {
                        "agent_id": {"value": "S"},
                        "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 1.0}}],
                    }
                ]
            },
        },
    ),
    (
        UpdateFramework(INFO, [], CONSTRAINTS),
        {
            "type": "UPDATE_FRAMEWORK",
            **F,
            "update_framework": {"framework_info": INFO_JSON, "offer_constraints": CONSTRAINTS_JSON},
        },
    ),
]


class TestCalls:
    @pytest.mark.parametrize(("call", "said"), CALLS, ids=[str(said["type"]) for _, said in CALLS])
    def test_each_is_written_as_mesos_reads_it(self, call: Call, said: dict[str, Any]) -> None:
        assert json.loads(encode_call(call, ID("F"))) == said

    def test_there_is_one_for_each_call_of_mesos(self) -> None:
        kinds = [kind for kind in Call.__subclasses__() if kind.__module__ == calls.__name__]
        assert {call.wire_type for call, _ in CALLS} == {kind.wire_type for kind in kinds}
        assert len(kinds) == 17

    def test_the_first_subscribe_names_no_framework_id(self) -> None:
        said = json.loads(encode_call(Subscribe(FrameworkInfo("u", "n")), ID("other")))
        assert said == {"type": "SUBSCRIBE", "subscribe": {"framework_info": {"user": "u", "name": "n"}}}


def event_of(document: dict[str, Any], report: Callable[[str], None] = pytest.fail) -> Event:
    return decode_event(json.dumps(document).encode(), report)


CPUS = {
    "name": "cpus",
    "type": "SCALAR",
    "scalar": {"value": 2.0},
    "role": "*",
    "allocation_info": {"role": "t"},
}
PORTS = {
    "name": "ports",
    "type": "RANGES",
    "ranges": {"range": [{"begin": 31000, "end": 31004}, {"begin": 31006, "end": 31999}]},
    "role": "*",
    "allocation_info": {"role": "t"},
}
OFFER = {
    "id": {"value": "M-O0"},
    "framework_id": {"value": "F"},
    "agent_id": {"value": "M-S0"},
    "hostname": "h1",
    "url": {
        "scheme": "http",
        "address": {"hostname": "h1", "ip": "127.0.0.1", "port": 5051},
        "path": "/slave(1)",
    },
    "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "z1"}}},
    "resources": [CPUS, PORTS],
    "attributes": [
        {"name": "rack", "type": "TEXT", "text": {"value": "r1"}},
        {"name": "slots", "type": "SCALAR", "scalar": {"value": 4.5}},
        {"name": "prts", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 5}]}},
    ],
    "unavailability": {"start": {"nanoseconds": 1795493360000000000}, "duration": {"nanoseconds": 5}},
    "allocation_info": {"role": "t"},
}
STATUS = {
    "task_id": {"value": "u2"},
    "state": "TASK_KILLED",
    "message": "killed",
    "source": "SOURCE_EXECUTOR",
    "agent_id": {"value": "S"},
    "executor_id": {"value": "u2"},
    "timestamp": 1795493360.4298,
    "uuid": "2MGk0bIAQV+5k7QWWle1BQ==",
    "container_status": {
        "container_id": {"value": "97987b30"},
        "network_infos": [{"ip_addresses": [{"protocol": "IPv4", "ip_address": "127.0.0.1"}]}],
        "executor_pid": 7506,
    },
}


class TestEvents:
    def test_subscribed(self) -> None:
        master = {
            "id": "M",
            "ip": 16777343,
            "port": 5050,
            "pid": "master@127.0.0.1:5050",
            "hostname": "127.0.0.1",
            "version": "1.11.0",
            "address": {"hostname": "127.0.0.1", "ip": "127.0.0.1", "port": 5050},
            "capabilities": [{"type": "AGENT_UPDATE"}, {"type": "AGENT_DRAINING"}, {}],
        }
        body = {"framework_id": {"value": "F"}, "heartbeat_interval_seconds": 15.0, "master_info": master}
        event = event_of({"type": "SUBSCRIBED", "subscribed": body})
        assert isinstance(event, Subscribed)
        assert event.framework_id == ID("F")
        assert event.master_info is not None
        assert event.master_info.capabilities[2] == Capability(None)

    def test_heartbeat(self) -> None:
        assert event_of({"type": "HEARTBEAT"}) == Heartbeat()

    def test_offers(self) -> None:
        event = event_of({"type": "OFFERS", "offers": {"offers": [OFFER, OFFER]}})
        assert isinstance(event, Offers)
        first, second = event.offers
        assert first == second
        assert first.hostname == "h1"
        assert first.allocation_info is not None
        assert first.allocation_info.role == "t"
        assert first.resources[1].ranges == Ranges([Range(31000, 31004), Range(31006, 31999)])
        assert msgspec.to_builtins(first) == OFFER
        assert list(event.offers) == [first, second]

    def test_a_reserved_resource_is_written_back_as_it_came(self) -> None:
        reserved = {
            "name": "mem",
            "type": "SCALAR",
            "scalar": {"value": 64.0},
            "allocation_info": {"role": "r1"},
            "reservations": [{"type": "DYNAMIC", "role": "r1", "labels": {"labels": [{"key": "k"}]}}],
            "disk": {"source": {"type": "PATH"}},
            "shared": {},
            "revocable": {},
            "provider_id": {"value": "P"},
        }
        event = event_of({"type": "OFFERS", "offers": {"offers": [{**OFFER, "resources": [reserved]}]}})
        assert isinstance(event, Offers)
        (offer,) = event.offers
        assert msgspec.to_builtins(offer.resources[0]) == reserved

    def test_inverse_offers(self) -> None:
        offer = {
            "id": {"value": "O"},
            "framework_id": {"value": "F"},
            "agent_id": {"value": "S"},
            "unavailability": {"start": {"nanoseconds": 7}},
        }
        event = event_of({"type": "INVERSE_OFFERS", "inverse_offers": {"inverse_offers": [offer]}})
        assert isinstance(event, InverseOffers)
        assert event.inverse_offers[0].unavailability.duration is None

    def test_rescinds(self) -> None:
        assert event_of({"type": "RESCIND", "rescind": {"offer_id": {"value": "O"}}}) == Rescind(OFFER_ID)
        body = {"inverse_offer_id": {"value": "O"}}
        event = event_of({"type": "RESCIND_INVERSE_OFFER", "rescind_inverse_offer": body})
        assert event == RescindInverseOffer(OFFER_ID)

    def test_update(self) -> None:
        event = event_of({"type": "UPDATE", "update": {"status": STATUS}})
        assert isinstance(event, Update)
        assert event.status.uuid == STATUS["uuid"]
        assert msgspec.to_builtins(event.status) == STATUS

    def test_update_from_the_master(self) -> None:
        status = {
            "task_id": {"value": "t"},
            "state": "TASK_UNREACHABLE",
            "source": "SOURCE_MASTER",
            "reason": "REASON_AGENT_REMOVED",
            "unreachable_time": {"nanoseconds": 5},
        }
        event = event_of({"type": "UPDATE", "update": {"status": status}})
        assert isinstance(event, Update)
        assert event.status.uuid is None

    def test_update_of_an_operation(self) -> None:
        status = {"state": "OPERATION_FINISHED", "operation_id": {"value": "op"}, "uuid": {"value": "eA=="}}
        event = event_of({"type": "UPDATE_OPERATION_STATUS", "update_operation_status": {"status": status}})
        assert isinstance(event, UpdateOperationStatus)
        assert event.status.operation_id == ID("op")

    def test_message(self) -> None:
        body = {"agent_id": {"value": "S"}, "executor_id": {"value": "E"}, "data": "aGk="}
        assert event_of({"type": "MESSAGE", "message": body}) == MessageEvent(S, E, b"hi")

    def test_failure_of_an_agent_has_no_status(self) -> None:
        assert event_of({"type": "FAILURE", "failure": {"agent_id": {"value": "S"}}}) == Failure(S)

    def test_failure_of_an_executor(self) -> None:
        body = {"agent_id": {"value": "S"}, "executor_id": {"value": "E"}, "status": 9}
        assert event_of({"type": "FAILURE", "failure": body}) == Failure(S, E, 9)

    def test_error(self) -> None:
        event = event_of({"type": "ERROR", "error": {"message": "Framework failed over"}})
        assert event == Error("Framework failed over")

    def test_an_unknown_type_is_told(self) -> None:
        assert event_of({"type": "NEW", "new": {}}) == UnknownEvent("NEW")


class TestOddEvents:
    @pytest.mark.parametrize(
        "record",
        [
            b"",
            b"\xff",
            b"null",
            b"[]",
            b"{}",
            b'{"type":5}',
            b'{"type":"UPDATE"}',
            b'{"type":"UPDATE","update":null}',
            b'{"type":"UPDATE","update":{"status":{"task_id":"t","state":"TASK_RUNNING"}}}',
            b'{"type":"OFFERS","offers":{"offers":{}}}',
            b'{"type":"SUBSCRIBED","subscribed":{}}',
            b'{"type":"RESCIND","rescind":' + b'{"a":' * 20_000,
        ],
    )
    def test_a_malformed_one_is_an_error_with_a_reason(self, record: bytes) -> None:
        with pytest.raises(MalformedEvent):
            decode_event(record, pytest.fail)

    @given(st.binary(max_size=60) | st.from_regex(rb'\{"type":"(UPDATE|OFFERS|ERROR)".{0,40}\}', fullmatch=True))
    def test_whatever_comes_it_is_an_event_or_malformed(self, record: bytes) -> None:
        try:
            event = decode_event(record, lambda reason: None)
        except MalformedEvent:
            return
        assert isinstance(event, Event)

    def test_a_malformed_offer_is_passed_over_and_can_be_declined(self) -> None:
        told: list[str] = []
        offers = {"offers": [OFFER, {**OFFER, "hostname": 5}, {**OFFER, "agent_id": 5}, {}, OFFER]}
        event = decode_event(json.dumps({"type": "OFFERS", "offers": offers}).encode(), told.append)
        assert isinstance(event, Offers)
        assert len(list(event.offers)) == 2
        assert len(list(event.offers)) == 2
        assert [(each.id.value, each.agent_id) for each in event.unreadable] == [
            ("M-O0", ID("M-S0")),
            ("M-O0", None),
        ]
        assert "hostname" in event.unreadable[0].reason
        assert len(told) == 1

    @pytest.mark.parametrize(
        "body", [None, 5, [OFFER], {}, {"offers": None}, {"offers": 5}, {"offers": [OFFER, 5]}, {"offers": [OFFER]}]
    )
    def test_offers_are_read_alike_with_blanks_and_without(self, body: Any) -> None:
        """A record that begins exactly as Mesos begins it is read in another way."""
        assert self.read(body, (",", ":")) == self.read(body, (", ", ": "))

    def read(self, body: Any, separators: tuple[str, str]) -> tuple[list[Offer], int, list[str]] | str:
        told: list[str] = []
        record = json.dumps({"type": "OFFERS", "offers": body}, separators=separators).encode()
        try:
            event = decode_event(record, told.append)
        except MalformedEvent as error:
            return str(error)
        assert isinstance(event, Offers)
        return list(event.offers), len(event.unreadable), told

    def test_parts_are_the_same_offers_a_few_at_a_time(self) -> None:
        told: list[str] = []
        offers = {"offers": [OFFER, {**OFFER, "hostname": 5}, OFFER, OFFER, {}]}
        event = decode_event(json.dumps({"type": "OFFERS", "offers": offers}).encode(), told.append)
        assert isinstance(event, Offers)
        parts = list(event.parts(2))
        assert [len(list(part.offers)) for part in parts] == [1, 2, 0]
        assert [len(part.unreadable) for part in parts] == [1, 0, 0]
        assert len(told) == 1

    def test_no_offers_are_one_part(self) -> None:
        event = decode_event(b'{"type":"OFFERS","offers":{"offers":[]}}', pytest.fail)
        assert isinstance(event, Offers)
        assert [list(part.offers) for part in event.parts(2)] == [[]]

    @pytest.mark.parametrize(
        ("more", "field"),
        [
            ({"data": "not base64"}, "data"),
            ({"container_status": {"network_infos": 5}}, "container_status cannot be read and is treated as absent"),
            ({"timestamp": "now"}, "timestamp"),
            ({"labels": {"labels": [{"key": 5}]}}, "labels.labels"),
            ({"reason": 5, "healthy": "yes"}, "reason"),
        ],
    )
    def test_of_a_malformed_update_the_fields_that_can_be_read_are_used(self, more: dict[str, Any], field: str) -> None:
        told: list[str] = []
        record = json.dumps({"type": "UPDATE", "update": {"status": STATUS | more}}).encode()
        event = decode_event(record, told.append)
        assert isinstance(event, Update)
        assert (event.status.task_id, event.status.state, event.status.uuid) == (
            ID("u2"),
            "TASK_KILLED",
            STATUS["uuid"],
        )
        assert field in told[0]

    def test_of_other_malformed_events_too(self) -> None:
        told: list[str] = []

        def read(kind: str, body: Any) -> Event:
            return decode_event(json.dumps({"type": kind.upper(), kind: body}).encode(), told.append)

        assert read("failure", {"agent_id": {"value": "S"}, "status": "x"}) == Failure(ID("S"))
        subscribed = read("subscribed", {"framework_id": {"value": "F"}, "master_info": {"id": "M", "port": "x"}})
        assert subscribed == Subscribed(ID("F"), master_info=MasterInfo("M"))
        assert read("error", {"message": 5}) == Error()
        good = {"id": {"value": "I"}, "framework_id": {"value": "F"}, "unavailability": {"start": {"nanoseconds": 1}}}
        inverse = read("inverse_offers", {"inverse_offers": [good | {"url": 5}, good, {}, 5]})
        assert isinstance(inverse, InverseOffers)
        assert [each.id.value for each in inverse.inverse_offers] == ["I"]
        assert len(told) == 6

    @settings(max_examples=examples(300))
    @given(
        st.sampled_from(
            [
                {"type": "OFFERS", "offers": {"offers": [OFFER]}},
                {"type": "UPDATE", "update": {"status": STATUS}},
                {"type": "FAILURE", "failure": {"agent_id": {"value": "S"}, "status": 9}},
            ]
        ).flatmap(faulty),
        st.integers(0, 500),
        st.binary(max_size=2),
    )
    def test_whatever_is_in_an_event_it_is_an_event_or_malformed(self, document: Any, at: int, raw: bytes) -> None:
        record = json.dumps(document).encode()
        record = record[:at] + raw + record[at + len(raw) :]
        try:
            event = decode_event(record, lambda reason: None)
        except MalformedEvent:
            return
        if isinstance(event, Offers):
            assert len(list(event.offers)) + len(event.unreadable) <= 1

    @given(faulty(OFFER))
    def test_whatever_one_offer_holds_the_others_are_read(self, document: Any) -> None:
        event = event_of({"type": "OFFERS", "offers": {"offers": [OFFER, document, OFFER]}}, lambda reason: None)
        assert isinstance(event, Offers)
        assert len([offer for offer in event.offers if msgspec.to_builtins(offer) == OFFER]) >= 2


class TestUnknownFields:
    def test_they_are_found_wherever_they_are(self) -> None:
        status = {**STATUS, "mood": 1, "container_status": {"cheer": 2}}
        found = unknown_in_event(json.dumps({"type": "UPDATE", "update": {"status": status}}).encode())
        assert found == ["update.status.container_status.cheer", "update.status.mood"]

    def test_in_the_first_offer(self) -> None:
        offers = {"offers": [{**OFFER, "resources": [{**CPUS, "colour": "red"}]}, {"other": 1}]}
        found = unknown_in_event(json.dumps({"type": "OFFERS", "offers": offers}).encode())
        assert found == ["offers.offers[].resources[].colour"]

    def test_what_mesos_sends_today_is_all_known(self) -> None:
        assert unknown_in_event(json.dumps({"type": "OFFERS", "offers": {"offers": [OFFER]}}).encode()) == []
        assert unknown_in_event(json.dumps({"type": "UPDATE", "update": {"status": STATUS}}).encode()) == []

    @given(st.binary(max_size=60))
    def test_no_record_is_too_odd_to_be_asked_about(self, record: bytes) -> None:
        assert isinstance(unknown_in_event(record), list)
