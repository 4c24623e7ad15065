"""A cluster as its master sees it, for one who runs no framework: the `nodes` document from the operator API.

free = total - allocated - offered (GET_AGENTS, docs/operator-http-api.md): what is in an offer is nobody's yet, but
nobody else can have it either. `used` is what the tasks of all frameworks have.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from owmesos.mesos.access import Access
from owmesos.mesos.address import Masters, ZooKeeperMasters
from owmesos.mesos.detector import access_for, detector_for
from owmesos.mesos.listings import instant, vector
from owmesos.mesos.messages.operator import Agent, AgentInfo, GetAgents
from owmesos.mesos.offers import attributes_of
from owmesos.mesos.operator import OperatorClient, free
from owmesos.mesos.pieces import pieces_of, total_of
from owmesos.resources import NOTHING, Resources

Document = dict[str, Any]


def nodes_of_master(masters: Masters | ZooKeeperMasters, access: Access) -> list[Document]:
    """One row an agent, by hostname. Waits for the answer. Raises OperatorFailed, InvalidInput."""
    return nodes(asyncio.run(_agents(masters, access)), time.time())


async def _agents(masters: Masters | ZooKeeperMasters, access: Access) -> GetAgents:
    detector = detector_for(masters)
    try:
        async with OperatorClient(detector, access_for(masters, access)) as operator:
            return await operator.agents()
    finally:
        await detector.close()


def nodes(answer: GetAgents, now: float) -> list[Document]:
    """Agents that the master knows from before its start and that did not come back yet have the state `unknown`."""
    rows = [_node(agent, now) for agent in answer.agents]
    rows += [_row(info, "unknown", total_of(pieces_of(info.resources)), now) for info in answer.recovered_agents]
    return sorted(rows, key=lambda row: (row["hostname"], row["agent_id"]))


def _node(agent: Agent, now: float) -> Document:
    total = total_of(pieces_of(agent.total_resources or agent.agent_info.resources))
    used = total_of(pieces_of(agent.allocated_resources))
    if agent.deactivated or agent.drain_info is not None:
        return _row(agent.agent_info, "draining", total, now, used=used, unused=free(agent))
    if not agent.active:
        return _row(agent.agent_info, "gone", total, now, used=used)
    unused = free(agent)
    return _row(agent.agent_info, "fresh", total, now, used=used, unused=unused, available=unused)


def _row(
    info: AgentInfo,
    state: str,
    total: Resources,
    now: float,
    *,
    used: Resources = NOTHING,
    unused: Resources = NOTHING,
    available: Resources = NOTHING,
) -> Document:
    return {
        "agent_id": info.id.value if info.id is not None else None,
        "hostname": info.hostname,
        "role": "*",
        "attributes": {name: list(texts) for name, texts in attributes_of(info.attributes).items()},
        "state": state,
        "total": vector(total),
        "used": vector(used),
        "free": vector(unused),
        "reserved": vector(NOTHING),
        "buffer": vector(NOTHING),
        "available": vector(available),
        "unavailability": None,
        "observed_at": instant(now),
        "age_s": 0.0,
    }
