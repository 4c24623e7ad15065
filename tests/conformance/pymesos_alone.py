"""pymesos as it is installed, behind our protocol with nothing mended: the suite's results on it say what it cannot do.

Only two things are kept from it, for they would end the tests and not a case: it does not interrupt the main thread,
and TEARDOWN is not sent when it dies. What it has no method for raises; what it drops, it drops.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    Call,
    Error,
    Event,
    Failure,
    Heartbeat,
    InverseOffers,
    MessageEvent,
    Offers,
    Rescind,
    RescindInverseOffer,
    Subscribe,
    Subscribed,
    Update,
    UpdateOperationStatus,
)
from owmesos.mesos.messages.events import Offer
from owmesos.mesos.pymesos.loading import import_pymesos
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Masters, parse_master
from owmesos.mesos.wire.driver import CallFailed, CallRefused, Disconnected

import_pymesos()

from pymesos import MesosSchedulerDriver, Scheduler, process  # noqa: E402

_CALL_TIMEOUT = 10.0
_REFUSAL = re.compile(r"Failed to send request (\d+): b['\"](.*)['\"]\n")
_METHODS: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "TEARDOWN": lambda driver, said: driver._teardown(),
    "ACCEPT": lambda driver, said: driver.acceptOffers(
        said["offer_ids"], said.get("operations", []), said.get("filters")
    ),
    "DECLINE": lambda driver, said: driver.declineOffer(said["offer_ids"], said.get("filters")),
    "ACCEPT_INVERSE_OFFERS": lambda driver, said: driver.acceptInverseOffers(
        said["inverse_offer_ids"], said.get("filters")
    ),
    "DECLINE_INVERSE_OFFERS": lambda driver, said: driver.declineInverseOffer(
        said["inverse_offer_ids"], said.get("filters")
    ),
    "REVIVE": lambda driver, said: driver.reviveOffers(said.get("roles", ())),
    "SUPPRESS": lambda driver, said: driver.suppressOffers(said.get("roles", ())),
    "KILL": lambda driver, said: driver.killTask(said["task_id"]),
    "ACKNOWLEDGE": lambda driver, said: driver.acknowledgeStatusUpdate(said),
    "ACKNOWLEDGE_OPERATION_STATUS": lambda driver, said: driver.acknowledgeOperationStatusUpdate(said),
    "RECONCILE": lambda driver, said: driver.reconcileTasks(said.get("tasks", [])),
    "RECONCILE_OPERATIONS": lambda driver, said: driver.reconcileOperations(said.get("operations", [])),
    "MESSAGE": lambda driver, said: driver.sendFrameworkMessage(said["executor_id"], said["agent_id"], said["data"]),
    "REQUEST": lambda driver, said: driver.requestResources(said.get("requests", [])),
}


class _Main:
    """In the place of `_thread` in pymesos."""

    @staticmethod
    def interrupt_main() -> None:
        """Not the tests'."""


process.thread = _Main


class PymesosAlone:
    """A `Driver` as far as pymesos goes."""

    def __init__(self, master: str, access: Access, subscription: Subscribe) -> None:
        masters = parse_master(master, credentials_allowed=True)
        if not isinstance(masters, Masters) or masters.addresses[0].scheme != "http":
            raise InvalidInput(f"pymesos does not speak to {master}")
        if subscription.suppressed_roles or subscription.offer_constraints is not None:
            raise InvalidInput("pymesos says neither suppressed roles nor offer constraints")
        self.subscription = subscription
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._caller = ThreadPoolExecutor(1)
        credentials = access.credentials or masters.credentials
        self._driver = MesosSchedulerDriver(
            _Callbacks(self._put),
            msgspec.to_builtins(subscription.framework_info),
            "{0.host}:{0.port}".format(masters.addresses[0]),
            implicit_acknowledgements=False,
            principal=credentials.principal if credentials else None,
            secret=credentials.secret if credentials else None,
            failover=True,
        )
        self._driver._shutdown = lambda: self._put(None)

    @property
    def master(self) -> None:
        """pymesos keeps it to itself."""

    async def events(self) -> AsyncGenerator[Event, None]:
        await asyncio.to_thread(self._driver.start)
        while (event := await self._queue.get()) is not None:
            if isinstance(event, Subscribed):
                info = msgspec.structs.replace(self.subscription.framework_info, id=event.framework_id)
                self.subscription = Subscribe(info)
            yield event

    async def call(self, call: Call) -> None:
        method = _METHODS.get(call.wire_type)
        if method is None:
            raise CallFailed(f"pymesos has no {call.wire_type}")
        try:
            said = self._loop.run_in_executor(self._caller, method, self._driver, msgspec.to_builtins(call))
            await asyncio.wait_for(said, _CALL_TIMEOUT)
        except (RuntimeError, OSError, AssertionError, KeyError, asyncio.TimeoutError) as error:
            refusal = _REFUSAL.match(str(error))
            if refusal is not None:
                raise CallRefused(int(refusal[1]), refusal[2]) from None
            raise CallFailed(str(error)) from None

    async def resubscribe(self, reason: str) -> None:
        raise CallFailed("pymesos does not subscribe anew when it is asked to")

    async def close(self) -> None:
        self._driver.stop(failover=True)
        self._put(None)
        await asyncio.to_thread(self._driver.join)

    def _put(self, event: Event | None) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, event)


class _Callbacks(Scheduler):  # type: ignore[misc]  # pymesos is not typed
    """Each callback is the event again, as far as pymesos hands it on."""

    def __init__(self, put: Callable[[Event], None]) -> None:
        told: dict[str, Callable[..., Event]] = {
            "registered": lambda framework_id, master: Subscribed(ID(framework_id["value"])),
            "disconnected": lambda: Disconnected("disconnected"),
            "processHeartBeat": Heartbeat,
            "resourceOffers": lambda offers: Offers(msgspec.convert(offers, list[Offer])),
            "inverseOffers": lambda offers: msgspec.convert({"inverse_offers": offers}, InverseOffers),
            "offerRescinded": lambda offer_id: Rescind(ID(offer_id["value"])),
            "inverseOfferRescinded": lambda offer_id: RescindInverseOffer(ID(offer_id["value"])),
            "statusUpdate": lambda status: msgspec.convert({"status": status}, Update),
            "operationStatusUpdate": lambda status: msgspec.convert({"status": status}, UpdateOperationStatus),
            "frameworkMessage": lambda executor, agent, data: msgspec.convert(
                {"agent_id": agent, "executor_id": executor, "data": data}, MessageEvent
            ),
            "slaveLost": lambda agent: Failure(ID(agent["value"])),
            "executorLost": lambda executor, agent, status: Failure(ID(agent["value"]), ID(executor["value"]), status),
            "error": Error,
        }
        for name, event in told.items():
            setattr(self, name, _callback(put, event))

    def reregistered(self, driver: Any, master: Any) -> None:
        self.registered(driver, {"value": driver.framework_id}, master)


def _callback(put: Callable[[Event], None], event: Callable[..., Event]) -> Callable[..., None]:
    return lambda driver, *arguments: put(event(*arguments))
