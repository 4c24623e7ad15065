"""Creates and deletes pods only while this process leads. What waits is sent once the lease holds again; what was about
to be sent when it ran out counts as not sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.wire.api_client import ApiClient
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.system.lease import LAPSED, Lease


class LeasedPods:
    """See `ApiClient`."""

    def __init__(self, api: ApiClient, lease: Lease) -> None:
        self._api = api
        self._lease = lease

    async def post_pod(self, namespace: str, body: Mapping[str, Any]) -> Pod:
        await self._lease.held()
        return await self._api.post_pod(namespace, body, sending=self._check)

    async def delete_pod(self, namespace: str, name: str, *, uid: str | None, grace: int) -> None:
        await self._lease.held()
        await self._api.delete_pod(namespace, name, uid=uid, grace=grace, sending=self._check)

    def _check(self) -> None:
        if not self._lease.holds:
            raise ApiRequestFailed(ApiFailure(0, "NotLeading", LAPSED, certain=True))


def leased_pods(api: ApiClient, lease: Lease | None) -> ApiClient | LeasedPods:
    return LeasedPods(api, lease) if lease is not None else api
