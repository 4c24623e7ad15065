"""What owmesos asks of the API server besides watching: lists, pods that are posted and deleted, logs, rights.

https://kubernetes.io/docs/reference/kubernetes-api/. Every method raises ApiRequestFailed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Generic, NamedTuple
from urllib.parse import quote

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.api_session import TIMEOUT, ApiSession, Sending
from owmesos.kubernetes.wire.decoding import GONE, NotReadable, Report, ResourceKind, T
from owmesos.system.once_per_reason import OncePerReason

PAGE = 500  # objects of a list in one answer, as kubectl and client-go have it
LOG_LIMIT = 64 * 1024 * 1024  # bytes
_MOST_PAUSED = 60.0  # seconds, in the middle of a list; its `continue` tokens live for 5 minutes
_STALE_LISTS = 2  # that are begun again, before one is asked for as a whole
_log = logging.getLogger("owmesos.kubernetes")


class _Stale(Exception):
    """The `continue` token of a list is too old."""


class Right(NamedTuple):
    """A rule of RBAC. `namespaced`: in our namespace, else in the cluster. `name`: of the only object, if any."""

    verb: str
    resource: str
    subresource: str = ""
    namespaced: bool = True
    group: str = ""
    name: str = ""

    def __str__(self) -> str:
        part, one = f"/{self.subresource}" if self.subresource else "", f" {self.name}" if self.name else ""
        return f"{self.verb} {self.resource}{part}{one}"


RIGHTS = (
    Right("list", "nodes", namespaced=False),
    Right("watch", "nodes", namespaced=False),
    Right("list", "pods", namespaced=False),
    Right("watch", "pods", namespaced=False),
    Right("create", "pods"),
    Right("delete", "pods"),
    Right("get", "pods", "log"),
)
"""All without which owmesos cannot run; deploy/kubernetes gives these, and `lease_client.lease_rights`."""


@dataclass(frozen=True)
class Listed(Generic[T]):
    """A whole list, and the version from which a watch goes on."""

    items: tuple[T, ...]
    resource_version: str


class _Review(msgspec.Struct, frozen=True):
    allowed: bool = False


class _ReviewAnswer(msgspec.Struct):
    status: _Review = _Review()


class ApiClient:
    """Use it within one event loop: `async with ApiClient(access) as api: …`."""

    def __init__(self, access: ClusterAccess) -> None:
        self._session = ApiSession(access)
        self._report = OncePerReason(_log, access.server)

    async def __aenter__(self) -> ApiClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()

    async def list_all(self, kind: ResourceKind[T]) -> Listed[T]:
        """All objects of `kind`, see `list_resource`."""
        return await list_resource(self._session, kind, self._report)

    async def pod(self, namespace: str, name: str) -> Pod:
        return self._pod(await self._session.read("GET", _path(namespace, name)))

    async def post_pod(
        self, namespace: str, body: Mapping[str, Any], *, dry_run: bool = False, sending: Sending | None = None
    ) -> Pod:
        """The pod as the API server has stored it. With `dry_run` all is checked (rights, the namespace, quotas,
        admission), and nothing stored."""
        parameters = [("dryRun", "All")] if dry_run else []
        path = _path(namespace)
        return self._pod(await self._session.read("POST", path, parameters=parameters, body=body, sending=sending))

    async def delete_pod(
        self, namespace: str, name: str, *, uid: str | None, grace: int, sending: Sending | None = None
    ) -> None:
        """Only the one with `uid`, if given: another answers 409. `grace`: seconds, at least 1.

        With 0 the API server forgets a pod whose processes still run, and its room would be given away. Raises
        ValueError for it.
        """
        if grace < 1:
            raise ValueError(f"a grace period of {grace} s would give away the room of a pod that still runs")
        options: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "gracePeriodSeconds": grace,
            "propagationPolicy": "Background",
        }
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        await self._session.read("DELETE", _path(namespace, name), body=options, sending=sending)

    async def logs(
        self,
        namespace: str,
        name: str,
        *,
        container: str | None = None,
        since: datetime | None = None,
        timestamps: bool = False,
        limit: int = LOG_LIMIT,
    ) -> bytes:
        """What the container wrote, stdout and stderr in one; from the whole second of `since` on, at most `limit`
        bytes. `timestamps`: each line begins with its time (RFC 3339, nanoseconds) and a space."""
        parameters = [("limitBytes", str(limit))]
        if container is not None:
            parameters.append(("container", container))
        if since is not None:
            parameters.append(("sinceTime", since.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")))
        if timestamps:
            parameters.append(("timestamps", "true"))
        path = f"{_path(namespace, name)}/log"
        return await self._session.read("GET", path, parameters=parameters, limit=limit)

    async def allowed(self, right: Right, namespace: str) -> bool:
        """Whether we have it: a SelfSubjectAccessReview, which everybody may ask for."""
        attributes = {"verb": right.verb, "resource": right.resource}
        more = {"group": right.group, "subresource": right.subresource, "name": right.name}
        attributes |= {field: value for field, value in more.items() if value}
        if right.namespaced:
            attributes["namespace"] = namespace
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        data = await self._session.read("POST", path, body=body)
        try:
            return msgspec.json.decode(data, type=_ReviewAnswer).status.allowed
        except NOT_READABLE as error:
            raise unreadable(f"the answer to a SelfSubjectAccessReview cannot be read: {error}") from None

    async def missing_rights(self, namespace: str, rights: Sequence[Right] = RIGHTS) -> list[Right]:
        """Those of `rights` that we do not have."""
        return [right for right in rights if not await self.allowed(right, namespace)]

    def _pod(self, data: bytes) -> Pod:
        try:
            return msgspec.json.decode(data, type=Pod)
        except NOT_READABLE as error:
            raise unreadable(f"the pod in the answer cannot be read: {error}") from None


async def list_resource(session: ApiSession, kind: ResourceKind[T], report: Report) -> Listed[T]:
    """All objects of `kind`, page by page, of one state of the cluster.

    The API server forgets that state after some minutes; then the list is begun again, and at last asked for as a
    whole. Raises ApiRequestFailed.
    """
    for _ in range(_STALE_LISTS):
        with suppress(_Stale):
            return await _list_pages(session, kind, report, PAGE)
    return await _list_pages(session, kind, report, 0)


async def _list_pages(session: ApiSession, kind: ResourceKind[T], report: Report, limit: int) -> Listed[T]:
    items: list[T] = []
    token, paused = "", 0.0
    while True:
        parameters = [("limit", str(limit))] if limit else []
        if token:
            parameters.append(("continue", token))
        timeout = TIMEOUT if limit else 4 * TIMEOUT
        try:
            data = await session.read("GET", kind.path, parameters=parameters, timeout=timeout)
        except ApiRequestFailed as error:
            if error.failure.status == GONE and token:
                raise _Stale from None
            paused += error.failure.pause
            if token and error.failure.wants_pause and paused <= _MOST_PAUSED:
                await asyncio.sleep(error.failure.pause)
                continue  # the pages before it would have to be read once more
            raise
        try:
            page = kind.page(data, report)
        except NotReadable as error:
            raise unreadable(str(error)) from None
        items += page.items or ()
        token = page.metadata.continue_
        if not token:
            return Listed(tuple(items), page.metadata.resource_version)


def unreadable(message: str) -> ApiRequestFailed:
    """What to raise for a success whose body cannot be read: the request may have been carried out."""
    return ApiRequestFailed(ApiFailure(0, "NotReadable", message, certain=False))


def _path(namespace: str, name: str | None = None) -> str:
    path = f"/api/v1/namespaces/{quote(namespace, safe='')}/pods"
    return path if name is None else f"{path}/{quote(name, safe='')}"
