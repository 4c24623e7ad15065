"""The operator API: the calls that `owmesos.mesos.wire.operator_client` makes, and a few that people make by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import ID, Resource
from owmesos.mesos.messages.operator import MachineID, MaintenanceSchedule, QuotaConfig
from owmesos.resources import MILLI
from owmesos.simulator.master import views
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.effects import MasterAnswer, MasterRefusal
from owmesos.simulator.master.maintenance import Maintenance, named
from owmesos.simulator.master.membership import Membership
from owmesos.simulator.master.quotas import Quotas
from owmesos.simulator.master.records import AgentRecord
from owmesos.simulator.master.subscriptions import Subscriptions
from owmesos.simulator.pieces import from_resources, without_reservations
from owmesos.simulator.protocol import VERSION_INFO, Drain, time_info


class _AgentView(msgspec.Struct):
    agent_id: ID


class _Duration(msgspec.Struct):
    """A google.protobuf.Duration."""

    seconds: int = 0
    nanos: int = 0


class _Drain(_AgentView):
    max_grace_period: _Duration | None = None
    mark_gone: bool = False


class _Reserve(_AgentView):
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
        books: MasterBooks,
        allocator: Allocator,
        quotas: Quotas,
        maintenance: Maintenance,
        membership: Membership,
        subscriptions: Subscriptions,
    ) -> None:
        self._books = books
        self._allocator = allocator
        self._maintenance = maintenance
        self._membership = membership
        self._subscriptions = subscriptions
        self._reads: dict[str, Callable[[], dict[str, Any]]] = {
            "GET_AGENTS": lambda: views.agents(books),
            "GET_FLAGS": self._flags,
            "GET_FRAMEWORKS": lambda: views.frameworks(books, allocator),
            "GET_HEALTH": lambda: {"healthy": True},
            "GET_MAINTENANCE_SCHEDULE": lambda: {"schedule": {"windows": books.registry.schedule}},
            "GET_MAINTENANCE_STATUS": lambda: {"status": self._maintenance_status()},
            "GET_MASTER": self._master,
            "GET_METRICS": lambda: views.metrics(books, allocator),
            "GET_QUOTA": self._quota,
            "GET_ROLES": lambda: views.roles(books),
            "GET_STATE": self._state,
            "GET_TASKS": lambda: views.tasks(books),
            "GET_VERSION": lambda: {"version_info": VERSION_INFO},
        }
        self._verbs: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
            "RESERVE_RESOURCES": (_Reserve, lambda body: self._reserve(body, undo=False)),
            "UNRESERVE_RESOURCES": (_Reserve, lambda body: self._reserve(body, undo=True)),
            "MARK_AGENT_GONE": (_AgentView, lambda body: membership.mark_gone(body.agent_id.value)),
            "DRAIN_AGENT": (_Drain, self._drain),
            "DEACTIVATE_AGENT": (_AgentView, lambda body: membership.deactivate(self._agent(body))),
            "REACTIVATE_AGENT": (
                _AgentView,
                lambda body: membership.reactivate(self._agent(body, "Agent is not deactivated")),
            ),
            "UPDATE_MAINTENANCE_SCHEDULE": (_Schedule, self._schedule),
            "START_MAINTENANCE": (_Machines, self._start_maintenance),
            "STOP_MAINTENANCE": (_Machines, self._stop_maintenance),
            "UPDATE_QUOTA": (_Quotas, lambda body: quotas.update(body.quota_configs, force=body.force)),
            "TEARDOWN": (_Teardown, self._teardown),
        }

    def handle(self, kind: str, call: dict[str, Any]) -> MasterAnswer:
        """Answer a call of type `kind`; its fields are in an object of that name."""
        field = kind.lower()
        read = self._reads.get(kind)
        if read is not None:
            return MasterAnswer(200, document={"type": kind, field: read()})
        if kind not in self._verbs:
            return MasterAnswer(501, f"{kind} is not simulated")
        if field not in call:
            return MasterAnswer(400, f"Failed to validate master::Call: Expecting '{field}' to be present")
        body_type, act = self._verbs[kind]
        try:
            act(msgspec.convert(call[field], body_type))
        except (msgspec.ValidationError, InvalidInput) as reason:
            return MasterAnswer(400, f"Failed to convert JSON into Call protobuf: {reason}")
        except MasterRefusal as refused:
            return refused.answer
        return MasterAnswer(202 if "RESERVE" in kind else 200)

    def _state(self) -> dict[str, Any]:
        parts = ("GET_AGENTS", "GET_TASKS", "GET_FRAMEWORKS")
        return {part.lower(): self._reads[part]() for part in parts} | {"get_executors": {}}

    def _flags(self) -> dict[str, Any]:
        flags = msgspec.structs.asdict(self._books.settings)
        return {"flags": [{"name": name, "value": str(value)} for name, value in flags.items()]}

    def _master(self) -> dict[str, Any]:
        since = self._books.started_at
        return {"master_info": self._subscriptions.master_info(), "start_time": since, "elected_time": since}

    def _quota(self) -> dict[str, Any]:
        configs = [
            {"role": role, "guarantees": _scalars(quota.guarantees), "limits": _scalars(quota.limits)}
            for role, quota in self._books.registry.quotas.items()
        ]
        return {"status": {"infos": [], "configs": configs}}

    def _maintenance_status(self) -> dict[str, Any]:
        draining, down = [], []
        for hostname, ip in self._books.registry.machines:
            machine = {"hostname": hostname, "ip": ip}
            if (hostname, ip) in self._books.registry.down:
                down.append(machine)
                continue
            names = {each.id for each in self._books.agents.values() if each.description.machine == (hostname, ip)}
            statuses = [
                {"status": status, "framework_id": ID(framework), "timestamp": time_info(when)}
                for (agent, framework), (status, when) in self._maintenance.answers.items()
                if agent in names
            ]
            draining.append({"id": machine, "statuses": statuses})
        return {"draining_machines": draining, "down_machines": down}

    # -- what changes something; all raise MasterRefusal

    def _agent(self, body: _AgentView, unknown: str = "Unknown agent") -> AgentRecord:
        agent = self._books.agents.get(body.agent_id.value)
        if agent is None:
            raise MasterRefusal(400, unknown)
        return agent

    def _reserve(self, body: _Reserve, *, undo: bool) -> None:
        agent = self._agent(body, "No agent found with specified ID")
        reserved = from_resources(body.resources)
        if any(not stack for stack in reserved.parts):
            raise MasterRefusal(400, "Invalid RESERVE Operation: the resources have no reservation")
        plain = without_reservations(reserved)
        before, after = (reserved, plain) if undo else (plain, reserved)
        self._membership.change_total(agent, before, after)

    def _drain(self, body: _Drain) -> None:
        most = body.max_grace_period
        grace = None if most is None else most.seconds + most.nanos / 1e9
        self._membership.drain(self._agent(body), Drain(grace, body.mark_gone))

    def _schedule(self, body: _Schedule) -> None:
        self._maintenance.schedule(body.schedule, msgspec.to_builtins(body.schedule.windows))
        self._allocator.run()

    def _start_maintenance(self, body: _Machines) -> None:
        for machine in body.machines:
            if named(machine) not in self._books.registry.machines:
                raise MasterRefusal(400, f"Machine '{machine.hostname}' is not part of a maintenance schedule")
        for agent in self._maintenance.start(body.machines):
            self._membership.remove_for_maintenance(agent)

    def _stop_maintenance(self, body: _Machines) -> None:
        self._maintenance.stop(body.machines)
        self._allocator.run()

    def _teardown(self, body: _Teardown) -> None:
        framework = self._books.frameworks.get(body.framework_id.value)
        if framework is None:
            raise MasterRefusal(400, "No framework found with specified ID")
        self._subscriptions.remove(framework)


def _scalars(amounts: dict[str, int]) -> dict[str, Any]:
    return {name: {"value": amount / MILLI} for name, amount in amounts.items()}
