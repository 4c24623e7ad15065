"""A Kafka invoker between a Controller's test program, a database and a simulated cluster: all but Mesos is real."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.kafka import KafkaInvoker
from owmesos.invoker.kafka_settings import CouchSettings, InvokerSettings
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.messages import EntityName, invoker_id
from owmesos.service.framework import Framework
from tests.openwhisk.controller import Controller, Invocation, Invokable, NoInvoker, health_action
from tests.openwhisk.documents import action_document
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import Outcome, State
from tests.waiting import eventually_async

ECHO = "def main(args):\n    return {'got': args}"
PATIENCE = 60.0  # seconds; the machine may be busy
EVERY = 0.05  # seconds between two calls of `load`


class Scene:
    """All that there is of one test. `couch_url` is what the invoker is told of the database."""

    def __init__(self, broker: Broker, couch: Couch, master: str, controller: Controller) -> None:
        self.broker = broker
        self.couch = couch
        self.couch_url = couch.url
        self.master = master
        self.controller = controller
        self.asked: list[Invocation] = []

    async def deploy(
        self,
        name: str = "hello",
        code: Any = ECHO,
        *,
        kind: str = "python:3",
        memory: int = 128,
        timeout: int = 60_000,
        logs: int = 0,
        concurrency: int = 1,
    ) -> Invokable:
        """An action of `guest`'s, and what its Controller knows of it."""
        document = action_document(name=name, code=code)
        document["exec"]["kind"] = kind
        document["parameters"] = []
        document["limits"] = {"timeout": timeout, "memory": memory, "logs": logs, "concurrency": concurrency}
        revision = await self.couch.put_action(document)
        return Invokable(
            entity=EntityName("guest", name, "0.0.1"),
            revision=revision,
            memory=memory,
            timeout=timeout / 1000,
            concurrency=concurrency,
        )

    async def deploy_exec(self, name: str, exec_: dict[str, Any], attachments: Any = None) -> Invokable:
        """An action whose document says of its code what `exec_` says."""
        document = {**action_document(name=name), "exec": exec_, "parameters": []}
        document["limits"] = {"timeout": 60_000, "memory": 128, "logs": 0}
        if attachments is not None:
            document["_attachments"] = attachments
        revision = await self.couch.put_action(document)
        return Invokable(entity=EntityName("guest", name, "0.0.1"), revision=revision, memory=128)

    def invoke(self, action: Invokable, content: Any = None, *, blocking: bool = True, **more: Any) -> Invocation:
        self.asked.append(self.controller.invoke(action, content, blocking=blocking, **more))
        return self.asked[-1]

    async def invoke_once_it_can(
        self, action: Invokable, content: Any, *, blocking: bool, most: int, timeout: float, interval: float
    ) -> None:
        """As soon as fewer than `most` are open and an invoker is usable."""

        def invoked() -> bool:
            if len(self.controller.under_way) >= most:
                return False
            try:
                self.invoke(action, content, blocking=blocking)
            except NoInvoker:
                return False
            return True

        await eventually_async(invoked, timeout, interval=interval)

    def ended(self) -> list[Invocation]:
        return [each for each in self.asked if each.slot.done()]

    async def response(self, action: Invokable, content: Any = None, **more: Any) -> dict[str, Any]:
        """The answer to a blocking one, when its slot is free too."""
        invocation = self.invoke(action, content, **more)
        answer = await asyncio.wait_for(invocation.answer, PATIENCE)
        await asyncio.wait_for(invocation.slot, PATIENCE)
        response: dict[str, Any] = answer["response"]
        return response

    async def becomes(self, state: State, timeout: float = PATIENCE) -> None:
        await eventually_async(lambda: self.controller.state(0) is state, timeout, what=f"invoker0 is {state.value}")

    async def all_ended(self, timeout: float = PATIENCE) -> dict[str, Outcome]:
        """How their slots became free, by activation."""
        await eventually_async(lambda: all(each.slot.done() for each in self.asked), timeout, what="every slot is free")
        return {each.id: each.slot.result() for each in self.asked}

    async def recorded(self, timeout: float = PATIENCE) -> dict[str, Any]:
        """The records, when all that was asked has one."""

        async def found() -> dict[str, Any] | None:
            records = await self.couch.records()
            return records if all(each.id in records for each in self.asked) else None

        records = await eventually_async(found, timeout, interval=0.1, what="every activation has a record")
        assert records is not None
        return records

    def accounts_are_right(self) -> None:
        """Each was acknowledged once, and every slot is given back."""
        assert [each.id for each in self.asked if self.controller.completions[each.id] != 1] == []
        assert self.controller.late == []
        assert self.controller.forced == set()
        assert self.controller.all_free

    # -- the invoker

    def settings(self, **changes: Any) -> InvokerSettings:
        names = self.couch.names
        usual = InvokerSettings(
            invoker=invoker_id(0, unique_name="u"),
            broker=self.broker,
            couch=CouchSettings(url=self.couch_url, databases=names),
            manifest=embedded_manifest(),
            pool=PoolSettings(max_wait=20.0),
            drain=10.0,
        )
        return msgspec.structs.replace(usual, **changes)

    @asynccontextmanager
    async def invoker(self, *, healthy: bool = True, **changes: Any) -> AsyncIterator[Running]:
        """It runs, and the Controller trusts it."""
        work = KafkaInvoker(self.settings(**changes))
        framework = Framework(master=self.master, name="kafka", pool=work.pool)
        await framework.start()
        running = Running(work, framework)
        try:
            await work.start(framework)
            if healthy:
                await self.becomes(State.HEALTHY)
            yield running
        finally:
            await running.close()
            await framework.stop(teardown=True)


class Running:
    """An invoker that runs."""

    def __init__(self, work: KafkaInvoker, framework: Framework) -> None:
        self.work = work
        self.framework = framework
        self._closed = False

    async def close(self) -> None:
        """Once."""
        if not self._closed:
            self._closed = True
            await self.work.close()

    def active(self) -> int:
        return sum(row["active"] for row in self.framework.containers())


@asynccontextmanager
async def scene(broker: Broker, couch: Couch, master: str, **more: Any) -> AsyncIterator[Scene]:
    """`more` is for the Controller."""
    await couch.put_action(health_action())
    async with Controller(broker, **more) as controller:
        yield Scene(broker, couch, master, controller)


def error_of(response: dict[str, Any]) -> str:
    return str(response["result"]["error"])


def result(response: dict[str, Any]) -> Any:
    assert response["statusCode"] == 0, json.dumps(response)
    return response["result"]


@asynccontextmanager
async def load(world: Scene, action: Invokable) -> AsyncIterator[Counter[str]]:
    """A call each `EVERY` seconds: how many were sent, how many after the first that was refused, and how many were."""
    counts: Counter[str] = Counter()

    async def call() -> None:
        for number in range(100_000):
            try:
                world.invoke(action, {"n": number}, blocking=number % 2 == 0)
                counts["sent"] += 1
                counts["after"] += bool(counts["refused"])
            except NoInvoker:
                counts["refused"] += 1
            await asyncio.sleep(EVERY)

    calling = asyncio.create_task(call())
    try:
        yield counts
    finally:
        calling.cancel()
        await asyncio.gather(calling, return_exceptions=True)
