"""One Lease of coordination.k8s.io/v1: read, made, replaced. Every method raises ApiRequestFailed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.kubernetes.messages import LeaseObject
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_client import Right, unreadable
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed, unanswered
from owmesos.kubernetes.wire.api_session import ApiSession
from owmesos.system.tasks import within

ANSWER = 2.0  # seconds; for one request. A leader has to try again before its lease runs out
_CREDENTIALS = 0.5  # seconds more, for a program that gives them; a later request finds what it gave
_GROUP = "coordination.k8s.io"
_GONE = 404


class StoredLease(NamedTuple):
    """`document`: as it came, with fields that we do not know."""

    document: Mapping[str, Any]
    lease: LeaseObject


def lease_rights(name: str) -> tuple[Right, ...]:
    """What an election needs. RBAC cannot bind the right to create to a name."""
    return (
        Right("get", "leases", group=_GROUP, name=name),
        Right("update", "leases", group=_GROUP, name=name),
        Right("create", "leases", group=_GROUP),
    )


class LeaseClient:
    """Use it within one event loop: `async with LeaseClient(…) as client: …`."""

    def __init__(self, access: ClusterAccess, namespace: str, name: str) -> None:
        self._access = access
        self._session = ApiSession(access, connections=2)
        self._all = f"/apis/{_GROUP}/v1/namespaces/{quote(namespace, safe='')}/leases"
        self._one = f"{self._all}/{quote(name, safe='')}"

    async def __aenter__(self) -> LeaseClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def read(self) -> StoredLease | None:
        """None if there is none."""
        try:
            return await self._ask("GET", self._one)
        except ApiRequestFailed as error:
            if error.failure.status == _GONE:
                return None
            raise

    async def create(self, document: Mapping[str, Any]) -> StoredLease:
        return await self._ask("POST", self._all, document)

    async def replace(self, document: Mapping[str, Any]) -> StoredLease:
        """Only the version and the object that it names: else the failure is 409 Conflict."""
        return await self._ask("PUT", self._one, document)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> StoredLease:
        try:
            data = await within(self._session.read(method, path, body=body, timeout=ANSWER), ANSWER + _CREDENTIALS)
        except asyncio.TimeoutError as error:
            raise ApiRequestFailed(unanswered(error, self._access)) from None
        return stored_lease(data)


def stored_lease(data: bytes) -> StoredLease:
    try:
        document = msgspec.json.decode(data, type=dict[str, Any])
        return StoredLease(document, msgspec.convert(document, LeaseObject))
    except NOT_READABLE as error:
        raise unreadable(f"the Lease in the answer cannot be read: {error}") from None


def micro_time() -> str:
    """Now, as a Lease has it."""
    return f"{datetime.now(timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"
