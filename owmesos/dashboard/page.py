"""Serves the files of the dashboard's page, without a token, since they contain no data.

The page requests all data with a token. It loads nothing from elsewhere and runs no scripts but its own files, so the
name of a launch stays text.
"""

from __future__ import annotations

import hashlib
from importlib.resources import files

from aiohttp import web

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FILES = (
    "index.html",
    "dashboard.css",
    "icon.svg",
    "app.js",
    "details.js",
    "format.js",
    "nodes.js",
    "rows.js",
    "session.js",
    "starts.js",
    "timeline.js",
    "uplot/uPlot.iife.min.js",
    "uplot/uPlot.min.css",
)
PATHS = frozenset({"/"} | {f"/dashboard/{name}" for name in _FILES if name != "index.html"})
"""The paths that are served here."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # revalidated by ETag: another version may run tomorrow
}


class DashboardPage:
    """The files, read once."""

    def __init__(self) -> None:
        folder = files("owmesos.dashboard") / "static"
        self._files = {
            "/" if name == "index.html" else f"/dashboard/{name}": (
                _TYPES[name[name.rindex(".") :]],
                folder.joinpath(*name.split("/")).read_bytes(),
            )
            for name in _FILES
        }

    def add_to(self, router: web.UrlDispatcher) -> None:
        for path in self._files:
            router.add_get(path, self.file)

    async def file(self, request: web.Request) -> web.Response:
        kind, data = self._files[request.path]
        response = web.Response(body=data, content_type=kind, charset="utf-8", headers=HEADERS)
        response.etag = hashlib.sha256(data).hexdigest()[:32]
        if any(each.value == response.etag.value for each in request.if_none_match or () if response.etag):
            return web.Response(status=304, headers={**HEADERS, "ETag": response.headers["ETag"]})
        return response
