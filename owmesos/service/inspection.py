"""A cluster as its master sees it, without a framework: the `nodes` document from the operator API.

free = total - allocated - offered (GET_AGENTS, docs/operator-http-api.md): offered resources are not used yet, but
nobody else can get them. `used` is the sum of the tasks of all frameworks.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from functools import partial
from typing import Literal

from owmesos.core.listings import instant, vector
from owmesos.documents import NodeDocument
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Resource
from owmesos.mesos.messages.operator import AgentInfo, GetAgents, ListedAgent
from owmesos.mesos.offer_resources import pieces_of, total_of
from owmesos.mesos.scheduler.offer_book import attributes_of
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Masters, ZooKeeperMasters
from owmesos.mesos.wire.detector import access_for, detector_for
from owmesos.mesos.wire.operator_client import OperatorClient, free
from owmesos.resources import NOTHING

_log = logging.getLogger("owmesos.service")


def nodes_of_master(masters: Masters | ZooKeeperMasters, access: Access) -> list[NodeDocument]:
    """One row an agent, by hostname. Waits for the answer. Raises OperatorFailed, InvalidInput."""
    return nodes(asyncio.run(_agents(masters, access)), time.time())


async def _agents(masters: Masters | ZooKeeperMasters, access: Access) -> GetAgents:
    detector = detector_for(masters)
    try:
        async with OperatorClient(detector, access_for(masters, access)) as operator:
            return await operator.agents()
    finally:
        await detector.close()


def nodes(answer: GetAgents, now: float) -> list[NodeDocument]:
    """Agents that the master recovered but that have not reregistered have the state `unknown`."""
    agents = [(agent.agent_info, partial(_node, agent, now)) for agent in answer.agents]
    agents += [(info, partial(_row, info, "unknown", info.resources, now)) for info in answer.recovered_agents]
    rows = []
    for info, row in agents:
        try:
            rows.append(row())
        except InvalidInput as error:  # noqa: PERF203 the master's data on one agent cannot be used
            name = info.id.value if info.id is not None else info.hostname
            _log.warning("agent %s is left out: %s", name, error)
    return sorted(rows, key=lambda row: (row["hostname"], row["agent_id"] or ""))


def _node(agent: ListedAgent, now: float) -> NodeDocument:
    row = _row(agent.agent_info, "gone", agent.total_resources or agent.agent_info.resources, now)
    row["used"] = vector(total_of(pieces_of(agent.allocated_resources)))
    if agent.deactivated or agent.drain_info is not None:
        row |= {"state": "draining", "free": vector(free(agent))}
    elif agent.active:
        unused = vector(free(agent))
        row |= {"state": "fresh", "free": unused, "available": unused}
    return row


def _row(info: AgentInfo, state: Literal["gone", "unknown"], total: Sequence[Resource], now: float) -> NodeDocument:
    """The row of an agent that has nothing free."""
    return {
        "agent_id": info.id.value if info.id is not None else None,
        "hostname": info.hostname,
        "role": "*",
        "attributes": {name: list(texts) for name, texts in attributes_of(info.attributes).items()},
        "state": state,
        "total": vector(total_of(pieces_of(total))),
        "used": vector(NOTHING),
        "free": vector(NOTHING),
        "reserved": vector(NOTHING),
        "buffer": vector(NOTHING),
        "available": vector(NOTHING),
        "unavailability": None,
        "observed_at": instant(now),
        "age_s": 0.0,
        "reason": None,
    }
