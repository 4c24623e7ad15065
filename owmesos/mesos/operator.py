"""A client of the master's operator API: to inspect a cluster with no framework running, and to operate it.

Every request follows a redirection to the leader, and ends with its typed answer or with an error of one
line, whatever is at the address. docs/operator-http-api.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.access import Access
from owmesos.mesos.address import Address, redirect_target
from owmesos.mesos.answer import body_of, described, is_json, one_line, reason_of
from owmesos.mesos.detector import Detector
from owmesos.mesos.messages import ID, Resource
from owmesos.mesos.messages.operator import (
    Agent,
    GetAgents,
    GetFlags,
    GetFrameworks,
    GetHealth,
    GetMaster,
    GetMetrics,
    GetRoles,
    GetTasks,
    GetVersion,
    MachineID,
    MaintenanceSchedule,
    QuotaConfig,
)
from owmesos.mesos.pieces import pieces_of, total_of
from owmesos.resources import Resources

OPERATOR_PATH = "/api/v1"
DEFAULT_TIMEOUT = 30.0
_ANSWER_LIMIT = 256 * 1024 * 1024
_REDIRECTIONS = 3
T = TypeVar("T")


class OperatorFailed(OwmesosError):
    """The request got no usable answer. It may have been done, but for the two errors below."""


class OperatorRefused(OperatorFailed):
    """The master answered with an error, and nothing was done. `status` is the HTTP status."""

    def __init__(self, address: Address, status: int, reason: str) -> None:
        super().__init__(f"the master at {address} refuses ({status}): {reason}")
        self.status = status
        self.reason = reason


class MasterUnreachable(OperatorFailed):
    """No master could be connected to; nothing was asked."""


class OperatorClient:
    """To be used within one event loop: `async with OperatorClient(detector) as operator: …`.

    Every method raises OperatorRefused, MasterUnreachable or OperatorFailed. The detector stays its owner's.
    """

    def __init__(self, detector: Detector, access: Access | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """`timeout`: seconds for a whole request."""
        self._detector = detector
        self._access = access or Access()
        self._timeout = timeout
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    async def __aenter__(self) -> OperatorClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def agents(self) -> GetAgents:
        return await self._get("GET_AGENTS", GetAgents)

    async def tasks(self) -> GetTasks:
        return await self._get("GET_TASKS", GetTasks)

    async def frameworks(self) -> GetFrameworks:
        return await self._get("GET_FRAMEWORKS", GetFrameworks)

    async def roles(self) -> GetRoles:
        return await self._get("GET_ROLES", GetRoles)

    async def metrics(self) -> dict[str, float]:
        """By name; those that the master gave no value for are left out."""
        answer = await self._get("GET_METRICS", GetMetrics, {"get_metrics": {}})
        return {metric.name: metric.value for metric in answer.metrics if metric.value is not None}

    async def version(self) -> GetVersion:
        return await self._get("GET_VERSION", GetVersion)

    async def healthy(self) -> bool:
        return (await self._get("GET_HEALTH", GetHealth)).healthy

    async def flags(self) -> dict[str, str]:
        answer = await self._get("GET_FLAGS", GetFlags)
        return {flag.name: flag.value or "" for flag in answer.flags}

    async def master(self) -> GetMaster:
        return await self._get("GET_MASTER", GetMaster)

    async def reserve(self, agent_id: ID, resources: list[Resource]) -> None:
        """`resources` carry the reservation that they shall have, as `reservations`."""
        body = {"agent_id": agent_id, "resources": resources}
        await self._do("RESERVE_RESOURCES", {"reserve_resources": body})

    async def unreserve(self, agent_id: ID, resources: list[Resource]) -> None:
        """`resources` carry the reservation that they have."""
        body = {"agent_id": agent_id, "resources": resources}
        await self._do("UNRESERVE_RESOURCES", {"unreserve_resources": body})

    async def mark_agent_gone(self, agent_id: ID) -> None:
        """For good: it is refused when it comes back, and its tasks are GONE_BY_OPERATOR."""
        await self._do("MARK_AGENT_GONE", {"mark_agent_gone": {"agent_id": agent_id}})

    async def drain_agent(
        self, agent_id: ID, *, max_grace_period: float | None = None, mark_gone: bool = False
    ) -> None:
        """Kills the agent's tasks, within `max_grace_period` seconds each, and keeps it without offers."""
        body: dict[str, Any] = {"agent_id": agent_id, "mark_gone": mark_gone}
        if max_grace_period is not None:
            # A google.protobuf.Duration; Mesos takes a DurationInfo here for one of no length.
            seconds, nanos = divmod(round(max_grace_period * 1e9), 10**9)
            body["max_grace_period"] = {"seconds": seconds, "nanos": nanos}
        await self._do("DRAIN_AGENT", {"drain_agent": body})

    async def deactivate_agent(self, agent_id: ID) -> None:
        await self._do("DEACTIVATE_AGENT", {"deactivate_agent": {"agent_id": agent_id}})

    async def reactivate_agent(self, agent_id: ID) -> None:
        await self._do("REACTIVATE_AGENT", {"reactivate_agent": {"agent_id": agent_id}})

    async def update_maintenance_schedule(self, schedule: MaintenanceSchedule) -> None:
        """Replaces the whole schedule. Rescinds the offers of all agents."""
        body = {"update_maintenance_schedule": {"schedule": schedule}}
        await self._do("UPDATE_MAINTENANCE_SCHEDULE", body)

    async def start_maintenance(self, machines: list[MachineID]) -> None:
        """Takes scheduled machines out of the cluster."""
        await self._do("START_MAINTENANCE", {"start_maintenance": {"machines": machines}})

    async def stop_maintenance(self, machines: list[MachineID]) -> None:
        await self._do("STOP_MAINTENANCE", {"stop_maintenance": {"machines": machines}})

    async def update_quota(self, configs: list[QuotaConfig], *, force: bool = False) -> None:
        body = {"quota_configs": configs, "force": force}
        await self._do("UPDATE_QUOTA", {"update_quota": body})

    async def teardown(self, framework_id: ID) -> None:
        """Ends a framework and kills all its tasks."""
        await self._do("TEARDOWN", {"teardown": {"framework_id": framework_id}})

    async def _get(self, kind: str, answer_type: type[T], body: dict[str, Any] | None = None) -> T:
        address, data = await self._ask({"type": kind, **(body or {})})
        try:
            document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
            return msgspec.json.decode(document[kind.lower()], type=answer_type)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, KeyError) as error:
            why = "it is absent" if isinstance(error, KeyError) else one_line(str(error))
            raise OperatorFailed(f"{kind} is answered by {address} with no usable document: {why}") from None

    async def _do(self, kind: str, body: dict[str, Any]) -> None:
        await self._ask({"type": kind, **body})

    async def _ask(self, call: dict[str, Any]) -> tuple[Address, bytes]:
        """The answer's body, and who gave it."""
        body = msgspec.json.encode(call)
        try:
            return await asyncio.wait_for(self._ask_candidates(body), self._timeout)
        except asyncio.TimeoutError:
            raise OperatorFailed(f"{call['type']} got no answer in {self._timeout:g} s") from None

    async def _ask_candidates(self, body: bytes) -> tuple[Address, bytes]:
        unreachable = MasterUnreachable("no master is known")
        for address in await self._detector.candidates():
            try:
                return await self._ask_one(address, body)
            except MasterUnreachable as error:
                unreachable = error
            self._detector.failed(address)
        raise unreachable

    async def _ask_one(self, address: Address, body: bytes) -> tuple[Address, bytes]:
        for _ in range(_REDIRECTIONS + 1):
            target = await self._post(address, body)
            if isinstance(target, bytes):
                return address, target
            address = target
        raise OperatorFailed(f"the masters redirect in a circle, lastly to {address}")

    async def _post(self, address: Address, body: bytes) -> bytes | Address:
        """The body of the answer, or where it redirects to."""
        session = self._session(secure=address.scheme == "https")
        request = session.post(f"{address}{OPERATOR_PATH}", data=body, allow_redirects=False)
        try:
            async with request as response:
                if response.status == 307:
                    return redirect_target(response.headers.get("Location", ""), address)
                if response.status == 202 or (response.status == 200 and is_json(response)):
                    return await body_of(response, _ANSWER_LIMIT)
                reason = await reason_of(response)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise MasterUnreachable(f"no connection to the master at {address}: {described(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise OperatorFailed(f"the connection to {address} broke: {described(error)}") from None
        except InvalidInput as error:
            raise OperatorFailed(str(error)) from None
        if response.status == 200:
            if reason is None:
                return b""
            raise OperatorFailed(f"{address} answers with {reason}")
        raise OperatorRefused(address, response.status, reason or response.reason or "no reason is given")

    def _session(self, *, secure: bool) -> aiohttp.ClientSession:
        if secure not in self._sessions:
            self._sessions[secure] = self._access.session(secure=secure, connections=4)
        return self._sessions[secure]


def free(agent: Agent, roles: Collection[str] | None = None) -> Resources:
    """What no task has and no offer holds: total - allocated - offered, never less than nothing.

    With `roles` what is reserved for others is left out. Revocable, shared and volume resources never count.
    """
    total = total_of(pieces_of(usable(agent.total_resources, roles)))
    taken = total_of(pieces_of(usable(agent.allocated_resources + agent.offered_resources, roles)))
    return total.minus(taken).at_least_zero()


def usable(resources: Iterable[Resource], roles: Collection[str] | None) -> list[Resource]:
    """Those that are reserved for none but `roles`; None means all."""
    return [resource for resource in resources if roles is None or reserved_role(resource) in (None, *roles)]


def reserved_role(resource: Resource) -> str | None:
    """The role that `resource` is reserved for; None if for no one."""
    if resource.reservations:
        role: str | None = resource.reservations[-1].get("role")
        return role
    return None if resource.role in (None, "*") else resource.role
