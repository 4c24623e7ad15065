"""How the cases come by frameworks: each with a name and a role of its own, and gone when the case ends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from owmesos.mesos.messages import ID, Capability, FrameworkInfo, OfferConstraints, Subscribe
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorRefused
from tests.conformance.clusters import Cluster
from tests.conformance.drivers import Connect
from tests.conformance.framework import Framework

CAPABILITIES = ("MULTI_ROLE", "PARTITION_AWARE")


class Subscriber:
    """`await subscribe()` is a subscribed framework; what is not said about it is as most cases want it."""

    def __init__(self, cluster: Cluster, connect: Connect, name: str) -> None:
        self._cluster = cluster
        self._connect = connect
        self._name = name
        self._frameworks: list[Framework] = []

    async def __call__(
        self,
        info: FrameworkInfo | None = None,
        *,
        suppressed: Sequence[str] = (),
        constraints: OfferConstraints | None = None,
        access: Access | None = None,
    ) -> Framework:
        """As soon as it is subscribed."""
        framework = self.begin(info, suppressed=suppressed, constraints=constraints, access=access)
        await framework.subscribed()
        return framework

    def begin(
        self,
        info: FrameworkInfo | None = None,
        *,
        suppressed: Sequence[str] = (),
        constraints: OfferConstraints | None = None,
        access: Access | None = None,
    ) -> Framework:
        """One that sends SUBSCRIBE; what comes of it is the case's matter."""
        subscription = Subscribe(info or self.info(), list(suppressed), constraints)
        framework = Framework(self._connect(self._cluster.master, access or Access(), subscription))
        self._frameworks.append(framework)
        framework.start()
        return framework

    def info(self, *, capabilities: Sequence[str] = CAPABILITIES, **fields: Any) -> FrameworkInfo:
        """With a name and a role that no other framework has."""
        name = f"{self._name}-{len(self._frameworks) + 1}"
        described = {
            "user": self._cluster.user,
            "name": name,
            "roles": [name],
            "failover_timeout": 60.0,
            "checkpoint": True,
            **fields,
        }
        return FrameworkInfo(**described, capabilities=[Capability(kind) for kind in capabilities])

    async def close(self, operator: OperatorClient | None) -> None:
        """Tears all of them down, by the operator API: some are not subscribed. None: the cluster goes with them."""
        ended = await asyncio.gather(*(framework.close() for framework in self._frameworks), return_exceptions=True)
        if operator is not None:
            for framework_id in await self._left(operator):
                await self._tear_down(framework_id, operator)
        for error in ended:
            if error is not None:
                raise error

    async def _tear_down(self, framework_id: ID, operator: OperatorClient) -> None:
        try:
            await operator.teardown(framework_id)
        except OperatorRefused:
            assert framework_id not in await self._left(operator)  # its failover_timeout has ended it meanwhile

    async def _left(self, operator: OperatorClient) -> list[ID]:
        """Those that the master still has."""
        ours = {framework.driver.subscription.framework_info.id for framework in self._frameworks}
        known = [each.framework_info.id for each in (await operator.frameworks()).frameworks]
        return [framework_id for framework_id in known if framework_id is not None and framework_id in ours]
