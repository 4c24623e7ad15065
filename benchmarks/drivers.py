"""The two drivers side by side, and pymesos by itself, against a master in another process on loopback.

Offers: 1,000 in each OFFERS event, to typed messages that have been gone through. Calls: DECLINE, each awaited before
the next. OFFERS to ACCEPT: from the master's writing one offer to its having read the ACCEPT that a framework sends at
once, at the master's clock. Resubscriptions: SUBSCRIBEs within 2 s at a master that answers 503. By itself means
pymesos's own MesosSchedulerDriver as it is installed, with plain dicts: without typed messages, outcomes of calls or a
watchdog.
"""

from __future__ import annotations

import asyncio
import logging
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from benchmarks.row import Row
from benchmarks.scheduler_api import Running, running
from owmesos.mesos.messages import (
    ID,
    Accept,
    CommandInfo,
    Decline,
    Event,
    FrameworkInfo,
    Heartbeat,
    LaunchOperation,
    Offers,
    Operation,
    Subscribe,
    Subscribed,
    TaskInfo,
)
from owmesos.mesos.pymesos.driver import pymesos_driver
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import Driver
from owmesos.mesos.wire.http_driver import HttpDriver

SIZE = 1000
RESUBSCRIBING = 2.0
Build = Callable[[str, Subscribe], Driver]
Scenario = Callable[[Running, int], float]


def http(master: str, subscription: Subscribe) -> Driver:
    return HttpDriver(detector_for(parse_master(master, credentials_allowed=False)), subscription)


def on_pymesos(master: str, subscription: Subscribe) -> Driver:
    return pymesos_driver(master, Access())(subscription)


async def _drive(
    build: Build, master: Running, name: str, told: Callable[[Driver, Event], Any], seconds: float | None = None
) -> None:
    """Until `told` returns something, or for so long."""
    driver = build(master.address, Subscribe(FrameworkInfo("bench", name)))

    async def follow() -> None:
        async for event in driver.events():
            answer = told(driver, event)
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return

    try:
        await asyncio.wait_for(follow(), seconds)
    except asyncio.TimeoutError:
        pass  # the time is over
    finally:
        await driver.close()


def offers_a_second(build: Build) -> Scenario:
    def measure(master: Running, events: int) -> float:
        seen: list[tuple[float, int]] = []

        def told(driver: Driver, event: Event) -> bool:
            if isinstance(event, Subscribed):
                seen.append((time.perf_counter(), 0))
            elif isinstance(event, Offers):
                seen.append((time.perf_counter(), len(list(event.offers))))
            return isinstance(event, Heartbeat)

        asyncio.run(_drive(build, master, f"offers:{events}:{SIZE}", told))
        return sum(count for _, count in seen) / (time.perf_counter() - seen[0][0])

    return measure


def calls_a_second(build: Build) -> Scenario:
    def measure(master: Running, calls: int) -> float:
        took = 0.0

        async def told(driver: Driver, event: Event) -> bool:
            nonlocal took
            begun = time.perf_counter()
            for number in range(calls):
                await driver.call(Decline([ID(f"offer-{number}")]))
            took = time.perf_counter() - begun
            return True

        asyncio.run(_drive(build, master, "calls", told))
        return calls / took

    return measure


def accept_ms(build: Build) -> Scenario:
    def measure(master: Running, rounds: int) -> float:
        task = TaskInfo(name="t", task_id=ID("t"), agent_id=ID("S"), command=CommandInfo(value="true"))
        launch = [Operation("LAUNCH", launch=LaunchOperation([task]))]
        accepted = 0

        async def told(driver: Driver, event: Event) -> bool:
            nonlocal accepted
            if isinstance(event, Offers):
                await driver.call(Accept([offer.id for offer in event.offers], launch))
                accepted += 1
            return accepted >= rounds

        asyncio.run(_drive(build, master, f"accepts:{rounds}", told))
        master.end()
        return statistics.median(master.accept_ms)

    return measure


def resubscriptions(build: Build) -> Scenario:
    def measure(master: Running, _: int) -> float:
        asyncio.run(_drive(build, master, "unavailable", lambda *_: False, RESUBSCRIBING))
        master.end()
        return master.subscribes

    return measure


class Alone:
    """pymesos as it is installed. Its callbacks come on its own thread."""

    def __init__(self, master: Running, name: str) -> None:
        from pymesos import MesosSchedulerDriver, Scheduler

        self.done = threading.Event()
        self.sched = Scheduler()
        framework = {"user": "bench", "name": name}
        self.driver = MesosSchedulerDriver(self.sched, framework, master.address, failover=True, timeout=60)

    def run(self, seconds: float = 60.0) -> None:
        self.driver.start()
        self.done.wait(seconds)
        self.driver.stop(failover=True)
        self.driver.join()


def alone_offers(master: Running, events: int) -> float:
    alone = Alone(master, f"offers:{events}:{SIZE}")
    seen: list[float] = []
    alone.sched.registered = lambda *_: seen.append(time.perf_counter())
    alone.sched.processHeartBeat = lambda *_: alone.done.set()
    alone.run()
    return events * SIZE / (time.perf_counter() - seen[0])


def alone_calls(master: Running, calls: int) -> float:
    alone = Alone(master, "calls")
    took: list[float] = []

    def registered(driver: Any, *_: Any) -> None:
        begun = time.perf_counter()
        for number in range(calls):
            driver.declineOffer({"value": f"offer-{number}"})
        took.append(time.perf_counter() - begun)
        alone.done.set()

    alone.sched.registered = registered
    alone.run()
    return calls / took[0]


def alone_accepts(master: Running, rounds: int) -> float:
    alone = Alone(master, f"accepts:{rounds}")
    task = {"name": "t", "task_id": {"value": "t"}, "agent_id": {"value": "S"}, "command": {"value": "true"}}
    accepted = 0

    def offers(driver: Any, offers: list[Any]) -> None:
        nonlocal accepted
        driver.launchTasks([offer["id"] for offer in offers], [task])
        accepted += 1
        if accepted >= rounds:
            alone.done.set()

    alone.sched.resourceOffers = offers
    alone.run()
    master.end()
    return statistics.median(master.accept_ms)


def alone_resubscriptions(master: Running, _: int) -> float:
    Alone(master, "unavailable").run(RESUBSCRIBING)
    master.end()
    return master.subscribes


def run(quick: bool = False) -> list[Row]:
    table: list[tuple[str, str, int, Callable[[Build], Scenario], Scenario]] = [
        ("offers a second", "/s", 5 if quick else 60, offers_a_second, alone_offers),
        ("calls a second", "/s", 200 if quick else 5000, calls_a_second, alone_calls),
        ("OFFERS to ACCEPT, median", "ms", 20 if quick else 500, accept_ms, alone_accepts),
        ("SUBSCRIBEs in 2 s, answered 503", "", 0, resubscriptions, alone_resubscriptions),
    ]
    logging.getLogger("owmesos").setLevel(logging.ERROR)  # of 503 all is known
    rows = []
    for name, unit, amount, make, alone in table:
        results = []
        for scenario in (make(http), make(on_pymesos), alone):
            with running() as master:
                results.append(scenario(master, amount))
        for against, other in zip(("driver pymesos", "pymesos by itself"), results[1:], strict=True):
            rows.append(Row(name=name, ours=results[0], unit=unit, against=against, other=other))
    return rows
