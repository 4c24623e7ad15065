"""What `LaunchHandle` says of a launch, whatever the master tells of its task and in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

import owmesos
from owmesos.mesos.messages import (
    ID,
    URL,
    Accept,
    Address,
    AllocationInfo,
    Call,
    Event,
    Offer,
    Offers,
    Resource,
    Scalar,
    Subscribe,
    Subscribed,
    TaskStatus,
    Update,
)
from owmesos.service.errors import LaunchFailed
from owmesos.service.launch_requests import LaunchHandle
from tests.waiting import eventually_async


class Told:
    """A driver that says what it is told to say, and takes every call."""

    def __init__(self, subscription: Subscribe) -> None:
        self.subscription = subscription
        self.calls: list[Call] = []
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()

    @property
    def master(self) -> None:
        """It has no address."""

    def say(self, event: Event) -> None:
        self._events.put_nowait(event)

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def call(self, call: Call, *, sending: Callable[[], None] | None = None) -> None:
        self.calls.append(call)

    async def resubscribe(self, reason: str) -> None:
        raise AssertionError(f"subscribed anew: {reason}")

    async def close(self) -> None:
        self._events.put_nowait(None)


class Scene:
    """A framework with one launch that was accepted."""

    def __init__(self, framework: owmesos.Framework, driver: Told, launch: LaunchHandle) -> None:
        self.framework, self.driver, self.launch = framework, driver, launch

    def says(self, state: str, reason: str | None = None) -> None:
        self.driver.say(Update(TaskStatus(ID(f"{self.launch.id}.1"), state, reason=reason, agent_id=ID("S1"))))


async def accepted(framework: owmesos.Framework, driver: Told, **asked: object) -> Scene:
    driver.say(Subscribed(ID("F")))
    launch = await framework.launch(owmesos.Launch(command="true", **asked))  # type: ignore[arg-type]
    resources = [
        Resource(name, "SCALAR", scalar=Scalar(amount), allocation_info=AllocationInfo("*"))
        for name, amount in (("cpus", 4.0), ("mem", 4096.0))
    ]
    offer = Offer(
        ID("O1"),
        ID("F"),
        ID("S1"),
        "h1",
        url=URL("http", Address(5051, hostname="h1", ip="127.0.0.1")),
        resources=resources,
        allocation_info=AllocationInfo("*"),
    )
    driver.say(Offers([offer]))
    await eventually_async(lambda: any(isinstance(call, Accept) for call in driver.calls), what="an ACCEPT")
    return Scene(framework, driver, launch)


@pytest.fixture
async def framework() -> AsyncIterator[tuple[owmesos.Framework, Told]]:
    made: list[Told] = []

    def driver(subscription: Subscribe) -> Told:
        made.append(Told(subscription))
        return made[-1]

    async with owmesos.Framework(master="127.0.0.1:1", driver=driver) as framework:
        yield framework, made[0]


async def test_a_task_that_finished_has_run_though_it_was_never_told_to_run(
    framework: tuple[owmesos.Framework, Told],
) -> None:
    scene = await accepted(*framework)
    scene.says("TASK_FINISHED")
    assert (await scene.launch.running())["state"] == "FINISHED"
    assert (await scene.launch.ended())["reason"] is None


async def test_running_gives_up_at_the_deadline_and_ended_tells_what_the_master_tells(
    framework: tuple[owmesos.Framework, Told],
) -> None:
    scene = await accepted(*framework, deadline=0.2)
    scene.says("TASK_STARTING")
    with pytest.raises(LaunchFailed, match=r"is STAGING: not seen running within 0\.2 s"):
        await scene.launch.running()
    scene.says("TASK_FINISHED")
    end = await scene.launch.ended()
    assert (end["state"], end["overdue"]) == ("FINISHED", True)
    assert end["late_s"] > 0
