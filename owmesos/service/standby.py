"""What a process answers while another one leads: where that is."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from owmesos.documents import StandbyDocument
from owmesos.service.admin_guard import answer, error_response

_METRICS = """\
# HELP owmesos_leader 1 on the process that leads; 0 on a standby of `run --ha`.
# TYPE owmesos_leader gauge
owmesos_leader 0
"""
_UNKNOWN = "this process is a standby, and the leader is not known: ask again in a moment; its log says more"


class StandbyRoutes:
    """`leader` returns the URL of the leader's admin API, or None if that is not known."""

    def __init__(self, leader: Callable[[], str | None]) -> None:
        self._leader = leader

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/healthz", self.health)
        router.add_get("/livez", self.alive)
        router.add_get("/metrics", self.metrics)
        router.add_route("*", "/{path:.*}", self.redirect)

    async def health(self, request: web.Request) -> web.Response:
        """A standby that waits is healthy; `?leader` finds the process that leads."""
        document: StandbyDocument = {"standby": True, "leader": self._leader()}
        return answer(document, 503 if "leader" in request.query else 200)

    async def alive(self, request: web.Request) -> web.Response:
        return answer({"alive": True})

    async def metrics(self, request: web.Request) -> web.Response:
        """Not the leader's: a scraper that followed would count everything twice."""
        return web.Response(text=_METRICS, content_type="text/plain")

    async def redirect(self, request: web.Request) -> web.Response:
        leader = self._leader()
        if leader is None:
            return error_response(503, _UNKNOWN, {"Retry-After": "1"})
        location = f"{leader.rstrip('/')}{request.path_qs}"
        return answer({"standby": True, "leader": leader}, 307, {"Location": location})
