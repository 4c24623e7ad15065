"""The admin API: what the command line shows and asks for, over HTTP as JSON.

It decides nothing; it translates. The documents are those of `owmesos.documents`, and every error is
`{"error": "one line"}`. docs/cli.md lists the paths.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import Metric

from owmesos import documents
from owmesos.core.container_factory import Hosting, PoolRecipe
from owmesos.dashboard import page
from owmesos.dashboard.page import DashboardPage
from owmesos.service.admin_bodies import BODIES, Budget
from owmesos.service.admin_guard import Guard, answer
from owmesos.service.admin_requests import STOPPING, only
from owmesos.service.admin_tokens import Tokens
from owmesos.service.errors import NothingToExplain, NotKnown, RecordUnreadable
from owmesos.service.events import EventStreams
from owmesos.service.framework import Framework
from owmesos.service.launch_routes import LAUNCH_PATHS, LaunchRoutes, reject_launches
from owmesos.service.logs import LogRoutes, StoredLogs
from owmesos.service.metrics.cluster import NODES_SHOWN
from owmesos.service.metrics.exposition import CONTENT_TYPE, Exposition
from owmesos.service.openapi import TEXT, ApiOperation, listing, openapi
from owmesos.service.served import ServedProcess
from owmesos.service.standby import StandbyRoutes
from owmesos.system.bounded_http import BoundedListener, listening_socket

MAX_BODY = 1024 * 1024
BODIES_IN_MEMORY = 64 * 2**20
"""Bytes of requests' bodies that are being read, over all requests; more are answered with 503."""
_SHUTDOWN = 2.0  # seconds; for requests in progress at the end
_LINGER = 5.0  # seconds that the rest of a body is thrown away, so that its sender sees the answer


class Extension(StoredLogs, Protocol):
    """An addition to one process, such as an invoker. `pool` is for the process's making; `start` comes after the
    process's, `close` before its end."""

    @property
    def pool(self) -> PoolRecipe: ...

    async def start(self, framework: Hosting) -> None: ...

    async def close(self) -> None: ...

    def hurry(self) -> None:
        """`close`, now or later, no longer waits for what runs: a second signal came."""

    @property
    def servers(self) -> dict[str, str]:
        """Those that it depends on besides the cluster manager: `up`, `down`, or `unknown` while nobody has tried."""

    async def story(self, name: str) -> documents.ActivationStory | None:
        """The story of an activation, by its id or the beginning of it; None if it is unknown. Raises Ambiguous, and
        NotKnown where there is more to say."""

    def status(self) -> documents.InvokerStatus:
        """Its part of the StatusDocument."""

    def metrics(self) -> Iterable[Metric]:
        """Its own metrics for `/metrics`, besides its pool's. Called in the event loop."""

    def add_to(self, router: web.UrlDispatcher) -> None:
        """Routes of its own for the admin API. Called after `start`."""


class AdminServer:
    """Binds its socket when it is created, so that a port in use is reported first; serves requests after `start`."""

    def __init__(
        self, host: str, port: int, *, tls: ssl.SSLContext | None = None, metrics_nodes: int = NODES_SHOWN
    ) -> None:
        """Port 0 selects any free port. With more nodes than `metrics_nodes` none has metrics of its own. Raises
        CannotListen."""
        self._host = host
        self._metrics_nodes = metrics_nodes
        self._tls = tls
        self._socket = listening_socket(host, port, "the admin API", "--admin")
        self._listener = BoundedListener(self._socket, tls=tls)
        self.port: int = self._socket.getsockname()[1]
        self.events: EventStreams | None = None
        """From `start` on."""
        self._guards: list[Guard] = []
        self._renewed: Tokens | None = None
        self._runner: web.AppRunner | None = None
        self._standby: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    @property
    def address(self) -> str:
        """The IP address that it listens on."""
        return str(self._socket.getsockname()[0])

    async def start(self, process: ServedProcess, tokens: Tokens, extension: Extension | None = None) -> None:
        application = web.Application(middlewares=[self._guarded(tokens)], client_max_size=MAX_BODY)
        application[STOPPING] = self._stopping
        application[BODIES] = Budget(BODIES_IN_MEMORY, "requests")
        more = extension.metrics if extension is not None else tuple[Metric]
        view = process.view
        routes = _Routes(process, Exposition(view, more, nodes_shown=self._metrics_nodes), extension)
        routes.add_to(application.router)
        if isinstance(process, Framework):
            LaunchRoutes(process).add_to(application.router)
        else:
            application.router.add_routes(web.route("*", path, reject_launches) for path in LAUNCH_PATHS)
        self.events = EventStreams(view, routes.status_document)
        self.events.add_to(application.router)
        DashboardPage().add_to(application.router)
        LogRoutes(view, view.pool, extension).add_to(application.router)
        if extension is not None:
            extension.add_to(application.router)
        self._runner = await self._serve(application)
        standby, self._standby = self._standby, None
        if standby is not None:
            await standby.cleanup()

    async def start_standby(self, leader: Callable[[], str | None], tokens: Tokens) -> None:
        """Until `start`: send requests on to the leader, the URL of whose admin API `leader` returns."""
        application = web.Application(middlewares=[self._guarded(tokens)], client_max_size=MAX_BODY)
        StandbyRoutes(leader).add_to(application.router)
        self._standby = await self._serve(application)

    def renew_tokens(self, tokens: Tokens) -> None:
        """From now on only these are valid."""
        self._renewed = tokens
        for guard in self._guards:
            guard.tokens = tokens

    def renew_certificate(self, tls: ssl.SSLContext | None) -> None:
        """For new connections."""
        self._listener.renew_certificate(tls)

    def _guarded(self, tokens: Tokens) -> Callable[..., Awaitable[web.StreamResponse]]:
        guard = Guard(self._host, self._renewed or tokens, self._listener)
        self._guards.append(guard)
        return guard.middleware

    async def _serve(self, application: web.Application) -> web.AppRunner:
        return await self._listener.serve(
            application,
            shutdown_timeout=_SHUTDOWN,
            handle_signals=False,
            lingering_time=_LINGER,
        )

    async def stop(self) -> None:
        """Requests that wait for a launch or a result are answered with an error; other requests get their answers."""
        self._stopping.set()
        self.close()
        for runner in (self._standby, self._runner):
            if runner is not None:
                await runner.cleanup()

    def close(self) -> None:
        """Stop accepting connections; enough for a server that was never started."""
        self._listener.close()


class _Routes:
    def __init__(self, process: ServedProcess, metrics: Exposition, extension: Extension | None = None) -> None:
        self._process = process
        self._metrics = metrics
        self._extension = extension

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/healthz", self.health)
        router.add_get("/livez", self.alive)
        router.add_get("/metrics", self.metrics)
        router.add_get("/api/v1/openapi.json", self.openapi)
        router.add_get("/api/v1/status", self.status)
        router.add_get("/api/v1/nodes", listing("What each node has", self._process.nodes))
        router.add_get("/api/v1/reservations", listing("Starts and stops under way", self._process.reservations))
        router.add_get("/api/v1/containers", listing("The containers of the pool", self._process.containers))
        router.add_get("/api/v1/explain/{id}", self.explain)
        router.add_get("/api/v1/story/{id}", self.story)

    @ApiOperation(
        "Whether the cluster manager has us; 503 if not. With `leader` whether this process leads, which a standby does"
        " not",
        documents.HealthDocument,
        query={"leader": TEXT},
        others={503: documents.HealthDocument},
        open=True,
    )
    async def health(self, request: web.Request) -> web.Response:
        """Only the cluster manager changes the status: a restart does not help while Kafka or CouchDB is down."""
        document = self._process.health()
        servers = self._extension.servers if self._extension is not None else {}
        healthy = self._process.leads if "leader" in request.query else document["subscribed"]
        return answer({**document, **servers}, 200 if healthy else 503)

    @ApiOperation("Whether the process is alive", documents.AliveDocument, open=True)
    async def alive(self, request: web.Request) -> web.Response:
        """For liveness probes: a process that waits for a server is alive."""
        return answer({"alive": True})

    @ApiOperation("Metrics for Prometheus, in its text format", str, media="text/plain")
    async def metrics(self, request: web.Request) -> web.Response:
        only(request)
        return web.Response(body=await self._metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    @ApiOperation("This document", dict[str, Any])
    async def openapi(self, request: web.Request) -> web.Response:
        only(request)
        return answer(openapi(request.app.router, page.PATHS))

    @ApiOperation("What somebody on call looks at first", documents.StatusDocument)
    async def status(self, request: web.Request) -> web.Response:
        only(request)
        return answer(self.status_document())

    def status_document(self) -> documents.StatusDocument:
        return self._process.status(self._extension.status() if self._extension is not None else None)

    @ApiOperation("Why a launch or an activation waits", documents.LaunchExplanation | documents.ActivationExplanation)
    async def explain(self, request: web.Request) -> web.Response:
        only(request)
        name = request.match_info["id"]
        try:
            return answer(self._process.explain(name))
        except NotKnown as unknown:
            raise NothingToExplain(await self._story_of_activation(name, unknown)) from None

    @ApiOperation("All that happened to a launch or an activation", documents.StoryDocument | documents.ActivationStory)
    async def story(self, request: web.Request) -> web.Response:
        only(request)
        name = request.match_info["id"]
        try:
            return answer(self._process.story(name))
        except NotKnown as unknown:
            return answer(self._with_its_container(await self._story_of_activation(name, unknown)))

    async def _story_of_activation(self, name: str, unknown: NotKnown) -> documents.ActivationStory:
        """Of what is no launch, as `unknown` says, which is raised if it is no activation either."""
        found = None
        if self._extension is not None and not isinstance(unknown, RecordUnreadable):
            found = await self._extension.story(name)
        if found is None:
            raise unknown
        return found

    def _with_its_container(self, story: documents.ActivationStory) -> documents.ActivationStory:
        """Adds what happened to the container that was started for it, from the activation's arrival on."""
        received_at, container_id = story["story"][0]["at"], story["container_id"]
        if container_id is None or received_at is None:
            return story
        try:
            launch = self._process.story(container_id)
        except NotKnown:  # it has just ended and is forgotten
            return story
        lines: list[documents.ActivationStoryEntry] = [
            {**line, "text": f"container {container_id}: {line['text']}"}
            for line in launch["story"]
            if line["at"] is not None and line["at"] >= received_at
        ]
        return {**story, "story": sorted([*story["story"], *lines], key=lambda line: line["at"] or "")}
