"""A drop-in invoker for OpenWhisk: activations from Kafka, actions and records in CouchDB, for `owmesos run
--kafka`.

It only connects parts: the feed passes activations to the invoker, a thread of its own sends the invoker's answers
to the Controllers, and `done` returns from there to the feed. To an unchanged Controller it looks like an OpenWhisk
invoker with unlimited user-memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import msgspec
from aiohttp import web
from prometheus_client import Metric

from owmesos.core.container_factory import Hosting
from owmesos.documents import ActivationStory, InvokerDocument, InvokerStatus
from owmesos.invoker.at_most_once import AtMostOnce, begin
from owmesos.invoker.ended import REMEMBERED, EndedActivation, EndedActivations
from owmesos.invoker.extension import STOPPED, InvokerExtension, started
from owmesos.invoker.http_interface import InvokerHttp
from owmesos.invoker.in_flight import InFlight
from owmesos.invoker.invoker import Invoker
from owmesos.invoker.kafka_settings import CouchSettings, HttpSettings, InvokerSettings
from owmesos.invoker.metrics import feed_metrics, record_metrics, server_metrics
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.kafka.access import KafkaAccess
from owmesos.openwhisk.kafka.acks import ANSWERING, AckSender
from owmesos.openwhisk.kafka.answered import answered
from owmesos.openwhisk.kafka.broker import KafkaLog
from owmesos.openwhisk.kafka.feed import READING, STOP, Displaced, Feed, FeedBroke
from owmesos.openwhisk.kafka.feed_settings import Delivery
from owmesos.openwhisk.kafka.offsets import Received, Rejected
from owmesos.openwhisk.kafka.pings import LEAVE, Pinger
from owmesos.openwhisk.messages import Combined
from owmesos.openwhisk.reachability import Reachability
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.openwhisk.store.activation_writer import ActivationWriter
from owmesos.openwhisk.store.couch_entities import CouchActions, CouchBlacklist, write_records
from owmesos.openwhisk.store.couchdb import CouchDB
from owmesos.service.admin_guard import answer
from owmesos.service.admin_requests import only
from owmesos.service.errors import NotKnown
from owmesos.service.openapi import ApiOperation
from owmesos.system.hosts import is_loopback
from owmesos.system.lease import Lease
from owmesos.system.tasks import cancel_all

_log = logging.getLogger("owmesos.invoker")

_HOPELESS = 0.1  # seconds; that a stop waits for what needs a Kafka that is away
LAST_ANSWERS = 10.0  # seconds; that a stop waits for answers to be sent


class KafkaInvoker(InvokerExtension):
    """The `Extension` of one framework; and the feed's sink, in the event loop's thread."""

    def __init__(self, settings: InvokerSettings, folder: Path | None = None, lease: Lease | None = None) -> None:
        """`folder`: the framework's state, where the journal of delivery at most once is kept; without one it ends with
        the process. With `lease` nothing is sent while that does not hold. Raises InvalidInput."""
        super().__init__(settings.manifest, settings.launches, settings.pool, folder)
        if lease is not None:
            settings = msgspec.structs.replace(settings, broker=msgspec.structs.replace(settings.broker, lease=lease))
        couch = settings.couch
        self._settings = settings
        self._lease = lease
        self._couch = CouchDB(couch.url, user=couch.user, password=couch.password)
        self._records = ActivationWriter(self._write, outages_are_told=True)
        self.blacklist = CouchBlacklist(self._couch, couch.databases.subjects)
        self._actions = CouchActions(self._couch, couch.databases.actions, settings.manifest)
        self._kafka = Reachability("Kafka", settings.broker.address)
        self._kafka.changed.append(self._kafka_changed)
        self._acks = AckSender(settings.broker, kafka=self._kafka)
        self._pinger = Pinger(settings.broker, settings.invoker, kafka=self._kafka)
        http = settings.http
        self._http = InvokerHttp(settings.invoker, self._pinger, http.user, http.password) if http is not None else None
        self._ciphers = dict(settings.ciphers)
        self.http_port: int | None = None
        self._feed: Feed | None = None
        self._couch_tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._hands_over = False  # to a standby, which sends the next ping
        self._once: AtMostOnce | None = None
        self._ended = EndedActivations()

    # -- Extension

    async def start(self, framework: Hosting) -> None:
        """Does not wait for Kafka or CouchDB: activations are taken as soon as both answer. Raises CannotListen and
        JournalFailed."""
        settings, broker = self._settings, self._settings.broker
        if settings.feed.delivery is Delivery.AT_MOST_ONCE:
            file = self._files() / f"invoker{settings.invoker.instance}.sqlite"
            self._journal = ActivationJournal(file, synced=False)
        KafkaLog().install()
        databases = settings.couch.databases
        host = self._host = framework.host
        # First of all: containers may be prewarmed already while Kafka is slow to answer.
        self._invoker = Invoker(
            host,
            settings.invoker,
            manifest=settings.manifest,
            actions=self._actions,
            codes=self._actions.codes,
            acks=self._acks,
            activations=self._records,
            blacklist=self.blacklist,
            user_events=settings.user_events,
            pressed=self._press,
            ciphers=self._ciphers,
            forced=settings.forced,
            begin=self._begin if self._journal is not None or self._lease is not None else None,
            payload=settings.payload,
            ended=self._ended.remember,
        )
        topic = broker.invoker_topic(settings.invoker.instance)
        topics = [topic, broker.health_topic()] + ([broker.events_topic()] if settings.user_events else [])
        self._feed = Feed(
            broker,
            topic.name,
            self,
            asyncio.get_running_loop(),
            settings.feed,
            topics=topics,
            kafka=self._kafka,
            journal=self._journal.name if self._journal is not None else "",
        )
        if self._journal is not None:
            self._once = AtMostOnce(
                self._journal,
                self._invoker,
                actions=self._actions,
                read_answers=partial(answered, broker),
                now=host.now,
            )
        self._couch_tasks = [
            asyncio.create_task(self.blacklist.keep_up(), name="the blacklist"),
            asyncio.create_task(self._couch.keep_looking(databases.actions), name="checking CouchDB"),
        ]
        if self._http is not None and settings.http is not None:
            await self._serve_http(self._http, settings.http)
        self._feed.start()
        if self._lease is not None and self._lease.taken_over:  # there are Controllers who miss the pings
            self._pinger.start_once()

    async def _serve_http(self, interface: InvokerHttp, settings: HttpSettings) -> None:
        """Raises CannotListen."""
        self.http_port = await interface.start(settings.host, settings.port)
        _log.info("the invoker's HTTP interface is at http://%s:%d", settings.host, self.http_port)
        if not is_loopback(settings.host):
            _log.warning(
                "the invoker's HTTP interface can be reached from other machines, and its password can be read on the"
                " way: serve it on loopback, behind a proxy with TLS"
            )

    async def close(self) -> None:
        """Tells the Controllers to send no more, and gives running activations `drain` seconds to end. Those that
        have not ended by then are answered with an error, or with delivery at least once left for the next
        start. Containers are stopped, because no other process knows what they hold. Where another process waits to
        lead, pings go on until the end: what Controllers send meanwhile waits for that one."""
        self._hands_over = self._lease is not None and self._lease.others > 0
        async with AsyncExitStack() as stack:
            if self._hands_over:  # the next process sends the next ping
                stack.push_async_callback(self._stopped, self._pinger.stop, LEAVE)
                stack.callback(self._pinger.fall_silent)
            stack.push_async_callback(self._couch.close)
            stack.push_async_callback(cancel_all, self._couch_tasks)
            stack.push_async_callback(self._actions.codes.close)
            if self._http is not None:
                stack.push_async_callback(self._http.stop)
            stack.push_async_callback(self._records.close)
            stack.push_async_callback(self._close_files)
            if self._feed is not None:  # last of the two, for it commits what is acknowledged
                stack.push_async_callback(self._stopped, self._feed.stop, STOP)
            stack.push_async_callback(self._stop_answering)
            if not self._hands_over:
                stack.push_async_callback(self._stopped, self._pinger.stop, LEAVE)
            self._closing = True
            if self._invoker is not None:
                await self._end(self._invoker)

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/invoker", self._show)

    @property
    def servers(self) -> dict[str, str]:
        return {"kafka": self._kafka.state, "couchdb": self._couch.reachability.state}

    async def story(self, name: str) -> ActivationStory | None:
        """Raises NotKnown, which says where stories end."""
        found = await super().story(name)
        if found is not None:
            return found
        raise NotKnown(
            f"{name}; of activations that have ended, the last {REMEMBERED:,} since this process began are known here,"
            " and the others have their record in CouchDB",
            "launch, task, container or activation",
        )

    async def _ended_that_begin(self, text: str) -> EndedActivations:
        return self._ended

    async def _ended_one(self, activation_id: str) -> EndedActivation:
        try:
            return self._ended[activation_id]
        except KeyError:
            raise NotKnown(activation_id, "activation") from None

    async def stored_log(self, activation_id: str) -> list[str]:
        """Raises NotKnown: a Controller reads it from CouchDB."""
        raise NotKnown(
            f"{activation_id}; if it is an activation that has ended, its log is in its record in CouchDB",
            "launch, task, container or running activation",
        )

    def status(self) -> InvokerStatus:
        document = self.document()
        return {
            "invoker": document["invoker"],
            "refuses": document["refuses"],
            "kafka": document["kafka"],
            "couchdb": document["couchdb"],
            "records_waiting": document["records_waiting"],
        }

    def metrics(self) -> Iterator[Metric]:
        yield from super().metrics()
        yield from record_metrics(self._records, len(self._records))
        yield from server_metrics({"kafka": self._kafka, "couchdb": self._couch.reachability})
        if self._feed is not None:
            topic = self._settings.broker.invoker_topic(self._settings.invoker.instance)
            yield from feed_metrics(self._feed, topic.name)

    def document(self) -> InvokerDocument:
        """What `owmesos invoker` shows."""
        feed, records = self._feed, self._records
        return {
            "invoker": str(self._settings.invoker),
            "enabled": self._pinger.enabled,
            "refuses": self._pinger.closed_because or ("kafka" if self._kafka.down else None),
            "kafka": self._kafka.document(),
            "couchdb": self._couch.reachability.document(),
            "held": feed.held if feed is not None else 0,
            "held_bytes": feed.weight if feed is not None else 0,
            "records_waiting": len(records),
            "records_written": records.written,
            "records_dropped": records.dropped,
        }

    # -- renewed while it runs: for what begins from then on

    def renew_kafka(self, access: KafkaAccess) -> None:
        self._settings.broker.access.renew(access)

    def renew_couch(self, couch: CouchSettings) -> None:
        self._couch.renew(couch.user, couch.password)

    def renew_http(self, http: HttpSettings) -> None:
        if self._http is not None:
            self._http.renew(http.user, http.password)

    def renew_ciphers(self, ciphers: Mapping[str, Decrypt]) -> None:
        self._ciphers.clear()
        self._ciphers.update(ciphers)

    # -- what the feed says (`FeedSink`)

    def received(self, batch: Sequence[Received]) -> None:
        feed, invoker, now = started(self._feed), started(self._invoker), started(self._host).now()
        runs = [
            InFlight(
                message,
                now - age,
                done=partial(feed.done, position),
                add_bytes=partial(feed.add_bytes, position),
                position=position,
                former_journal=former_journal,
            )
            for position, message, age, former_journal in batch
        ]
        if self._once is not None:
            self._once.received(runs)
            return
        for run in runs:
            invoker.activate(run)

    def committed(self, offsets: Mapping[int, int]) -> None:
        if self._once is not None:
            self._once.committed(offsets)

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
        self._acks.send(whom.root_controller_index, message, partial(started(self._feed).done, record.position))

    def reading(self) -> None:
        if self._closing:
            return
        self._acks.start()
        self._pinger.start_once()
        settings = self._settings
        _log.info(
            "%s reads %s at %s, %s; actions are in %s; kinds: %s",
            settings.invoker,
            settings.broker.invoker_topic(settings.invoker.instance).name,
            settings.broker.address,
            settings.feed.delivery.value,
            settings.couch.databases.actions,
            ", ".join(settings.manifest.kinds) or "none",
        )

    def broke(self, reason: FeedBroke) -> None:
        if isinstance(reason, Displaced):
            self._pinger.fall_silent()  # the last ping would take the other one out
        started(self._host).stop(str(reason), 1)

    # -- within

    async def _begin(self, activation_id: str, now: float) -> None:
        """To be awaited before its container is asked. Raises JournalFailed."""
        if self._journal is not None:
            await begin(self._journal, activation_id, now)
        if self._lease is not None:
            await self._lease.held()

    async def _write(self, records: Sequence[bytes]) -> list[str | None]:
        if self._lease is not None:
            await self._lease.held()
        return await write_records(self._couch, self._settings.couch.databases.activations, records)

    def _kafka_changed(self) -> None:
        """From any thread."""
        self._pinger.turn_away("kafka", self._kafka.lasting(READING) or self._kafka.lasting(ANSWERING))

    async def _stopped(self, stop: Callable[[float], None], timeout: float) -> None:
        """`stop` within `timeout` seconds; at once where Kafka is away, for then nothing it does can help."""
        await asyncio.to_thread(stop, _HOPELESS if self._kafka.down else timeout)

    async def _stop_answering(self) -> None:
        """Answers that wait for a Kafka that is away get a last chance."""
        if self._feed is not None and self._feed.held:
            await asyncio.to_thread(self._acks.stop, LAST_ANSWERS)
        else:
            await self._stopped(self._acks.stop, LAST_ANSWERS)

    async def _close_files(self) -> None:
        if self._once is not None:
            self._once.tidy()
        await super()._close_files()

    def _press(self, on: bool) -> None:
        _log.warning(
            "nothing can be launched: Controllers are asked to reject requests" if on else "there is room again"
        )
        self._pinger.turn_away("pressure", on)

    async def _end(self, invoker: Invoker) -> None:
        left = await self._stop_feeding(self._feed) if self._feed is not None else 0
        if self._once is not None:
            await self._once.close()
        await invoker.close()
        if left and self._settings.feed.delivery is Delivery.AT_LEAST_ONCE:
            _log.warning("%d activations have not ended; the next start repeats them", left)
        elif left:
            _log.warning("%d activations have not ended; they are answered with an error", left)
            invoker.end_rest(STOPPED)
        await self._stop_containers()

    async def _stop_feeding(self, feed: Feed) -> int:
        """Nothing more comes; how many activations have not ended in their time."""
        feed.drain()
        _log.info(
            "no more activations are taken; waiting for %d to end, at most %g s or until a second signal",
            feed.held,
            self._settings.drain,
        )
        if not self._hands_over:
            await self._stopped(self._pinger.stop, LEAVE)
        return await self._drained(lambda: feed.held, self._settings.drain)

    @ApiOperation("Whether the invoker takes activations, and what it holds", InvokerDocument)
    async def _show(self, request: web.Request) -> web.Response:
        only(request)
        return answer(self.document())
