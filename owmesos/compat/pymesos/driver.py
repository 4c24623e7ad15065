"""pymesos's driver on the wire of owmesos: its calls wait for their answers, its callbacks have a thread of their own.

So a callback that is slow holds up the next one, but neither heartbeats nor the watchdog; one that raises is logged;
and offers that were void before a callback could see them are not shown.
"""

# ruff: noqa: N802  (the names are pymesos's)

from __future__ import annotations

import logging
import threading
from collections.abc import MutableMapping, Sequence
from typing import Any

import msgspec

from owmesos.compat.pymesos.callbacks import Callbacks
from owmesos.compat.pymesos.interface import Scheduler, SchedulerDriver
from owmesos.compat.pymesos.link import NOT_RUNNING, DriverError, Ended, Link
from owmesos.errors import InvalidInput
from owmesos.mesos.access import Access, Tls
from owmesos.mesos.address import Credentials, parse_master
from owmesos.mesos.detector import access_for
from owmesos.mesos.driver import NotSubscribed, Subscription
from owmesos.mesos.messages import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    AcknowledgeOperationStatus,
    Call,
    Decline,
    DeclineInverseOffers,
    FrameworkInfo,
    Kill,
    Launch,
    Message,
    Operation,
    Reconcile,
    ReconcileOperation,
    ReconcileOperations,
    ReconcileTask,
    Request,
    Revive,
    Suppress,
    unknown_fields,
)

_log = logging.getLogger("owmesos.compat.pymesos")
_DAY = 86400
_FAILOVER_TIMEOUT = 100.0  # pymesos's
_STOPPING = 15.0


class MesosSchedulerDriver(SchedulerDriver):
    """`framework` is a FrameworkInfo as a dict, or addict's; its `id` is set when a master gives one."""

    def __init__(
        self,
        sched: Scheduler,
        framework: MutableMapping[str, Any],
        master_uri: str,
        use_addict: bool = False,
        implicit_acknowledgements: bool = True,
        principal: str | None = None,
        secret: str | None = None,
        failover: bool = False,
        timeout: float = _DAY,
        *,
        tls: Tls | None = None,
    ) -> None:
        """`master_uri`: `host[:port][,…]`, `https://…` or `zk://[user:password@]host:port[,…]/path`. `timeout`: seconds
        without a subscription after which it gives up.

        Raises InvalidInput.
        """
        self.sched = sched
        self.master_uri = master_uri
        self.implicit_acknowledgements = implicit_acknowledgements
        self._framework = framework
        self._masters = parse_master(
            master_uri.replace("zoo://", "zk://", 1), credentials_allowed=True, tls=tls is not None
        )
        credentials = Credentials(principal, secret) if principal is not None and secret is not None else None
        self._access = access_for(self._masters, Access(credentials, tls or Tls()))
        self._failover = failover
        self._timeout = timeout
        self._callbacks = Callbacks(self, sched, use_addict=use_addict)
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        _info(self.framework)

    # What is known

    @property
    def framework(self) -> dict[str, Any]:
        """As it is said to masters."""
        return {"failover_timeout": _FAILOVER_TIMEOUT, **self._framework}

    @property
    def framework_id(self) -> str | None:
        framework_id = self._framework.get("id")
        return framework_id["value"] if framework_id else None

    @framework_id.setter
    def framework_id(self, value: str) -> None:
        self._framework["id"] = {"value": value}

    @property
    def master(self) -> str | None:
        """`host:port` of the master that has taken the subscription."""
        address = self._link.master if self._link is not None else None
        return f"{address.host}:{address.port}" if address is not None else None

    @property
    def version(self) -> str | None:
        """That of the last master, if it told."""
        return self._callbacks.version

    @property
    def connected(self) -> bool:
        return self.master is not None

    @property
    def aborted(self) -> bool:
        """Whether it does not run."""
        return self._link is None

    # Life

    def start(self) -> None:
        """Raises InvalidInput where the framework is no FrameworkInfo."""
        if self._link is not None:
            _log.warning("the driver is started already")
            return
        self.join()
        self._link = Link(self._masters, Subscription(_info(self.framework)), self._access, self._timeout)
        self._link.start()
        self._thread = threading.Thread(
            target=self._work, args=[self._link], name="owmesos-pymesos-callbacks", daemon=True
        )
        self._thread.start()

    def stop(self, failover: bool = False) -> None:
        """Returns when TEARDOWN is answered, or 10 s have passed; in a callback at once."""
        self._end(teardown=not (failover or self._failover))

    def abort(self) -> None:
        self._end(teardown=False)

    def join(self) -> None:
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return
        thread.join()
        self._thread = None
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def run(self) -> None:
        self.start()
        self.join()

    def fail(self, failure: BaseException) -> None:
        """Ends it without TEARDOWN; `join` raises `failure`."""
        self._failure = self._failure or failure
        self.abort()

    def _end(self, *, teardown: bool) -> None:
        link, self._link = self._link, None
        if link is None:
            return
        link.end(teardown=teardown)
        if threading.current_thread() is not self._thread:
            link.join(_STOPPING)

    def _work(self, link: Link) -> None:
        """The callbacks' thread."""
        while True:
            line = link.lines.get()
            if isinstance(line.event, Ended):
                if line.event.error is not None:
                    self.fail(line.event.error)
                if link.torn_down:
                    self._framework.pop("id", None)
                return
            if self._link is link:
                self._callbacks.tell(line.event, void=line.losses != link.losses)

    # Calls

    def acceptOffers(self, offer_ids: Any, operations: Sequence[Any], filters: Any = None) -> None:
        """Without operations it is a DECLINE."""
        if not operations:
            self.declineOffer(offer_ids, filters)
            return
        self._call(Accept(_several(offer_ids), list(operations), filters))

    def launchTasks(self, offer_ids: Any, tasks: Sequence[Any], filters: Any = None) -> None:
        """Without tasks it is a DECLINE."""
        operations = [Operation("LAUNCH", launch=Launch(list(tasks)))] if tasks else []
        self.acceptOffers(offer_ids, operations, filters)

    def declineOffer(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(Decline(_several(offer_ids), filters))

    def acceptInverseOffers(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(AcceptInverseOffers(_several(offer_ids), filters))

    def declineInverseOffer(self, offer_ids: Any, filters: Any = None) -> None:
        self._call(DeclineInverseOffers(_several(offer_ids), filters))

    def reviveOffers(self, roles: Sequence[str] = ()) -> None:
        self._call(Revive(list(roles)))

    def suppressOffers(self, roles: Sequence[str] = ()) -> None:
        self._call(Suppress(list(roles)))

    def killTask(self, task_id: Any, *, agent_id: Any = None, kill_policy: Any = None) -> None:
        self._call(Kill(task_id, agent_id, kill_policy))

    def acknowledgeStatusUpdate(self, status: Any) -> None:
        """One without `uuid` needs none."""
        if "uuid" in status:
            self._call(Acknowledge(status["agent_id"], status["task_id"], status["uuid"]))

    def acknowledgeOperationStatusUpdate(self, status: Any) -> None:
        """One without `uuid` or `operation_id` needs none."""
        if "uuid" in status and "operation_id" in status:
            uuid, of = status["uuid"], (status.get("agent_id"), status.get("resource_provider_id"))
            plain = uuid["value"] if isinstance(uuid, dict) else uuid
            self._call(AcknowledgeOperationStatus(plain, status["operation_id"], *of))

    def reconcileTasks(self, tasks: Sequence[Any]) -> None:
        self._call(Reconcile([ReconcileTask(task["task_id"], task.get("agent_id")) for task in tasks]))

    def reconcileOperations(self, operations_: Sequence[Any]) -> None:
        asked = [
            ReconcileOperation(each["operation_id"], each.get("agent_id"), each.get("resource_provider_id"))
            for each in operations_
        ]
        self._call(ReconcileOperations(asked))

    def sendFrameworkMessage(self, executor_id: Any, agent_id: Any, data: Any) -> None:
        self._call(Message(agent_id, executor_id, data))

    def requestResources(self, requests: Sequence[Any]) -> None:
        self._call(Request(list(requests)))

    def _call(self, call: Call) -> None:
        """The bodies are the framework's own dicts: they go out as they are. Raises DriverError."""
        link = self._link
        if link is None:
            raise DriverError(NOT_RUNNING) from NotSubscribed(NOT_RUNNING)
        link.call(call)


def _several(ids: Any) -> list[Any]:
    return [ids] if isinstance(ids, dict) else list(ids)


def _info(framework: dict[str, Any]) -> FrameworkInfo:
    """Raises InvalidInput."""
    try:
        info = msgspec.convert(msgspec.to_builtins(framework), FrameworkInfo)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"the framework is no FrameworkInfo: {error}") from None
    for unknown in unknown_fields(FrameworkInfo, framework, "framework"):
        _log.warning("%s is no field of a FrameworkInfo, and is not sent", unknown)
    return info
