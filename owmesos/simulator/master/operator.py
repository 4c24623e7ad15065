"""The operator API: the same calls that `owmesos.mesos.operator` makes, and the few more that people make by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import ID, Resource
from owmesos.mesos.messages.operator import MachineID, MaintenanceSchedule, QuotaConfig
from owmesos.simulator.master import views
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.draining import Draining
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.membership import Membership
from owmesos.simulator.master.quotas import Quotas
from owmesos.simulator.master.records import AgentRecord
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.pieces import UNRESERVED, Pieces, from_resources
from owmesos.simulator.protocol import Drain

READS = frozenset(
    {
        "GET_AGENTS",
        "GET_FLAGS",
        "GET_FRAMEWORKS",
        "GET_HEALTH",
        "GET_MAINTENANCE_SCHEDULE",
        "GET_MAINTENANCE_STATUS",
        "GET_MASTER",
        "GET_METRICS",
        "GET_QUOTA",
        "GET_ROLES",
        "GET_STATE",
        "GET_TASKS",
        "GET_VERSION",
    }
)


_Error = tuple[int, str]
"""Status and text."""


class _Agent(msgspec.Struct):
    agent_id: ID


class _Duration(msgspec.Struct):
    """A google.protobuf.Duration."""

    seconds: int = 0
    nanos: int = 0


class _Drain(_Agent):
    max_grace_period: _Duration | None = None
    mark_gone: bool = False


class _Reserve(_Agent):
    resources: list[Resource]


class _Schedule(msgspec.Struct):
    schedule: MaintenanceSchedule


class _Machines(msgspec.Struct):
    machines: list[MachineID]


class _Quotas(msgspec.Struct):
    quota_configs: list[QuotaConfig]
    force: bool = False


class _Teardown(msgspec.Struct):
    framework_id: ID


class Operator:
    def __init__(
        self,
        books: Books,
        allocator: Allocator,
        quotas: Quotas,
        maintenance: Maintenance,
        membership: Membership,
        draining: Draining,
        subscriptions: Subscriptions,
    ) -> None:
        self._books = books
        self._allocator = allocator
        self._quotas = quotas
        self._maintenance = maintenance
        self._membership = membership
        self._draining = draining
        self._subscriptions = subscriptions
        self._verbs: dict[str, tuple[type[Any], Callable[[Any], _Error | None]]] = {
            "RESERVE_RESOURCES": (_Reserve, lambda body: self._reserve(body, undo=False)),
            "UNRESERVE_RESOURCES": (_Reserve, lambda body: self._reserve(body, undo=True)),
            "MARK_AGENT_GONE": (_Agent, self._mark_gone),
            "DRAIN_AGENT": (_Drain, self._drain),
            "DEACTIVATE_AGENT": (_Agent, self._deactivate),
            "REACTIVATE_AGENT": (_Agent, self._reactivate),
            "UPDATE_MAINTENANCE_SCHEDULE": (_Schedule, self._schedule),
            "START_MAINTENANCE": (_Machines, self._start_maintenance),
            "STOP_MAINTENANCE": (_Machines, self._stop_maintenance),
            "UPDATE_QUOTA": (_Quotas, self._update_quota),
            "TEARDOWN": (_Teardown, self._teardown),
        }

    def handle(self, kind: str, call: dict[str, Any]) -> None:
        """Answers one call."""
        if kind in READS:
            self._books.answer(200, document={"type": kind, kind.lower(): self.read(kind)})
            return
        verb = self._verbs.get(kind)
        if verb is None:
            self._books.answer(501, f"{kind} is not simulated")
            return
        field = kind.lower()
        if field not in call:
            self._books.answer(400, f"Failed to validate master::Call: Expecting '{field}' to be present")
            return
        body_type, act = verb
        try:
            error = act(msgspec.convert(call[field], body_type))
        except (msgspec.ValidationError, InvalidInput) as reason:
            self._books.answer(400, f"Failed to convert JSON into Call protobuf: {reason}")
            return
        if error is None:
            self._books.answer(202 if "RESERVE" in kind else 200)
        else:
            self._books.answer(*error)

    def read(self, kind: str) -> dict[str, Any]:
        books = self._books
        if kind == "GET_AGENTS":
            return views.agents(books)
        if kind == "GET_TASKS":
            return views.tasks(books)
        if kind == "GET_FRAMEWORKS":
            return views.frameworks(books, self._allocator)
        if kind == "GET_ROLES":
            return views.roles(books)
        if kind == "GET_METRICS":
            return views.metrics(books, self._allocator)
        if kind == "GET_STATE":
            parts = ("GET_AGENTS", "GET_TASKS", "GET_FRAMEWORKS")
            return {part.lower(): self.read(part) for part in parts} | {"get_executors": {}}
        return self._read_settings(kind)

    def _read_settings(self, kind: str) -> dict[str, Any]:
        books = self._books
        if kind == "GET_VERSION":
            return {"version_info": {"version": views.VERSION, "build_user": "owmesos simulator"}}
        if kind == "GET_HEALTH":
            return {"healthy": True}
        if kind == "GET_FLAGS":
            flags = msgspec.structs.asdict(books.settings)
            return {"flags": [{"name": name, "value": str(value)} for name, value in flags.items()]}
        if kind == "GET_MASTER":
            since = books.started_at
            return {"master_info": self._subscriptions.master_info(), "start_time": since, "elected_time": since}
        if kind == "GET_QUOTA":
            configs = [
                {
                    "role": role,
                    "guarantees": {name: {"value": value / 1000} for name, value in quota.guarantees.items()},
                    "limits": {name: {"value": value / 1000} for name, value in quota.limits.items()},
                }
                for role, quota in books.registry.quotas.items()
            ]
            return {"status": {"infos": [], "configs": configs}}
        if kind == "GET_MAINTENANCE_SCHEDULE":
            return {"schedule": {"windows": books.registry.schedule}}
        return {"status": self._maintenance_status()}

    def _maintenance_status(self) -> dict[str, Any]:
        draining, down = [], []
        for hostname, ip in self._books.registry.machines:
            machine = {"hostname": hostname, "ip": ip}
            if (hostname, ip) in self._books.registry.down:
                down.append(machine)
                continue
            names = {
                each.id
                for each in self._books.agents.values()
                if (each.description.hostname, each.description.ip) == (hostname, ip)
            }
            statuses = [
                {"status": status, "framework_id": ID(framework), "timestamp": {"nanoseconds": round(when * 1e9)}}
                for (agent, framework), (status, when) in self._maintenance.answers.items()
                if agent in names
            ]
            draining.append({"id": machine, "statuses": statuses})
        return {"draining_machines": draining, "down_machines": down}

    # -- what changes something; each returns why not

    def _agent(self, agent_id: ID) -> AgentRecord | None:
        return self._books.agents.get(agent_id.value)

    def _reserve(self, body: _Reserve, *, undo: bool) -> _Error | None:
        agent = self._agent(body.agent_id)
        if agent is None:
            return 400, "No agent found with specified ID"
        reserved = from_resources(body.resources)
        if any(not stack for stack in reserved.parts):
            return 400, "Invalid RESERVE Operation: the resources have no reservation"
        plain = Pieces({})
        for stack, part in reserved.parts.items():
            plain = plain.plus(Pieces({stack[:-1] or UNRESERVED: part}))
        before, after = (reserved, plain) if undo else (plain, reserved)
        return self._membership.change_total(agent, before, after)

    def _mark_gone(self, body: _Agent) -> _Error | None:
        agent = self._agent(body.agent_id)
        if agent is not None:
            self._membership.mark_gone(agent)
            return None
        known = self._membership.mark_unreachable_gone(body.agent_id.value)
        return None if known else (404, f"Agent '{body.agent_id.value}' not found")

    def _drain(self, body: _Drain) -> _Error | None:
        agent = self._agent(body.agent_id)
        if agent is None:
            return 400, "Unknown agent"
        most = body.max_grace_period
        grace = None if most is None else most.seconds + most.nanos / 1e9
        self._draining.drain(agent, Drain(grace, body.mark_gone))
        return None

    def _deactivate(self, body: _Agent) -> _Error | None:
        agent = self._agent(body.agent_id)
        if agent is None:
            return 400, "Unknown agent"
        self._draining.deactivate(agent)
        return None

    def _reactivate(self, body: _Agent) -> _Error | None:
        agent = self._agent(body.agent_id)
        error = "Agent is not deactivated" if agent is None else self._draining.reactivate(agent)
        return None if error is None else (400, error)

    def _schedule(self, body: _Schedule) -> _Error | None:
        self._maintenance.schedule(body.schedule, msgspec.to_builtins(body.schedule.windows))
        self._allocator.run()
        return None

    def _start_maintenance(self, body: _Machines) -> _Error | None:
        for machine in body.machines:
            if (machine.hostname or "", machine.ip or "") not in self._books.registry.machines:
                return 400, f"Machine '{machine.hostname}' is not part of a maintenance schedule"
        for agent in self._maintenance.start(body.machines):
            self._membership.remove_for_maintenance(agent)
        return None

    def _stop_maintenance(self, body: _Machines) -> _Error | None:
        self._maintenance.stop(body.machines)
        self._allocator.run()
        return None

    def _update_quota(self, body: _Quotas) -> _Error | None:
        error = self._quotas.error(body.quota_configs, force=body.force)
        if error is not None:
            return 400, error
        self._quotas.update(body.quota_configs)
        return None

    def _teardown(self, body: _Teardown) -> _Error | None:
        framework = self._books.frameworks.get(body.framework_id.value)
        if framework is None:
            return 400, "No framework found with specified ID"
        self._subscriptions.remove(framework)
        return None
