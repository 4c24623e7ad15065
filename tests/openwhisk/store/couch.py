"""A test's own databases, written to and read beside the code under test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp

from owmesos.openwhisk.store.couch_entities import Databases

_BLOCKED = "function (doc) { if (doc.blocked) emit(doc.subject, 1); }"


class Couch:
    """One server, and the databases that `prefix` names."""

    def __init__(self, session: aiohttp.ClientSession, url: str, prefix: str) -> None:
        self.session = session
        self.url = url
        self.prefix = prefix
        self.names = Databases(f"{prefix}whisks", f"{prefix}activations", f"{prefix}subjects")

    async def put(self, path: str, document: Any = None, **query: str) -> str:
        """The new revision."""
        async with self.session.put(f"{self.url}/{path}", json=document, params=query) as response:
            answer = await response.json(content_type=None)
            assert response.status in (201, 202), answer
            return str(answer.get("rev", ""))

    async def put_action(self, document: dict[str, Any], **query: str) -> str:
        return await self.put(f"{self.names.actions}/{quote(document['_id'], safe='')}", document, **query)

    async def block(self, namespace: str) -> None:
        """The view is made with the first."""
        view = {"language": "javascript", "views": {"blockedNamespaces": {"map": _BLOCKED}}}
        await self.put(f"{self.names.subjects}/_design/namespaceThrottlings", view)
        await self.put(f"{self.names.subjects}/{namespace}", {"subject": namespace, "blocked": True})

    async def delete(self, database: str, document_id: str, revision: str) -> None:
        path = f"{self.url}/{database}/{quote(document_id, safe='')}"
        async with self.session.delete(path, params={"rev": revision}) as response:
            assert response.status == 200

    async def all(self, database: str) -> dict[str, Any]:
        async with self.session.get(f"{self.url}/{database}/_all_docs", params={"include_docs": "true"}) as response:
            rows = (await response.json(content_type=None))["rows"]
        return {row["id"]: row["doc"] for row in rows}

    async def records(self) -> dict[str, Any]:
        """Of activations, by their ids."""
        return {document["activationId"]: document for document in (await self.all(self.names.activations)).values()}


@asynccontextmanager
async def databases_of(url: str, prefix: str, *, make: bool = True) -> AsyncIterator[Couch]:
    """Deleted in the end, whoever made them."""
    async with aiohttp.ClientSession() as session:
        couch = Couch(session, url, prefix)
        names = (couch.names.actions, couch.names.activations, couch.names.subjects)
        for name in names if make else ():
            await couch.put(name)
        yield couch
        for name in names:
            async with session.delete(f"{url}/{name}"):
                pass
