"""A Controller's side of Kafka, for tests: it does to an invoker what OpenWhisk's own does.

It sends activations to invokers that it holds for healthy, frees their slots when they are acknowledged, forces the
completion of those that are not, tests invokers that it holds for sick, and keeps books of everything, so that a test
can ask whether each activation was acknowledged exactly once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, Literal

import msgspec
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.messages import (
    HEALTH_TRANSACTION,
    Acknowledgement,
    ActivationMessage,
    Combined,
    Completion,
    ControllerId,
    EntityName,
    Identity,
    Namespace,
    Ping,
    Result,
    transaction_name,
)
from owmesos.openwhisk.sizes import parse_megabytes
from owmesos.system.lone_surrogates import Decoder, encode
from tests.openwhisk.slots import Slots, choose, home
from tests.openwhisk.supervision import Outcome, State, Supervision

_log = logging.getLogger("tests.controller")
SYSTEM = "whisk.system"


def decode_acknowledgement(data: bytes) -> Acknowledgement:
    """Selects the type by the presence of `instance` (in 1.0 `invoker`) and `response`. Raises MsgspecError."""
    keys = Decoder(dict[str, msgspec.Raw]).decode(data).keys()
    if keys.isdisjoint({"instance", "invoker"}):
        return Decoder(Result).decode(data)
    return Decoder(Combined).decode(data) if "response" in keys else Decoder(Completion).decode(data)


class NoInvoker(Exception):
    """503: no invoker is usable."""


class Invokable(msgspec.Struct, frozen=True, kw_only=True):
    """What a Controller knows of an action. `timeout` in seconds, `memory` in MB."""

    entity: EntityName
    revision: str | None = None
    memory: int = 256
    timeout: float = 60.0
    concurrency: int = 1


class Invocation:
    """One activation. `answer` is the result of a blocking one; `slot` tells how its slot became free."""

    def __init__(self, action: Invokable, message: ActivationMessage, invoker: int) -> None:
        loop = asyncio.get_running_loop()
        self.action = action
        self.message = message
        self.invoker = invoker
        self.sent_at = time.monotonic()
        self.answer: asyncio.Future[Any] = loop.create_future()
        self.slot: asyncio.Future[Outcome] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None
        if not message.blocking:
            self.answer.set_result(message.activation_id)

    @property
    def id(self) -> str:
        return self.message.activation_id


class Controller:
    """Use it as `async with`. `timeout_factor` and `timeout_more` (seconds) are when a completion is forced.

    OpenWhisk's `acks` is 1: what only a broker that dies has is lost before an invoker sees it.
    """

    def __init__(
        self,
        broker: Broker,
        name: str = "0",
        *,
        timeout_factor: float = 2.0,
        timeout_more: float = 60.0,
        acks: Literal[1, "all"] = 1,
    ) -> None:
        self.id = ControllerId(name, "controller")
        self.broker = broker
        self.supervision = Supervision(self.test)
        self.slots: list[Slots] = []
        self.under_way: dict[str, Invocation] = {}
        self.answers: dict[str, Invocation] = {}  # blocking ones that have none yet
        self.completions: Counter[str] = Counter()  # acknowledgements that free a slot, by activation
        self.results: Counter[str] = Counter()
        self.forced: set[str] = set()
        self.late: list[str] = []  # acknowledged after they were forced, or once more
        self.tests: dict[str, Outcome | None] = {}
        self.pings: Counter[int] = Counter()
        self._timeout = (timeout_factor, timeout_more)
        self._acks = acks
        self._user = _identity(SYSTEM)
        self._stopping = threading.Event()
        self._producer: KafkaProducer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Controller:
        self._loop = asyncio.get_running_loop()
        topics = [self.broker.completed_topic(self.id.as_string), self.broker.health_topic()]
        await asyncio.to_thread(self.broker.ensure, topics)
        self._producer = await asyncio.to_thread(self.broker.producer, client_id="controller", acks=self._acks)
        read: Mapping[str, Callable[[bytes], None]] = {
            topics[0].name: self._acknowledged,
            topics[1].name: self._pinged,
        }
        self._threads = [threading.Thread(target=self._read, args=item, daemon=True) for item in read.items()]
        for thread in self._threads:
            thread.start()
        self._tasks.append(asyncio.create_task(self._tick()))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping.set()
        for task in self._tasks:
            task.cancel()
        for invocation in self.under_way.values():
            if invocation.timer is not None:
                invocation.timer.cancel()
        for thread in self._threads:
            await asyncio.to_thread(thread.join)
        assert self._producer is not None
        await asyncio.to_thread(self._producer.close, 5)

    # -- what a test asks

    def invoke(
        self,
        action: Invokable,
        content: Any = None,
        *,
        blocking: bool = False,
        user: str = "guest",
        **more: Any,
    ) -> Invocation:
        """Raises NoInvoker."""
        usable = [state.usable for state in self.supervision.states()]
        start = home(user, action.entity.document_id)
        number = choose(start, usable, lambda index, force: self._acquire(index, action, force))
        if number is None:
            raise NoInvoker(f"invokers: {[state.value for state in self.supervision.states()]}")
        message = self._message(action, content, blocking=blocking, user=_identity(user), **more)
        invocation = Invocation(action, message, number)
        self.under_way[invocation.id] = invocation
        if blocking:
            self.answers[invocation.id] = invocation
        factor, added = self._timeout
        after = max(action.timeout, 60.0) * factor + added
        invocation.timer = self._loop.call_later(after, self._force, invocation.id)
        self._send(number, message)
        return invocation

    def state(self, number: int) -> State:
        return self.supervision.state(number)

    @property
    def all_free(self) -> bool:
        """Whether every slot is given back."""
        return all(slots.free == slots.all for slots in self.slots)

    # -- sending

    def _acquire(self, index: int, action: Invokable, force: bool) -> bool:
        name = f"{action.entity.document_id}@{action.entity.version}"
        return self.slots[index].acquire(name, action.memory, action.concurrency, force=force)

    def _message(self, action: Invokable, content: Any, **more: Any) -> ActivationMessage:
        if content is not None:
            more["content"] = msgspec.Raw(json.dumps(content).encode())
        fields = {
            "transid": [uuid.uuid4().hex, int(time.time() * 1000)],
            "activation_id": uuid.uuid4().hex,
            "init_args": (),
            "locked_args": {},
            **more,
        }
        return ActivationMessage(
            action=action.entity, revision=action.revision, root_controller_index=self.id, **fields
        )

    def _send(self, number: int, message: ActivationMessage) -> None:
        assert self._producer is not None
        self._producer.send(self.broker.invoker_topic(number).name, encode(message))

    def test(self, number: int) -> None:
        """The test action must be in the database: see `health_action`."""
        action = Invokable(entity=EntityName(SYSTEM, f"invokerHealthTestAction{self.id.as_string}", "0.0.1"))
        transid = [HEALTH_TRANSACTION, int(time.time() * 1000)]
        message = self._message(action, None, blocking=False, user=self._user, transid=transid)
        self.tests[message.activation_id] = None
        self._send(number, message)

    # -- what comes back

    def _read(self, topic: str, handle: Callable[[bytes], None]) -> None:
        consumer = KafkaConsumer(
            bootstrap_servers=list(self.broker.hosts),
            auto_offset_reset="earliest",
            reconnect_backoff_max_ms=1000,
            metrics_enabled=False,
        )
        with closing(consumer):
            consumer.assign([TopicPartition(topic, 0)])
            while not self._stopping.is_set():
                for records in consumer.poll(timeout_ms=100).values():
                    for record in records:
                        self._loop.call_soon_threadsafe(handle, record.value)

    def _pinged(self, data: bytes) -> None:
        ping = msgspec.json.decode(data, type=Ping)
        self.pings[ping.name.instance] += 1
        self.supervision.ping(ping, time.monotonic())
        for known in self.supervision.ids[len(self.slots) :]:
            self.slots.append(Slots(parse_megabytes(known.user_memory)))

    def _acknowledged(self, data: bytes) -> None:
        try:
            message = decode_acknowledgement(data)
        except msgspec.MsgspecError as error:
            _log.error("an acknowledgement cannot be read: %s", error)
            return
        if isinstance(message, (Combined, Completion)):
            invoker = message.instance or message.invoker
            assert invoker is not None
            activation_id = message.activation_id if isinstance(message, Completion) else _id_of(message.response)
            outcome = Outcome.SYSTEM_ERROR if message.is_system_error else Outcome.SUCCESS
            self._completed(activation_id, outcome, invoker.instance, transaction_name(message.transid))
        if isinstance(message, (Combined, Result)):
            activation_id = _id_of(message.response)
            self.results[activation_id] += 1
            waiting = self.answers.pop(activation_id, None)
            if waiting is not None and not waiting.answer.done():
                waiting.answer.set_result(message.response)

    def _completed(self, activation_id: str, outcome: Outcome, number: int, transaction: str) -> None:
        self.completions[activation_id] += 1
        if activation_id in self.under_way:
            self._release(activation_id, outcome)
        elif transaction == HEALTH_TRANSACTION:
            self.tests[activation_id] = outcome
            self.supervision.finished(number, outcome, time.monotonic())
        else:
            self.late.append(activation_id)

    def _force(self, activation_id: str) -> None:
        self.forced.add(activation_id)
        waiting = self.answers.pop(activation_id, None)
        if waiting is not None and not waiting.answer.done():
            waiting.answer.set_exception(TimeoutError("no completion or active ack received yet"))
        self._release(activation_id, Outcome.TIMEOUT)

    def _release(self, activation_id: str, outcome: Outcome) -> None:
        invocation = self.under_way.pop(activation_id)
        action = invocation.action
        if invocation.timer is not None:
            invocation.timer.cancel()
        name = f"{action.entity.document_id}@{action.entity.version}"
        self.slots[invocation.invoker].release(name, action.memory, action.concurrency)
        invocation.slot.set_result(outcome)
        self.supervision.finished(invocation.invoker, outcome, time.monotonic())

    async def _tick(self) -> None:
        while True:
            self.supervision.tick(time.monotonic())
            await asyncio.sleep(0.1)


def health_action(controller: str = "0", kind: str = "nodejs:20", code: str | None = None) -> dict[str, Any]:
    """The document of the test action, which a Controller puts into `whisks` when it starts."""
    name = f"invokerHealthTestAction{controller}"
    return {
        "_id": f"{SYSTEM}/{name}",
        "entityType": "action",
        "namespace": SYSTEM,
        "name": name,
        "version": "0.0.1",
        "publish": False,
        "annotations": [],
        "parameters": [],
        "limits": {"timeout": 60000, "memory": 128, "logs": 10, "concurrency": 1},
        "exec": {"kind": kind, "code": code or "function main(params) { return params; }", "binary": False},
        "updated": int(time.time() * 1000),
    }


def _identity(user: str) -> Identity:
    key = str(uuid.uuid5(uuid.NAMESPACE_DNS, user))
    return Identity(user, Namespace(user, key), {"api_key": f"{key}:secret"}, ["READ", "ACTIVATE"], None)


def _id_of(response: Any) -> str:
    return response if isinstance(response, str) else str(response["activationId"])
