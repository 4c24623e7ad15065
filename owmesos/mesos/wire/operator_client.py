"""A client of the master's operator API, to inspect and operate a cluster. No framework needs to run.

Every request follows redirections to the leader, and ends with its typed answer or with an error of one line, whatever
is at the address. docs/operator-http-api.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import aiohttp
import msgspec

from owmesos.errors import NOT_READABLE, InvalidInput, OwmesosError
from owmesos.mesos.messages import ID, Resource, operator
from owmesos.mesos.messages.lenient import readable
from owmesos.mesos.offer_resources import pieces_of, total_of
from owmesos.mesos.wire.access import AUTHORITY, Access
from owmesos.mesos.wire.address import ServerAddress, redirect_target
from owmesos.mesos.wire.detector import Detector
from owmesos.mesos.wire.http_errors import is_json, reason_of
from owmesos.resources import Resources
from owmesos.system.http_answers import body_of, described, one_line
from owmesos.system.once_per_reason import OncePerReason
from owmesos.system.tasks import within

OPERATOR_PATH = "/api/v1"
DEFAULT_TIMEOUT = 30.0  # seconds; for one request
_ANSWER_LIMIT = 256 * 1024 * 1024
_REDIRECTIONS = 3  # that one request follows
_log = logging.getLogger("owmesos.mesos.operator")
T = TypeVar("T", bound=msgspec.Struct)


class OperatorFailed(OwmesosError):
    """The request got no usable answer. It may have been done, except for the two errors below."""


class OperatorRefused(OperatorFailed):
    """The master answered with an error, and did nothing. `status` is the HTTP status."""

    def __init__(self, address: ServerAddress, status: int, reason: str) -> None:
        super().__init__(f"the master at {address} refused the call ({status}): {reason}")
        self.status = status
        self.reason = reason


class MasterUnreachable(OperatorFailed):
    """No connection to a master could be made; nothing was sent."""


class OperatorClient:
    """Use it within one event loop: `async with OperatorClient(detector) as operator: …`.

    Every method raises OperatorRefused, MasterUnreachable or OperatorFailed. The caller closes the detector.
    """

    def __init__(self, detector: Detector, access: Access | None = None, *, timeout: float = DEFAULT_TIMEOUT) -> None:
        """`timeout`: seconds for a whole request."""
        self._detector = detector
        self._access = access or Access()
        self._timeout = timeout
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._closed = False
        self._report = OncePerReason(_log, "of the operator API")

    async def __aenter__(self) -> OperatorClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._closed = True
        for session in self._sessions.values():
            await session.close()

    async def agents(self) -> operator.GetAgents:
        return await self._get("GET_AGENTS", operator.GetAgents)

    async def tasks(self) -> operator.GetTasks:
        return await self._get("GET_TASKS", operator.GetTasks)

    async def frameworks(self) -> operator.GetFrameworks:
        return await self._get("GET_FRAMEWORKS", operator.GetFrameworks)

    async def roles(self) -> operator.GetRoles:
        return await self._get("GET_ROLES", operator.GetRoles)

    async def metrics(self) -> dict[str, float]:
        """By name; without those that the master gave no value for."""
        answer = await self._get("GET_METRICS", operator.GetMetrics, get_metrics={})
        return {metric.name: metric.value for metric in answer.metrics if metric.value is not None}

    async def version(self) -> operator.GetVersion:
        return await self._get("GET_VERSION", operator.GetVersion)

    async def healthy(self) -> bool:
        return (await self._get("GET_HEALTH", operator.GetHealth)).healthy

    async def flags(self) -> dict[str, str]:
        answer = await self._get("GET_FLAGS", operator.GetFlags)
        return {flag.name: flag.value or "" for flag in answer.flags}

    async def master(self) -> operator.GetMaster:
        return await self._get("GET_MASTER", operator.GetMaster)

    async def reserve(self, agent_id: ID, resources: list[Resource]) -> None:
        """`resources` have the reservation that is to be made, as `reservations`."""
        await self._do("RESERVE_RESOURCES", agent_id=agent_id, resources=resources)

    async def unreserve(self, agent_id: ID, resources: list[Resource]) -> None:
        """`resources` have the reservation that is to be removed."""
        await self._do("UNRESERVE_RESOURCES", agent_id=agent_id, resources=resources)

    async def mark_agent_gone(self, agent_id: ID) -> None:
        """For good: the agent is refused when it comes back, and its tasks are GONE_BY_OPERATOR."""
        await self._do("MARK_AGENT_GONE", agent_id=agent_id)

    async def drain_agent(
        self, agent_id: ID, *, max_grace_period: float | None = None, mark_gone: bool = False
    ) -> None:
        """Kills the agent's tasks, within `max_grace_period` seconds each, and keeps it without offers."""
        limits = {}
        if max_grace_period is not None:
            # A google.protobuf.Duration; Mesos takes a DurationInfo here for one of no length.
            seconds, nanos = divmod(round(max_grace_period * 1e9), 10**9)
            limits["max_grace_period"] = {"seconds": seconds, "nanos": nanos}
        await self._do("DRAIN_AGENT", agent_id=agent_id, mark_gone=mark_gone, **limits)

    async def deactivate_agent(self, agent_id: ID) -> None:
        await self._do("DEACTIVATE_AGENT", agent_id=agent_id)

    async def reactivate_agent(self, agent_id: ID) -> None:
        await self._do("REACTIVATE_AGENT", agent_id=agent_id)

    async def update_maintenance_schedule(self, schedule: operator.MaintenanceSchedule) -> None:
        """Replaces the whole schedule. Rescinds the offers of all agents."""
        await self._do("UPDATE_MAINTENANCE_SCHEDULE", schedule=schedule)

    async def start_maintenance(self, machines: list[operator.MachineID]) -> None:
        """Takes scheduled machines out of the cluster."""
        await self._do("START_MAINTENANCE", machines=machines)

    async def stop_maintenance(self, machines: list[operator.MachineID]) -> None:
        await self._do("STOP_MAINTENANCE", machines=machines)

    async def update_quota(self, configs: list[operator.QuotaConfig], *, force: bool = False) -> None:
        await self._do("UPDATE_QUOTA", quota_configs=configs, force=force)

    async def teardown(self, framework_id: ID) -> None:
        """Ends a framework and kills all its tasks."""
        await self._do("TEARDOWN", framework_id=framework_id)

    async def _get(self, kind: str, answer_type: type[T], **body: Any) -> T:
        address, data = await self._ask({"type": kind, **body})
        try:
            return answer_in(data, kind, answer_type, self._report)
        except (*NOT_READABLE, KeyError) as error:
            why = "it is absent" if isinstance(error, KeyError) else one_line(str(error))
            raise OperatorFailed(f"the answer of {address} to {kind} is not usable: {why}") from None

    async def _do(self, kind: str, **fields: Any) -> None:
        await self._ask({"type": kind, kind.lower(): fields})

    async def _ask(self, call: dict[str, Any]) -> tuple[ServerAddress, bytes]:
        """Who answered, and the body."""
        body = msgspec.json.encode(call)
        try:
            return await within(self._ask_candidates(body), self._timeout)
        except asyncio.TimeoutError:
            raise OperatorFailed(f"{call['type']} got no answer in {self._timeout:g} s") from None

    async def _ask_candidates(self, body: bytes) -> tuple[ServerAddress, bytes]:
        unreachable = MasterUnreachable("no master is known")
        for address in await self._detector.candidates():
            try:
                return await self._ask_one(address, body)
            except MasterUnreachable as error:
                unreachable = error
            self._detector.failed(address)
        raise unreachable

    async def _ask_one(self, address: ServerAddress, body: bytes) -> tuple[ServerAddress, bytes]:
        for _ in range(_REDIRECTIONS + 1):
            target = await self._post(address, body)
            if isinstance(target, bytes):
                return address, target
            address = target
        raise OperatorFailed(f"the masters redirect in a circle, last to {address}")

    async def _post(self, address: ServerAddress, body: bytes) -> bytes | ServerAddress:
        """The body of the answer, or where it redirects to."""
        if self._closed:
            raise OperatorFailed("the client is closed")
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
            raise MasterUnreachable(
                f"cannot connect to the master at {address}: {described(error, AUTHORITY)}"
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise OperatorFailed(f"the connection to {address} broke: {described(error)}") from None
        except InvalidInput as error:
            raise OperatorFailed(str(error)) from None
        except (RuntimeError, asyncio.CancelledError):  # see `http_driver.HttpCalls`
            if not self._closed:
                raise
            raise OperatorFailed("the client was closed meanwhile") from None
        if response.status == 200:
            if reason is None:
                return b""
            raise OperatorFailed(f"{address} answers with {reason}")
        raise OperatorRefused(address, response.status, reason or response.reason or "no reason given")

    def _session(self, *, secure: bool) -> aiohttp.ClientSession:
        if secure not in self._sessions:
            self._sessions[secure] = self._access.session(secure=secure, connections=4, lasting=True)
        return self._sessions[secure]


def answer_in(data: bytes, kind: str, answer_type: type[T], report: Callable[[str], None]) -> T:
    """The answer to `kind`, or what can be read of it. Raises KeyError if there is none, or one of NOT_READABLE."""
    raw = msgspec.json.decode(data, type=dict[str, msgspec.Raw])[kind.lower()]
    try:
        return msgspec.json.decode(raw, type=answer_type)
    except NOT_READABLE:
        return readable(answer_type, raw, report, kind)


def free(agent: operator.ListedAgent, roles: Collection[str] | None = None) -> Resources:
    """Total - allocated - offered, at least zero. With `roles` what is reserved for others is left out.

    Revocable, shared and volume resources never count.
    """
    total = total_of(pieces_of(usable(agent.total_resources, roles)))
    taken = total_of(pieces_of(usable(agent.allocated_resources + agent.offered_resources, roles)))
    return total.minus(taken).at_least_zero()


def usable(resources: Iterable[Resource], roles: Collection[str] | None) -> list[Resource]:
    """Those that are not reserved, or for one of `roles`; all if `roles` is None."""
    return [resource for resource in resources if roles is None or reserved_role(resource) in (None, *roles)]


def reserved_role(resource: Resource) -> str | None:
    """The role that `resource` is reserved for."""
    if resource.reservations:
        role: str | None = resource.reservations[-1].get("role")
        return role
    return None if resource.role in (None, "*") else resource.role
