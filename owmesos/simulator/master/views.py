"""What the operator API shows of the books (docs/operator-http-api.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from owmesos.mesos.messages import ID, Resource
from owmesos.mesos.messages.operator import AgentInfo
from owmesos.resources import SCALARS
from owmesos.simulator.master.accepting import task_document
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.records import AgentRecord, FrameworkRecord
from owmesos.simulator.pieces import NO_PIECES, Pieces, sum_of, to_resources
from owmesos.simulator.protocol import VERSION, AgentDescription, time_info

_CAPABILITIES = ("MULTI_ROLE", "HIERARCHICAL_ROLE", "RESERVATION_REFINEMENT", "AGENT_DRAINING")


def _by_role(parts: Iterable[tuple[str, Pieces]]) -> list[Resource]:
    summed: dict[str, Pieces] = {}
    for role, pieces in parts:
        summed[role] = summed.get(role, NO_PIECES).plus(pieces)
    return [resource for role, pieces in summed.items() for resource in to_resources(pieces, role, refinement=False)]


def _scalars_by_role(parts: Iterable[tuple[str, Pieces]]) -> list[Resource]:
    """Ports are each agent's own: a sum of them says nothing."""
    return [resource for resource in _by_role(parts) if resource.name != "ports"]


def _info(agent_id: str, description: AgentDescription, total: Pieces) -> AgentInfo:
    resources, attributes = to_resources(total, None, refinement=False), list(description.attributes)
    return AgentInfo(
        description.hostname, ID(agent_id), description.port, resources, attributes, description.domain, checkpoint=True
    )


def agent_document(agent: AgentRecord) -> dict[str, Any]:
    """One of GET_AGENTS."""
    description = agent.description
    document: dict[str, Any] = {
        "agent_info": _info(agent.id, description, agent.total),
        "active": agent.active,
        "deactivated": agent.deactivated,
        "version": VERSION,
        "pid": f"slave(1)@{description.ip}:{description.port}",
        "registered_time": time_info(agent.registered_at),
        "total_resources": to_resources(agent.total, None, refinement=False),
        "capabilities": [{"type": each} for each in _CAPABILITIES],
    }
    if agent.reregistered_at is not None:
        document["reregistered_time"] = time_info(agent.reregistered_at)
    used = _by_role((task.role, task.pieces) for task in agent.tasks.values() if not task.freed)
    offered = _by_role((offer.role, offer.pieces) for offer in agent.offers.values())
    if used:
        document["allocated_resources"] = used
    if offered:
        document["offered_resources"] = offered
    if agent.draining is not None:
        config: dict[str, Any] = {"mark_gone": agent.draining.mark_gone}
        if agent.draining.grace is not None:
            config["max_grace_period"] = {"nanoseconds": round(agent.draining.grace * 1e9)}
        document["drain_info"] = {"state": "DRAINED" if agent.drained else "DRAINING", "config": config}
    return document


def agents(books: MasterBooks) -> dict[str, Any]:
    recovered = [_info(agent_id, each, each.total) for agent_id, each in books.recovered.items()]
    return {"agents": [agent_document(each) for each in books.agents.values()], "recovered_agents": recovered}


def tasks(books: MasterBooks) -> dict[str, Any]:
    known = [*books.frameworks.values(), *books.completed.values()]
    return {
        "tasks": [task_document(task) for each in known for task in each.tasks.values()],
        "unreachable_tasks": [task_document(task) for each in known for task in each.unreachable.values()],
        "completed_tasks": [task_document(task) for each in known for task in each.completed],
    }


def frameworks(books: MasterBooks, allocator: Allocator) -> dict[str, Any]:
    return {
        "frameworks": [_framework(each, allocator) for each in books.frameworks.values()],
        "completed_frameworks": [_framework(each, allocator) for each in books.completed.values()],
    }


def _framework(framework: FrameworkRecord, allocator: Allocator) -> dict[str, Any]:
    document: dict[str, Any] = {
        "framework_info": framework.info,
        "active": framework.connected,
        "connected": framework.connected,
        "recovered": framework.recovered,
        "registered_time": time_info(framework.registered_at),
        "offer_constraints": framework.offer_constraints or {},
    }
    for name in ("reregistered", "unregistered"):
        when = getattr(framework, f"{name}_at")
        if when is not None:
            document[f"{name}_time"] = time_info(when)
    used = _scalars_by_role((task.role, task.pieces) for task in framework.tasks.values() if not task.freed)
    offered = _scalars_by_role((offer.role, offer.pieces) for offer in framework.offers.values())
    if used:
        document["allocated_resources"] = used
    if framework.offers:
        document["offered_resources"] = offered
        document["offers"] = [allocator.offer_of(each) for each in framework.offers.values()]
    return document


def roles(books: MasterBooks) -> dict[str, Any]:
    """Those that a framework is in, or a quota is set for."""
    found: dict[str, list[FrameworkRecord]] = {"*": []}
    found.update({role: [] for role in books.registry.quotas})
    for framework in books.frameworks.values():
        for role in framework.roles:
            found.setdefault(role, []).append(framework)
    documents = []
    for role, members in found.items():
        running = [task for each in members for task in each.tasks.values()]
        held = [(role, task.pieces) for task in running if task.role == role and not task.freed]
        held += [(role, offer.pieces) for each in members for offer in each.offers.values() if offer.role == role]
        ids = [ID(each.id) for each in members]
        documents.append({"name": role, "weight": 1.0, "frameworks": ids, "resources": _scalars_by_role(held)})
    return {"roles": documents}


def metrics(books: MasterBooks, allocator: Allocator) -> dict[str, Any]:
    running = [task for each in books.frameworks.values() for task in each.tasks.values()]
    connected = sum(each.connected for each in books.frameworks.values())
    values: dict[str, float] = {
        "allocator/mesos/allocation_runs": allocator.runs,
        "master/elected": 1,
        "master/uptime_secs": books.now - books.started_at,
        "master/slaves_active": sum(each.active for each in books.agents.values()),
        "master/slaves_connected": sum(each.connected for each in books.agents.values()),
        "master/slaves_unreachable": len(books.registry.unreachable),
        "master/frameworks_active": connected,
        "master/frameworks_connected": connected,
        "master/outstanding_offers": len(books.offers),
        "master/tasks_staging": sum(task.state == "TASK_STAGING" for task in running),
        "master/tasks_running": sum(task.state == "TASK_RUNNING" for task in running),
    }
    used = sum_of(task.pieces for task in running if not task.freed).total()
    values |= {f"master/{name}_used": getattr(used, name) for name in SCALARS}
    return {"metrics": [{"name": name, "value": value} for name, value in values.items()]}
