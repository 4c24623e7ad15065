"""pymesos's two interfaces: what a framework implements, and what it calls.

The names are in camelCase, and agents are slaves in them, as in Mesos's first Python API.
"""

# ruff: noqa: N802, N803  (the names are pymesos's)

from __future__ import annotations

import base64
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from owmesos.mesos import messages

_log = logging.getLogger("owmesos.compat.pymesos")


class Scheduler:
    """To be extended. Callbacks come one at a time, on a thread of their own. An exception in one is only logged;
    SystemExit ends the driver, without TEARDOWN. Messages are dicts, or addict's with `use_addict`.
    """

    def registered(self, driver: Any, frameworkId: Any, masterInfo: Any) -> None:
        """The framework has got its id. `masterInfo`: `hostname`, `port` and, if known, `version`."""

    def reregistered(self, driver: Any, masterInfo: Any) -> None:
        """A framework that already had an id is subscribed, for the first time here or again."""

    def disconnected(self, driver: Any) -> None:
        """The subscription is lost, and its offers are void. Once for each `registered` or `reregistered`."""

    def processHeartBeat(self, driver: Any) -> None:
        """Every 15 s by default."""

    def resourceOffers(self, driver: Any, offers: list[Any]) -> None:
        """Accept or decline each, now or later."""

    def inverseOffers(self, driver: Any, offers: list[Any]) -> None:
        """Agents are to be given up for maintenance."""

    def offerRescinded(self, driver: Any, offerId: Any) -> None: ...

    def inverseOfferRescinded(self, driver: Any, offerId: Any) -> None: ...

    def statusUpdate(self, driver: Any, status: Any) -> None:
        """With implicit acknowledgements it is acknowledged when this returns; if this raises, it comes again."""

    def operationStatusUpdate(self, driver: Any, status: Any) -> None:
        """As `statusUpdate`, for an operation that was given an id."""

    def frameworkMessage(self, driver: Any, executorId: Any, slaveId: Any, message: str) -> None:
        """`message` is base64, see `decode_data`."""

    def slaveLost(self, driver: Any, slaveId: Any) -> None: ...

    def executorLost(self, driver: Any, executorId: Any, slaveId: Any, status: int | None) -> None:
        """`status` is None where the master does not know it."""

    def error(self, driver: Any, message: str) -> None:
        """The master ended or refused the subscription; if it would refuse the next one too, the driver is aborted."""
        _log.error("%s", message)


class SchedulerDriver(ABC):
    """The calls. Each returns when the master has accepted it for processing, else raises DriverError.

    Ids are dicts `{"value": …}`; where several are accepted, a single one is too.
    """

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self, failover: bool = False) -> None:
        """Ends the driver. Sends TEARDOWN, which kills all tasks, unless `failover` is true here or at creation."""

    @abstractmethod
    def abort(self) -> None:
        """Ends the driver without TEARDOWN."""

    @abstractmethod
    def join(self) -> None:
        """Returns when the driver has ended. Raises what ended it, if that was neither `stop` nor `abort`."""

    def run(self) -> None:
        self.start()
        self.join()

    def _call(self, call: messages.Call) -> None:
        """Sends the framework's own dicts unchanged. Raises DriverError. A driver may replace the calls instead."""
        raise NotImplementedError

    def acceptOffers(self, offer_ids: Any, operations: Sequence[Any], filters: Any = None) -> None:
        """Without operations it is a DECLINE."""
        if not operations:
            self.declineOffer(offer_ids, filters)
            return
        self._call(messages.Accept(_several(offer_ids), list(operations), filters))

    def launchTasks(self, offer_ids: Any, tasks: Sequence[Any], filters: Any = None) -> None:
        """Without tasks it is a DECLINE."""
        operations = [messages.Operation("LAUNCH", launch=messages.LaunchOperation(list(tasks)))] if tasks else []
        self.acceptOffers(offer_ids, operations, filters)

    def declineOffer(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(messages.Decline(_several(offer_ids), filters))

    def acceptInverseOffers(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(messages.AcceptInverseOffers(_several(offer_ids), filters))

    def declineInverseOffer(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(messages.DeclineInverseOffers(_several(offer_ids), filters))

    def reviveOffers(self, roles: Sequence[str] = ()) -> None:
        self._call(messages.Revive(list(roles)))

    def suppressOffers(self, roles: Sequence[str] = ()) -> None:
        self._call(messages.Suppress(list(roles)))

    def killTask(self, task_id: Any, *, agent_id: Any = None, kill_policy: Any = None) -> None:
        self._call(messages.Kill(task_id, agent_id, kill_policy))

    def acknowledgeStatusUpdate(self, status: Any) -> None:
        """One without `uuid` needs none."""
        if "uuid" in status:
            task_id = messages.ID(status["task_id"]["value"])
            self._call(messages.Acknowledge(status["agent_id"], task_id, status["uuid"]))

    def acknowledgeOperationStatusUpdate(self, status: Any) -> None:
        """One without `uuid` or `operation_id` needs none."""
        if "uuid" in status and "operation_id" in status:
            uuid = status["uuid"]
            plain = uuid["value"] if isinstance(uuid, dict) else uuid
            operation_id = messages.ID(status["operation_id"]["value"])
            of = (operation_id, status.get("agent_id"), status.get("resource_provider_id"))
            self._call(messages.AcknowledgeOperationStatus(plain, *of))

    def reconcileTasks(self, tasks: Sequence[Any]) -> None:
        """Sends each task's `task_id` and, if present, `agent_id`. Without tasks it asks for every task."""
        self._call(
            messages.Reconcile([messages.ReconcileTask(task["task_id"], task.get("agent_id")) for task in tasks])
        )

    def reconcileOperations(self, operations_: Sequence[Any]) -> None:
        asked = [
            messages.ReconcileOperation(each["operation_id"], each.get("agent_id"), each.get("resource_provider_id"))
            for each in operations_
        ]
        self._call(messages.ReconcileOperations(asked))

    def sendFrameworkMessage(self, executor_id: Any, agent_id: Any, data: Any) -> None:
        """`data` is base64, see `encode_data`."""
        self._call(messages.Message(agent_id, executor_id, data))

    def requestResources(self, requests: Sequence[Any]) -> None:
        self._call(messages.Request(list(requests)))


def _several(ids: Any) -> list[Any]:
    return [ids] if isinstance(ids, dict) else list(ids)


def encode_data(data: bytes) -> str:
    """As base64, which is how JSON messages carry bytes."""
    return base64.b64encode(data).decode("ascii")


def decode_data(data: str) -> bytes:
    """Raises binascii.Error, a ValueError, for what is not valid base64."""
    return base64.b64decode(data)
