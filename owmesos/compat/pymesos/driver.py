"""pymesos's driver on the wire of owmesos: its calls wait for their answers, its callbacks have a thread of their own.

So a slow callback delays the next one, but neither heartbeats nor the watchdog; one that raises is logged; and offers
that became void before a callback could see them are not shown.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, MutableMapping
from typing import Any

import msgspec

from owmesos.compat.pymesos.interface import Scheduler, SchedulerDriver
from owmesos.compat.pymesos.link import NOT_RUNNING, DriverError, GivenUp, Link, LinkEnded, RawEvent
from owmesos.errors import InvalidInput, OwmesosError
from owmesos.mesos.messages import Call, Event, FrameworkInfo, Heartbeat, Subscribe, Subscribed, unknown_fields
from owmesos.mesos.scheduler.settings import Settings, checked_connect_timeout
from owmesos.mesos.wire.access import Access, Tls
from owmesos.mesos.wire.address import Credentials, parse_master
from owmesos.mesos.wire.detector import access_for
from owmesos.mesos.wire.driver import Disconnected, NotSubscribed, SubscribeRefused

_log = logging.getLogger("owmesos.compat.pymesos")
_DAY = 86400  # seconds
_FAILOVER_TIMEOUT = 100.0  # pymesos's
_STOPPING = 15.0  # seconds; that `stop` waits: TEARDOWN's 10, and some to disconnect
_FINAL = ("Framework failed over", "Framework has been removed")
_OF_OFFERS = frozenset({"OFFERS", "INVERSE_OFFERS", "RESCIND", "RESCIND_INVERSE_OFFER"})


class SubscriptionEnded(OwmesosError, RuntimeError):
    """No master accepts this framework. Raised by `join`."""


class Callbacks:
    """Calls a scheduler's callbacks, one at a time."""

    def __init__(self, driver: MesosSchedulerDriver, scheduler: Scheduler, *, use_addict: bool) -> None:
        """Raises InvalidInput if addict is wanted and not installed."""
        self.version: str | None = None
        self._driver = driver
        self._scheduler = scheduler
        self._message = _addict() if use_addict else dict
        self._subscribed = False
        self._ever = False
        message = self._message
        self._by_type: dict[str, Callable[[dict[str, Any]], object]] = {
            "OFFERS": lambda of: self._offers("resourceOffers", of.get("offers")),
            "INVERSE_OFFERS": lambda of: self._offers("inverseOffers", of.get("inverse_offers")),
            "RESCIND": lambda of: self._call("offerRescinded", message(of["offer_id"])),
            "RESCIND_INVERSE_OFFER": lambda of: self._call("inverseOfferRescinded", message(of["inverse_offer_id"])),
            "UPDATE": lambda of: self._update("statusUpdate", of["status"], driver.acknowledgeStatusUpdate),
            "UPDATE_OPERATION_STATUS": lambda of: self._update(
                "operationStatusUpdate", of["status"], driver.acknowledgeOperationStatusUpdate
            ),
            "MESSAGE": lambda of: self._call(
                "frameworkMessage", message(of["executor_id"]), message(of["agent_id"]), of["data"]
            ),
            "FAILURE": self._failure,
            "ERROR": lambda of: self._error(of["message"]),
        }

    def deliver(self, event: Event, *, void: bool) -> None:
        """`void`: the subscription that the event came in is lost, and all of its offers are void."""
        if isinstance(event, RawEvent):
            if not (void and event.type in _OF_OFFERS):
                self._by_type[event.type](event.fields)
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
        """Whether the callback returned."""
        try:
            getattr(self._scheduler, name)(self._driver, *arguments)
        except Exception:  # noqa: BLE001  (whatever a framework raises)
            _log.exception("the callback %s raised; the framework goes on", name)
            return False
        except BaseException as error:  # noqa: BLE001  (SystemExit above all, which is to end the program)
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

    def _offers(self, callback: str, offers: list[dict[str, Any]] | None) -> None:
        if offers:
            self._call(callback, [self._message(offer) for offer in offers])

    def _update(self, callback: str, status: dict[str, Any], acknowledge: Callable[[Any], None]) -> None:
        if not self._call(callback, self._message(status)) or not self._driver.implicit_acknowledgements:
            return
        try:
            acknowledge(status)
        except DriverError as error:
            _log.info("an update was not acknowledged and will come again: %s", error)

    def _failure(self, fields: dict[str, Any]) -> None:
        agent_id = self._message(fields.get("agent_id", {}))
        if "executor_id" in fields:
            self._call("executorLost", self._message(fields["executor_id"]), agent_id, fields.get("status"))
        else:
            self._call("slaveLost", agent_id)

    def _error(self, message: str) -> None:
        if message.startswith(_FINAL):
            self._fail(message)
        else:
            self._refused(message)

    def _refused(self, reason: str) -> None:
        """At the start this is the framework's fault; later it is the master's, and the driver tries again."""
        if self._ever:
            _log.warning("%s; trying again", reason)
            self._call("error", reason)
        else:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        self._driver.fail(SubscriptionEnded(reason))
        self._call("error", reason)


class MesosSchedulerDriver(SchedulerDriver):
    """`framework` is a FrameworkInfo as a dict, or addict's; its `id` is set when a master assigns one."""

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
        connect_timeout: float = Settings().connect_timeout,
        tls: Tls | None = None,
    ) -> None:
        """`master_uri`: `host[:port][,…]`, `https://…` or `zk://[user:password@]host:port[,…]/path`. `timeout`: seconds
        without a subscription after which it gives up. `connect_timeout`: the same at the start, if what answers is not
        a Mesos master, or one that is still starting (404).

        Raises InvalidInput.
        """
        self.sched = sched
        self.master_uri = master_uri
        self.implicit_acknowledgements = implicit_acknowledgements
        self._framework = framework
        self._masters = parse_master(
            master_uri.replace("zoo://", "zk://", 1), credentials_allowed=True, tls=tls is not None
        )
        self._access = access_for(self._masters, Access(Credentials.given(principal, secret), tls or Tls()))
        self._failover = failover
        self._timeout = timeout
        self._connect_timeout = checked_connect_timeout(connect_timeout)
        self._callbacks = Callbacks(self, sched, use_addict=use_addict)
        self._link: Link | None = None
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None
        _info(self.framework)

    @property
    def framework(self) -> dict[str, Any]:
        """As masters get it."""
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
        """`host:port` of the master that accepted the subscription."""
        address = self._link.master if self._link is not None else None
        return f"{address.host}:{address.port}" if address is not None else None

    @property
    def version(self) -> str | None:
        """That of the last master, if known."""
        return self._callbacks.version

    @property
    def connected(self) -> bool:
        return self.master is not None

    @property
    def aborted(self) -> bool:
        """Whether it does not run."""
        return self._link is None

    def start(self) -> None:
        """Raises InvalidInput if the framework is not a valid FrameworkInfo."""
        if self._link is not None:
            _log.warning("the driver has already been started")
            return
        self.join()
        subscription = Subscribe(_info(self.framework))
        self._link = Link(
            self._masters,
            subscription,
            self._access,
            timeout=self._timeout,
            connect_timeout=self._connect_timeout,
        )
        self._link.start()
        self._thread = threading.Thread(
            target=self._work, args=[self._link], name="owmesos-pymesos-callbacks", daemon=True
        )
        self._thread.start()

    def stop(self, failover: bool = False) -> None:
        """Returns when TEARDOWN is answered or 10 s have passed; in a callback at once."""
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

    def fail(self, failure: BaseException) -> None:
        """Ends the driver without TEARDOWN; `join` raises `failure`."""
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
            event, losses = link.lines.get()
            if isinstance(event, LinkEnded):
                if event.error is not None:
                    self.fail(event.error)
                if link.torn_down:
                    self._framework.pop("id", None)
                return
            if self._link is link:
                self._callbacks.deliver(event, void=losses != link.losses)

    def _call(self, call: Call) -> None:
        link = self._link
        if link is None:
            raise DriverError(NOT_RUNNING) from NotSubscribed(NOT_RUNNING)
        link.call(call)


def _info(framework: dict[str, Any]) -> FrameworkInfo:
    """Raises InvalidInput."""
    try:
        info = msgspec.convert(msgspec.to_builtins(framework), FrameworkInfo)
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidInput(f"the framework is not a valid FrameworkInfo: {error}") from None
    for unknown in unknown_fields(FrameworkInfo, framework, "framework"):
        _log.warning("%s is not a field of FrameworkInfo, and is not sent", unknown)
    return info


def _addict() -> Any:
    try:
        from addict import Dict
    except ImportError:
        raise InvalidInput("use_addict needs addict: pip install addict") from None
    return Dict
