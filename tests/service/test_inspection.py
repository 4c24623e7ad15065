"""A cluster as its master sees it: `nodes --master`."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings

from owmesos.mesos.messages.operator import GetAgents
from owmesos.mesos.wire.operator_client import answer_in
from owmesos.service.inspection import nodes
from tests.examples import examples
from tests.json_faults import faulty

DESCRIBED = {
    "id": {"value": "S1"},
    "hostname": "node1",
    "attributes": [{"name": "rack", "type": "TEXT", "text": {"value": "r1"}}],
    "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 8}}],
}


WHOLE = {
    "agent_info": {
        **DESCRIBED,
        "port": 5051,
        "domain": {"fault_domain": {"region": {"name": "eu"}, "zone": {"name": "z1"}}},
    },
    "active": True,
    "pid": "slave(1)@10.0.0.1:5051",
    "registered_time": {"nanoseconds": 1_700_000_000_000_000_000},
    "total_resources": [
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 8.0}},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 5}]}},
        {"name": "disk", "type": "SCALAR", "scalar": {"value": 8.0}, "reservations": [{"type": "STATIC", "role": "r"}]},
    ],
    "allocated_resources": [{"name": "mem", "type": "SCALAR", "scalar": {"value": 1.0}}],
    "drain_info": {"state": "DRAINING"},
}


def cpus(amount: float) -> list[dict[str, Any]]:
    return [{"name": "cpus", "type": "SCALAR", "scalar": {"value": amount}}]


def rows(*agents: dict[str, Any], recovered: tuple[dict[str, Any], ...] = ()) -> list[dict[str, Any]]:
    document = {"agents": list(agents), "recovered_agents": list(recovered)}
    return nodes(msgspec.convert(document, GetAgents), now=0.0)


def agent(**fields: Any) -> dict[str, Any]:
    return {"agent_info": DESCRIBED, "active": True, "total_resources": cpus(8), **fields}


def test_free_is_the_total_minus_allocated_minus_offered() -> None:
    (row,) = rows(agent(allocated_resources=cpus(3), offered_resources=cpus(1)))
    assert [row[name]["cpus"] for name in ("total", "used", "free", "available")] == [8, 3, 4, 4]
    assert (row["state"], row["attributes"], row["observed_at"]) == (
        "fresh",
        {"rack": ["r1"]},
        "1970-01-01T00:00:00.000Z",
    )


def test_nothing_is_available_on_an_agent_that_drains_or_is_gone() -> None:
    for fields, state in (
        ({"drain_info": {"state": "DRAINING"}}, "draining"),
        ({"deactivated": True}, "draining"),
        ({"active": False}, "gone"),
    ):
        (row,) = rows(agent(**fields))
        assert (row["state"], row["available"]["cpus"]) == (state, 0)


def test_an_agent_that_did_not_come_back_yet_is_unknown() -> None:
    (row,) = rows(recovered=(DESCRIBED,))
    assert (row["agent_id"], row["state"], row["total"]["cpus"], row["free"]["cpus"]) == ("S1", "unknown", 8, 0)


def test_rows_are_sorted_by_host() -> None:
    other = {**DESCRIBED, "hostname": "node0", "id": {"value": "S9"}}
    assert [row["hostname"] for row in rows(agent(), agent(agent_info=other))] == ["node0", "node1"]


@settings(max_examples=examples(300))
@given(faulty(WHOLE))
def test_whatever_one_agent_is_said_to_be_the_others_are_shown(fault: Any) -> None:
    first, last = agent(), agent(agent_info={**DESCRIBED, "id": {"value": "S9"}, "hostname": "node9"})
    document = {"agents": [first, fault, last], "recovered_agents": [{"hostname": "node8"}, fault]}
    data = json.dumps({"type": "GET_AGENTS", "get_agents": document}).encode()
    shown = nodes(answer_in(data, "GET_AGENTS", GetAgents, lambda reason: None), now=0.0)
    assert {"node1", "node9", "node8"} <= {row["hostname"] for row in shown}
    json.dumps(shown, allow_nan=False)


def test_one_that_cannot_be_read_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    document = {"agents": [agent(), {"active": True}, agent(total_resources=cpus(-1))]}
    data = json.dumps({"get_agents": document}).encode()
    shown = nodes(answer_in(data, "GET_AGENTS", GetAgents, told.append), now=0.0)
    assert len(shown) == 1
    assert "an element of GET_AGENTS.agents cannot be read and is left out" in told[0]
    assert "agent S1 is left out: an amount must be 0 to" in caplog.text
