"""Which callback an event is, and what becomes of one that raises."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from owmesos.compat.pymesos.interface import Scheduler
from owmesos.compat.pymesos.link import DriverError, GivenUp, RawEvent
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.driver import Disconnected, SubscribeRefused
from owmesos.mesos.messages import Event, Heartbeat, Subscribed

if TYPE_CHECKING:
    from owmesos.compat.pymesos.driver import MesosSchedulerDriver

_log = logging.getLogger("owmesos.compat.pymesos")
_FINAL = ("Framework failed over", "Framework has been removed")
_OF_OFFERS = frozenset({"OFFERS", "INVERSE_OFFERS", "RESCIND", "RESCIND_INVERSE_OFFER"})


class SubscriptionEnded(OwmesosError, RuntimeError):
    """No master will have this framework, as it is; `join` raises it."""


class Callbacks:
    """Tells a scheduler what happens, one thing at a time."""

    def __init__(self, driver: MesosSchedulerDriver, scheduler: Scheduler, *, use_addict: bool) -> None:
        """Raises InvalidInput where addict is wanted and is not there."""
        self.version: str | None = None
        self._driver = driver
        self._scheduler = scheduler
        self._message = _addict() if use_addict else dict
        self._subscribed = False
        self._ever = False
        self._told: dict[str, Callable[[dict[str, Any]], None]] = {
            "OFFERS": self._offers,
            "INVERSE_OFFERS": self._inverse_offers,
            "RESCIND": self._rescind,
            "RESCIND_INVERSE_OFFER": self._rescind_inverse_offer,
            "UPDATE": self._update,
            "UPDATE_OPERATION_STATUS": self._update_operation_status,
            "MESSAGE": self._executors_message,
            "FAILURE": self._failure,
            "ERROR": self._error,
        }

    def tell(self, event: Event, *, void: bool) -> None:
        """`void`: the subscription that it came in is lost, and with it all offers."""
        if isinstance(event, RawEvent):
            if not (void and event.type in _OF_OFFERS):
                self._told[event.type](event.fields)
        elif isinstance(event, Heartbeat):
            self._call("processHeartBeat")
        elif isinstance(event, Subscribed):
            self._on_subscribed(event)
        elif isinstance(event, Disconnected):
            if self._subscribed:
                self._subscribed = False
                self._call("disconnected")
        elif isinstance(event, SubscribeRefused):
            self._refused(f"SUBSCRIBE is refused ({event.status}): {event.reason}")
        elif isinstance(event, GivenUp):
            self._fail(event.reason)

    def _call(self, name: str, *arguments: Any) -> bool:
        """Whether the callback returned. What it raises is its own fault, and ends nothing but itself."""
        try:
            getattr(self._scheduler, name)(self._driver, *arguments)
        except Exception:  # noqa: BLE001  (whatever a framework raises)
            _log.exception("the callback %s raised; the framework goes on", name)
            return False
        except BaseException as error:  # noqa: BLE001  (SystemExit above all: it wants the program's end)
            _log.warning("the callback %s raised %s; the driver ends, and tasks live on", name, type(error).__name__)
            self._driver.fail(error)
            return False
        return True

    def _on_subscribed(self, event: Subscribed) -> None:
        known = self._driver.framework_id is not None
        self._driver.framework_id = event.framework_id.value
        self._subscribed = self._ever = True
        info = event.master_info
        self.version = info.version if info is not None else None
        host, _, port = (self._driver.master or "").rpartition(":")
        master = {"hostname": host, "port": int(port or 0), **({"version": self.version} if self.version else {})}
        if known:
            self._call("reregistered", self._message(master))
        else:
            self._call("registered", self._message(value=event.framework_id.value), self._message(master))

    def _offers(self, fields: dict[str, Any]) -> None:
        if offers := fields.get("offers"):
            self._call("resourceOffers", [self._message(offer) for offer in offers])

    def _inverse_offers(self, fields: dict[str, Any]) -> None:
        if offers := fields.get("inverse_offers"):
            self._call("inverseOffers", [self._message(offer) for offer in offers])

    def _rescind(self, fields: dict[str, Any]) -> None:
        self._call("offerRescinded", self._message(fields["offer_id"]))

    def _rescind_inverse_offer(self, fields: dict[str, Any]) -> None:
        self._call("inverseOfferRescinded", self._message(fields["inverse_offer_id"]))

    def _update(self, fields: dict[str, Any]) -> None:
        status = fields["status"]
        if self._call("statusUpdate", self._message(status)):
            self._acknowledge(self._driver.acknowledgeStatusUpdate, status)

    def _update_operation_status(self, fields: dict[str, Any]) -> None:
        status = fields["status"]
        if self._call("operationStatusUpdate", self._message(status)):
            self._acknowledge(self._driver.acknowledgeOperationStatusUpdate, status)

    def _acknowledge(self, acknowledge: Callable[[Any], None], status: dict[str, Any]) -> None:
        if not self._driver.implicit_acknowledgements:
            return
        try:
            acknowledge(status)
        except DriverError as error:
            _log.info("an update is not acknowledged, and comes again: %s", error)

    def _executors_message(self, fields: dict[str, Any]) -> None:
        executor_id, agent_id = self._message(fields["executor_id"]), self._message(fields["agent_id"])
        self._call("frameworkMessage", executor_id, agent_id, fields["data"])

    def _failure(self, fields: dict[str, Any]) -> None:
        agent_id = self._message(fields.get("agent_id", {}))
        if "executor_id" in fields:
            self._call("executorLost", self._message(fields["executor_id"]), agent_id, fields.get("status"))
        else:
            self._call("slaveLost", agent_id)

    def _error(self, fields: dict[str, Any]) -> None:
        message = fields["message"]
        if message.startswith(_FINAL):
            self._fail(message)
        else:
            self._refused(message)

    def _refused(self, reason: str) -> None:
        """At the start it is the framework's fault, later the master's: then it is tried again."""
        if self._ever:
            _log.warning("%s; trying again", reason)
            self._call("error", reason)
        else:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._driver.fail(SubscriptionEnded(reason))
        self._call("error", reason)


def _addict() -> Any:
    try:
        from addict import Dict
    except ImportError:
        raise InvalidInput("use_addict needs addict: pip install addict") from None
    return Dict
