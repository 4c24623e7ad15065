"""CouchDB's HTTP API, as much of it as an invoker needs (docs.couchdb.org, HTTP API reference)."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from owmesos.errors import InvalidInput, OwmesosError

TIMEOUT = 15.0  # seconds, for a whole answer
_REACHED_NOT = (aiohttp.ClientConnectionError, asyncio.TimeoutError, OSError)


class CouchFailed(OwmesosError):
    """No answer, or one that is none of use. `status` is None where there was no answer."""

    def __init__(self, reason: str, status: int | None = None) -> None:
        super().__init__(reason)
        self.status = status


class Written(msgspec.Struct, frozen=True):
    """What became of one document of a bulk."""

    id: str = ""
    rev: str | None = None
    error: str | None = None
    reason: str | None = None


class _View(msgspec.Struct):
    rows: list[dict[str, Any]]


class CouchDB:
    """One server. Within one event loop, from the first request to `close`."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        password: str | None = None,
        connections: int = 32,
        timeout: float = TIMEOUT,
    ) -> None:
        """`url` may hold user and password. Raises InvalidInput."""
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            raise InvalidInput("CouchDB's URL must be http://HOST:PORT or https://HOST:PORT")
        user, password = user or parsed.user, password or parsed.password
        self._root = str(parsed.with_user(None)).rstrip("/")
        self._headers = {"Accept": "*/*"}
        if user:
            credentials = base64.b64encode(f"{user}:{password or ''}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._connections = connections
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    async def document(self, database: str, document_id: str, revision: str | None = None) -> bytes | None:
        """None where there is none. Raises CouchFailed."""
        query = {"rev": revision} if revision else {}
        return await self._get(f"{database}/{quote(document_id, safe='')}", query)

    async def attachment(self, database: str, document_id: str, name: str, revision: str | None = None) -> bytes | None:
        """None where there is none. Raises CouchFailed."""
        query = {"rev": revision} if revision else {}
        return await self._get(f"{database}/{quote(document_id, safe='')}/{quote(name, safe='')}", query)

    async def view(self, database: str, design: str, view: str, **query: str) -> list[dict[str, Any]] | None:
        """Its rows, or None where there is no such view. Raises CouchFailed."""
        path = f"{database}/_design/{design}/_view/{view}"
        data = await self._get(path, query)
        if data is None:
            return None
        try:
            return msgspec.json.decode(data, type=_View).rows
        except msgspec.DecodeError as error:
            raise CouchFailed(f"CouchDB's answer to GET {path} cannot be read: {error}") from None

    async def write(self, database: str, documents: Iterable[bytes]) -> list[Written]:
        """What became of each document, in their order. Raises CouchFailed, and then nobody knows."""
        path = f"{database}/_bulk_docs"
        status, data = await self._request("POST", path, {}, b'{"docs":[' + b",".join(documents) + b"]}")
        if status not in (201, 202):
            raise self._failed("POST", path, status, data)
        try:
            return msgspec.json.decode(data, type=list[Written])
        except msgspec.DecodeError as error:
            raise CouchFailed(f"CouchDB's answer to POST {path} cannot be read: {error}") from None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _get(self, path: str, query: dict[str, str]) -> bytes | None:
        status, data = await self._request("GET", path, query)
        if status == 404:
            return None
        if status != 200:
            raise self._failed("GET", path, status, data)
        return data

    async def _request(
        self, method: str, path: str, query: dict[str, str], body: bytes | None = None
    ) -> tuple[int, bytes]:
        """A connection that was closed while it lay idle is no failure: it is tried twice."""
        url = URL(f"{self._root}/{path}", encoded=True).with_query(query)
        try:
            try:
                return await self._once(method, url, body)
            except aiohttp.ClientConnectionError:
                return await self._once(method, url, body)
        except _REACHED_NOT as error:
            why = "it takes too long" if isinstance(error, asyncio.TimeoutError) else str(error)
            raise CouchFailed(f"CouchDB cannot be reached: {why}") from None
        except aiohttp.ClientError as error:
            raise CouchFailed(f"CouchDB's answer to {method} {path} broke off: {error}") from None

    async def _once(self, method: str, url: URL, body: bytes | None) -> tuple[int, bytes]:
        headers = self._headers if body is None else {**self._headers, "Content-Type": "application/json"}
        async with self._opened().request(method, url, data=body, headers=headers) as response:
            return response.status, await response.read()

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self._connections)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session

    @staticmethod
    def _failed(method: str, path: str, status: int, data: bytes) -> CouchFailed:
        text = " ".join(data[:200].decode("utf-8", "replace").split())
        return CouchFailed(f"CouchDB answers {status} to {method} {path}: {text}", status)
