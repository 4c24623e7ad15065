"""A fake of Kubernetes's API server: lists, watches, pods, over TLS. It obeys the test: what it cuts, forgets, rejects.

It decides nothing that a controller or a kubelet decides; objects change when the test says so.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable
from typing import Any

from aiohttp import web

from owmesos.simulator.agenda import Agenda
from owmesos.simulator.kubernetes.admission import ApiAnswer
from owmesos.simulator.kubernetes.api_server import ApiServer
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings

Object = dict[str, Any]
Answer = Callable[[web.Request], web.StreamResponse]
VERSION = "resourceVersion"


def node(name: str, **fields: Any) -> Object:
    return {"metadata": {"name": name, "uid": f"uid-{name}"}, "status": {"allocatable": {"cpu": "4"}}} | fields


def pod(name: str, namespace: str = "default", phase: str = "Pending", uid: str | None = None) -> Object:
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": uid or f"uid-{name}"},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"phase": phase},
    }


def failure(status: int, reason: str = "", message: str = "", **details: Any) -> Object:
    return {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message} | (
        {"details": details} if details else {}
    )


def answer(status: int, body: Object | str = "", **headers: str) -> Answer:
    """To give once, see `FakeApiServer.answers`. Underscores in the names of headers are hyphens."""
    text = body if isinstance(body, str) else json.dumps(body)
    kind = "text/plain" if isinstance(body, str) else "application/json"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: web.Response(status=status, text=text, content_type=kind, headers=named)


class FakeApiServer:
    """`tokens`: those that are accepted; None: everybody is. `requests`: the method and path of each, in order.

    Of Leases the simulated API server decides, `leases`.
    """

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self.tokens: set[str] | None = None
        self.page_limit: int | None = None  # of objects, whatever is asked for
        self.answers: list[tuple[str, Answer]] = []  # the first whose text is in the method, path and query is given
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.queries: list[dict[str, str]] = []
        self.stale_tokens = 0  # `continue` tokens that are answered with 410
        self.objects: dict[str, dict[str, Object]] = {"nodes": {}, "pods": {}}
        self.denied: set[tuple[str, str]] = set()  # verb and resource
        self.log = b""
        self.hold: asyncio.Event | None = None  # requests wait for it
        self.unavailable: Callable[[web.Request], bool] = lambda _: False  # whether a request is answered with 503
        self.leases = ApiServer(Agenda(0.0), ControlPlaneSettings())
        self.port = 0
        self._tls = tls
        self._version = 100
        self._oldest = 0
        self._history: dict[str, list[tuple[int, Object]]] = {"nodes": [], "pods": []}
        self._watches: dict[str, list[asyncio.Queue[bytes | None]]] = {"nodes": [], "pods": []}
        self._runner: web.AppRunner | None = None

    # -- its life

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    async def start(self) -> FakeApiServer:
        """On the same port as before, after a `stop`."""
        app = web.Application(middlewares=[self._note])
        for kind in self.objects:
            app.router.add_get(f"/api/v1/{kind}", self._collection)
        pods = "/api/v1/namespaces/{namespace}/pods"
        app.router.add_post(pods, self._post)
        app.router.add_get(f"{pods}/{{name}}", self._get)
        app.router.add_delete(f"{pods}/{{name}}", self._delete)
        app.router.add_get(f"{pods}/{{name}}/log", self._log)
        leases = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        app.router.add_post(leases, self._post_lease)
        app.router.add_get(f"{leases}/{{name}}", self._get_lease)
        app.router.add_put(f"{leases}/{{name}}", self._put_lease)
        app.router.add_post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", self._review)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()

    # -- what the test makes happen

    def put(self, kind: str, found: Object) -> str:
        """Adds an object, or replaces it. Its new version."""
        key = _key(found)
        change = "MODIFIED" if key in self.objects[kind] else "ADDED"
        self.objects[kind][key] = found
        return self._changed(kind, change, found)

    def remove(self, kind: str, name: str, namespace: str = "default") -> str:
        found = self.objects[kind].pop(name if kind == "nodes" else f"{namespace}/{name}")
        return self._changed(kind, "DELETED", found)

    def bookmark(self, kind: str) -> str:
        self._version += 1
        metadata = {VERSION: str(self._version), "creationTimestamp": None}
        spec = {"containers": None} if kind == "pods" else {}
        found = {"kind": "Bookmarked", "apiVersion": "v1", "metadata": metadata, "spec": spec, "status": {}}
        self._send(kind, {"type": "BOOKMARK", "object": found})
        return str(self._version)

    def send(self, kind: str, line: Object | str) -> None:
        """To all watches, as it is."""
        self._send(kind, line)

    def cut_watches(self, *kinds: str) -> None:
        """Without a word."""
        for kind in kinds or tuple(self._watches):
            for watch in self._watches[kind]:
                watch.put_nowait(None)

    def forget(self) -> None:
        """Watches from before now are answered with 410."""
        self._oldest = self._version

    @property
    def watching(self) -> dict[str, int]:
        return {kind: len(watches) for kind, watches in self._watches.items()}

    def asked(self, text: str) -> int:
        """How many requests have `text` in their method, path and query."""
        return sum(text in request for request in self.requests)

    # -- requests

    @web.middleware
    async def _note(self, request: web.Request, handler: Any) -> web.StreamResponse:
        line = f"{request.method} {request.path_qs}"
        self.requests.append(line)
        self.headers.append(dict(request.headers))
        self.queries.append(dict(request.query))
        self.bodies.append(await request.json() if request.body_exists else None)
        if self.hold is not None:
            await self.hold.wait()
        if self.unavailable(request):
            return web.json_response(failure(503, "ServiceUnavailable", "not now"), status=503)
        for number, (text, given) in enumerate(self.answers):
            if text in line:
                del self.answers[number]
                return given(request)
        if self.tokens is not None and request.headers.get("Authorization", "")[len("Bearer ") :] not in self.tokens:
            return web.json_response(failure(401, "Unauthorized", "Unauthorized"), status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _collection(self, request: web.Request) -> web.StreamResponse:
        kind = request.path.rsplit("/", 1)[1]
        return await (self._watch(request, kind) if request.query.get("watch") == "true" else self._list(request, kind))

    async def _list(self, request: web.Request, kind: str) -> web.StreamResponse:
        token = request.query.get("continue", "")
        if token and self.stale_tokens:
            self.stale_tokens -= 1
            return web.json_response(failure(410, "Expired", "The provided continue parameter is too old"), status=410)
        limit = int(request.query.get("limit", 0))
        if limit and self.page_limit:
            limit = min(limit, self.page_limit)
        items = list(self.objects[kind].values())[int(token or 0) :]
        meta = {VERSION: str(self._version)}
        if limit and len(items) > limit:
            meta["continue"] = str(int(token or 0) + limit)
            items = items[:limit]
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})

    async def _watch(self, request: web.Request, kind: str) -> web.StreamResponse:
        since = int(request.query[VERSION])
        if since < self._oldest:
            return web.json_response(failure(410, "Expired", f"too old resource version: {since}"), status=410)
        lines: asyncio.Queue[bytes | None] = asyncio.Queue()
        for version, change in self._history[kind]:
            if version > since:
                lines.put_nowait(_line(change))
        self._watches[kind].append(lines)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        try:
            await response.prepare(request)
            while (line := await lines.get()) is not None:
                await response.write(line)
        finally:
            self._watches[kind].remove(lines)
        return response

    async def _post(self, request: web.Request) -> web.StreamResponse:
        made = await request.json()
        made["metadata"] |= {"namespace": request.match_info["namespace"], "uid": f"uid-{len(self.requests)}"}
        if _key(made) in self.objects["pods"]:
            name = made["metadata"]["name"]
            return web.json_response(failure(409, "AlreadyExists", f'pods "{name}" already exists'), status=409)
        if request.query.get("dryRun") != "All":
            self.put("pods", made)
        return web.json_response(made, status=201)

    async def _get(self, request: web.Request) -> web.StreamResponse:
        found = self.objects["pods"].get(f"{request.match_info['namespace']}/{request.match_info['name']}")
        if found is None:
            return _no_pod(request.match_info["name"])
        return web.json_response(found)

    async def _delete(self, request: web.Request) -> web.StreamResponse:
        name, namespace = request.match_info["name"], request.match_info["namespace"]
        found = self.objects["pods"].get(f"{namespace}/{name}")
        if found is None:
            return _no_pod(name)
        uid = (await request.json()).get("preconditions", {}).get("uid")
        if uid not in (None, found["metadata"]["uid"]):
            return web.json_response(failure(409, "Conflict", "the UID in the precondition does not match"), status=409)
        self.remove("pods", name, namespace)
        return web.json_response(found)

    async def _get_lease(self, request: web.Request) -> web.StreamResponse:
        return self._of_lease("get", request) or _response(self.leases.get_lease(*request.match_info.values()))

    async def _post_lease(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        namespace = request.match_info["namespace"]
        return self._of_lease("create", request) or _response(self.leases.post_lease(namespace, asked))

    async def _put_lease(self, request: web.Request) -> web.StreamResponse:
        asked, (namespace, name) = await request.json(), request.match_info.values()
        return self._of_lease("update", request) or _response(self.leases.put_lease(namespace, name, asked))

    def _of_lease(self, verb: str, request: web.Request) -> web.Response | None:
        """Whoever may not is told so as by RBAC."""
        if (verb, "leases") not in self.denied:
            return None
        told = (
            f'leases.coordination.k8s.io is forbidden: User "u" cannot {verb} resource "leases" in API group'
            f' "coordination.k8s.io" in the namespace "{request.match_info["namespace"]}"'
        )
        return web.json_response(failure(403, "Forbidden", told), status=403)

    async def _log(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=self.log[: int(request.query.get("limitBytes", len(self.log)))])

    async def _review(self, request: web.Request) -> web.StreamResponse:
        asked = (await request.json())["spec"]["resourceAttributes"]
        resource = "/".join(filter(None, (asked["resource"], asked.get("subresource"))))
        return web.json_response({"status": {"allowed": (asked["verb"], resource) not in self.denied}}, status=201)

    def _changed(self, kind: str, change: str, found: Object) -> str:
        self._version += 1
        found["metadata"][VERSION] = str(self._version)
        line = {"type": change, "object": json.loads(json.dumps(found))}
        self._history[kind].append((self._version, line))
        self._send(kind, line)
        return str(self._version)

    def _send(self, kind: str, line: Object | str) -> None:
        for watch in self._watches[kind]:
            watch.put_nowait(_line(line))


def _response(given: ApiAnswer) -> web.Response:
    return web.json_response(given.body, status=given.status)


def _no_pod(name: str) -> web.Response:
    return web.json_response(failure(404, "NotFound", f'pods "{name}" not found'), status=404)


def _key(found: Object) -> str:
    meta = found["metadata"]
    return f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])


def _line(line: Object | str) -> bytes:
    return (line if isinstance(line, str) else json.dumps(line)).encode() + b"\n"
