"""A drop-in invoker for OpenWhisk: activations from Kafka, actions and records in CouchDB, for `owmesos run --kafka`.

It only connects parts: the feed gives activations to the invoker, the invoker's answers go to the Controllers by the
acknowledgements' own thread, and `done` comes back from there to the feed. A Controller that is not changed in any way
sees an invoker of OpenWhisk whose user-memory has no end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from owmesos.core.pool_settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.scheduler import Scheduler
from owmesos.openwhisk.acks import AckSender
from owmesos.openwhisk.activation_writer import ActivationWriter
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.broker import Broker, KafkaLog
from owmesos.openwhisk.couch_entities import CouchActions, CouchBlacklist, CouchRecords, Databases
from owmesos.openwhisk.couchdb import CouchDB
from owmesos.openwhisk.feed import Delivery, Displaced, Feed, FeedBroke, FeedSettings, Received, Rejected
from owmesos.openwhisk.health import Pinger
from owmesos.openwhisk.ids import InvokerId
from owmesos.openwhisk.invoker_http import InvokerHttp
from owmesos.openwhisk.launching import LaunchSettings
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import Combined
from owmesos.service.admin_guard import answer
from owmesos.service.admin_requests import only
from owmesos.service.container_pool import container_pool
from owmesos.service.framework import Framework
from owmesos.service.invoker import Invoker

_log = logging.getLogger("owmesos.invoker")

_LOOK = 0.05  # seconds
_STOPPED = "The invoker was stopped before the activation ended."


class CouchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where actions come from and records go."""

    url: str
    user: str | None = None
    password: str | None = None
    databases: Databases = Databases()


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the invoker's own HTTP interface listens, and who may use it."""

    host: str
    port: int
    user: str
    password: str


class InvokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`drain`: seconds that activations have to end when the process is stopped. `ciphers`: of stored parameters."""

    invoker: InvokerId
    broker: Broker
    couch: CouchSettings
    manifest: Manifest
    launches: LaunchSettings = msgspec.field(default_factory=LaunchSettings)
    pool: PoolSettings = PoolSettings()
    feed: FeedSettings = FeedSettings()
    http: HttpSettings | None = None
    user_events: bool = False
    drain: float = 30.0
    ciphers: Mapping[str, Decrypt] = {}


class KafkaInvoker:
    """The `Work` of one framework; and the feed's sink, in the event loop's thread."""

    def __init__(self, settings: InvokerSettings) -> None:
        """Raises InvalidInput."""
        couch = settings.couch
        self._settings = settings
        self._recipe = container_pool(settings.manifest, settings.launches, settings.pool)
        self._couch = CouchDB(couch.url, user=couch.user, password=couch.password)
        self._records = ActivationWriter(CouchRecords(self._couch, couch.databases.activations))
        self.blacklist = CouchBlacklist(self._couch, couch.databases.subjects)
        self._acks = AckSender(settings.broker)
        self._pinger = Pinger(settings.broker, settings.invoker)
        http = settings.http
        self._http = InvokerHttp(settings.invoker, self._pinger, http.user, http.password) if http is not None else None
        self.http_port: int | None = None
        self._framework: Framework | None = None
        self._invoker: Invoker | None = None
        self._feed: Feed | None = None
        self._blacklisting: asyncio.Task[None] | None = None

    # -- Work

    @property
    def pool(self) -> Callable[[Scheduler], PooledScheduler]:
        return self._recipe

    async def start(self, framework: Framework) -> None:
        """Raises KafkaFailed and HttpFailed."""
        settings, broker = self._settings, self._settings.broker
        KafkaLog().install()
        databases = settings.couch.databases
        self._framework = framework
        # Before anything is waited for: containers may be prewarmed already while Kafka is slow to answer.
        self._invoker = Invoker(
            framework,
            settings.invoker,
            actions=CouchActions(self._couch, databases.actions, settings.manifest),
            acks=self._acks,
            activations=self._records,
            blacklist=self.blacklist,
            user_events=settings.user_events,
            pressed=self._press,
            ciphers=settings.ciphers,
        )
        topic = broker.invoker_topic(settings.invoker.instance)
        topics = [topic, broker.health_topic()] + ([broker.events_topic()] if settings.user_events else [])
        await asyncio.to_thread(broker.ensure, topics)
        self._feed = Feed(broker, topic.name, self, asyncio.get_running_loop(), settings.feed)
        self._blacklisting = asyncio.create_task(self.blacklist.keep_up(), name="the blacklist")
        if self._http is not None and settings.http is not None:
            self.http_port = await self._http.start(settings.http.host, settings.http.port)
            _log.info("the invoker's HTTP interface is at http://%s:%d", settings.http.host, self.http_port)
        self._acks.start()
        self._feed.start()
        self._pinger.start()
        _log.info(
            "%s reads %s at %s, %s; actions are in %s; kinds: %s",
            settings.invoker,
            topic.name,
            broker.address,
            settings.feed.delivery.value,
            databases.actions,
            ", ".join(settings.manifest.kinds) or "none",
        )

    async def close(self) -> None:
        """The Controllers are told to send no more; what is under way may end, for `drain` seconds. What has not by
        then is answered with an error, or with delivery at least once left for the next start. Containers are
        stopped: nobody could take them up again, for what is in them is known only here."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._couch.close)
            if self._http is not None:
                stack.push_async_callback(self._http.stop)
            stack.push_async_callback(self._records.close)
            if self._feed is not None:  # last of the two, for it commits what is acknowledged
                stack.push_async_callback(asyncio.to_thread, self._feed.stop)
            stack.push_async_callback(asyncio.to_thread, self._acks.stop)
            stack.push_async_callback(asyncio.to_thread, self._pinger.stop)
            if self._blacklisting is not None:
                self._blacklisting.cancel()
            if self._invoker is not None:
                await self._end(self._invoker)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/invoker", self._show)

    # -- what the feed says (`Sink`)

    def received(self, batch: Sequence[Received]) -> None:
        assert self._feed is not None
        assert self._invoker is not None
        for offset, message in batch:
            self._invoker.activate(message, partial(self._feed.done, offset), partial(self._feed.add_weight, offset))

    def rejected(self, record: Rejected) -> None:
        """Nobody can run it, and its Controller should not wait for it: the slot is free, and the answer an id."""
        whom, invoker = record.addressed, self._settings.invoker
        if whom is None:
            return
        message = Combined(
            transid=whom.transid,
            response=whom.activation_id,
            is_system_error=True,
            instance=invoker,
            invoker=invoker,
        )
        self._acks.send(whom.root_controller_index, message)

    def broke(self, reason: FeedBroke) -> None:
        assert self._framework is not None
        if isinstance(reason, Displaced):
            self._pinger.fall_silent()  # the last ping would take the other one out
        self._framework.shell.stop(str(reason), 1)

    # -- within

    def _press(self, on: bool) -> None:
        _log.warning("nothing is launchable: Controllers are turned away" if on else "there is room again")
        self._pinger.press(on)

    async def _end(self, invoker: Invoker) -> None:
        assert self._framework is not None
        left = await self._drained(self._feed) if self._feed is not None else 0
        await invoker.close()
        if left and self._settings.feed.delivery is Delivery.AT_LEAST_ONCE:
            _log.warning("%d activations have not ended; the next start repeats them", left)
        elif left:
            _log.warning("%d activations have not ended; they are answered with an error", left)
            invoker.end_rest(_STOPPED)
        if not await self._framework.stop_containers():
            _log.warning("not all containers have ended yet; the next start sees to them")

    async def _drained(self, feed: Feed) -> int:
        """Nothing more comes; how many activations have not ended in their time."""
        feed.drain()
        _log.info("no more activations are taken; %d have %g s to end", feed.held, self._settings.drain)
        await asyncio.to_thread(self._pinger.stop)
        until = asyncio.get_running_loop().time() + self._settings.drain
        while left := feed.held:
            if asyncio.get_running_loop().time() > until:
                break
            await asyncio.sleep(_LOOK)
        return left

    async def _show(self, request: web.Request) -> web.Response:
        only(request)
        feed, records = self._feed, self._records
        document: dict[str, Any] = {
            "invoker": str(self._settings.invoker),
            "enabled": self._pinger.enabled,
            "held": feed.held if feed is not None else 0,
            "held_bytes": feed.weight if feed is not None else 0,
            "records_waiting": len(records),
            "records_written": records.written,
            "records_dropped": records.dropped,
        }
        return answer(document)
