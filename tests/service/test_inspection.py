"""A cluster as its master sees it: `nodes --master`."""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.mesos.messages.operator import GetAgents
from owmesos.service.inspection import nodes

DESCRIBED = {
    "id": {"value": "S1"},
    "hostname": "node1",
    "attributes": [{"name": "rack", "type": "TEXT", "text": {"value": "r1"}}],
    "resources": [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 8}}],
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
