"""pymesos's two interfaces: what a framework implements, and what it calls.

The names are in camelCase, and agents are slaves in them, as in Mesos's first Python API.
"""

# ruff: noqa: N802, N803  (the names are pymesos's)

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

_log = logging.getLogger("owmesos.compat.pymesos")


class Scheduler:
    """To be extended. Callbacks come one at a time, on a thread of their own. One that raises is logged, and no more;
    SystemExit ends the driver, without TEARDOWN. Messages are dicts, or addict's with `use_addict`.
    """

    def registered(self, driver: Any, frameworkId: Any, masterInfo: Any) -> None:
        """The framework has its id. `masterInfo`: `hostname`, `port` and, if known, `version`."""

    def reregistered(self, driver: Any, masterInfo: Any) -> None:
        """A framework that had its id is subscribed, for the first time here or again."""

    def disconnected(self, driver: Any) -> None:
        """The subscription is lost, and all its offers are void. Once for each `registered` or `reregistered`."""

    def processHeartBeat(self, driver: Any) -> None:
        """Every 15 s by default."""

    def resourceOffers(self, driver: Any, offers: list[Any]) -> None:
        """Each is to be accepted or declined, now or later."""

    def inverseOffers(self, driver: Any, offers: list[Any]) -> None:
        """Agents are asked back, for maintenance."""

    def offerRescinded(self, driver: Any, offerId: Any) -> None: ...

    def inverseOfferRescinded(self, driver: Any, offerId: Any) -> None: ...

    def statusUpdate(self, driver: Any, status: Any) -> None:
        """With implicit acknowledgements it is acknowledged when this returns; if it raises, it comes again."""

    def operationStatusUpdate(self, driver: Any, status: Any) -> None:
        """As `statusUpdate`, of an operation that was given an id."""

    def frameworkMessage(self, driver: Any, executorId: Any, slaveId: Any, message: str) -> None:
        """`message` is base64, see `decode_data`."""

    def slaveLost(self, driver: Any, slaveId: Any) -> None: ...

    def executorLost(self, driver: Any, executorId: Any, slaveId: Any, status: int | None) -> None:
        """`status` is None where the master does not know it."""

    def error(self, driver: Any, message: str) -> None:
        """The master wants us no more; if it will not want us again, the driver is aborted."""
        _log.error("%s", message)


class SchedulerDriver(ABC):
    """The calls. Each returns when the master has taken it, and raises DriverError when it has not, or may not have.

    Ids are dicts `{"value": …}`; where several are taken, one alone is too.
    """

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self, failover: bool = False) -> None:
        """Ends the driver. TEARDOWN is sent, which kills all tasks, unless `failover` is true here or at the making."""

    @abstractmethod
    def abort(self) -> None:
        """Ends the driver without TEARDOWN."""

    @abstractmethod
    def join(self) -> None:
        """Returns when the driver has ended. Raises what ended it, if that was no `stop` or `abort`."""

    @abstractmethod
    def run(self) -> None:
        """`start`, then `join`."""

    @abstractmethod
    def acceptOffers(self, offer_ids: Any, operations: Sequence[Any], filters: Any = None) -> None: ...

    @abstractmethod
    def launchTasks(self, offer_ids: Any, tasks: Sequence[Any], filters: Any = None) -> None: ...

    @abstractmethod
    def declineOffer(self, offer_ids: Any, filters: Any = None) -> None: ...

    @abstractmethod
    def acceptInverseOffers(self, offer_ids: Any, filters: Any = None) -> None: ...

    @abstractmethod
    def declineInverseOffer(self, offer_ids: Any, filters: Any = None) -> None: ...

    @abstractmethod
    def reviveOffers(self, roles: Sequence[str] = ()) -> None: ...

    @abstractmethod
    def suppressOffers(self, roles: Sequence[str] = ()) -> None: ...

    @abstractmethod
    def killTask(self, task_id: Any, *, agent_id: Any = None, kill_policy: Any = None) -> None: ...

    @abstractmethod
    def acknowledgeStatusUpdate(self, status: Any) -> None: ...

    @abstractmethod
    def acknowledgeOperationStatusUpdate(self, status: Any) -> None: ...

    @abstractmethod
    def reconcileTasks(self, tasks: Sequence[Any]) -> None:
        """Of each task its `task_id` and, if it is there, its `agent_id` are sent; no task at all means every task."""

    @abstractmethod
    def reconcileOperations(self, operations_: Sequence[Any]) -> None: ...

    @abstractmethod
    def sendFrameworkMessage(self, executor_id: Any, agent_id: Any, data: str) -> None:
        """`data` is base64, see `encode_data`."""

    @abstractmethod
    def requestResources(self, requests: Sequence[Any]) -> None: ...
