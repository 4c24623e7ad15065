"""A client of `/api/v1/events` that reads as a browser does."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

KEYS = {"reservations": "launch_id", "waiting": "id", "timeline": "id", "starts": "at"}


class EventStream:
    """`tables` has the rows by key, as they are after the events that were read."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._content = response.content
        self.tables: dict[str, dict[str, Any]] = {"nodes": {}, **{name: {} for name in KEYS}}
        self.header: dict[str, Any] = {}

    async def event(self) -> tuple[str, dict[str, Any]]:
        """The next one's name and data. Comments are passed over."""
        name, data = "", ""
        while True:
            line = (await self._content.readuntil(b"\n")).decode()[:-1]
            if line.startswith("event: "):
                name = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line and name:
                document = json.loads(data)
                self._apply(document)
                return name, document

    async def snapshot(self) -> list[dict[str, Any]]:
        """All events of the first state."""
        events = []
        while True:
            name, document = await self.event()
            assert name == "snapshot"
            events.append(document)
            if not document["rest"]:
                return events

    def _apply(self, document: dict[str, Any]) -> None:
        for name, rows in self.tables.items():
            for row in document.get(name, []):
                rows[f"{row['agent_id']} {row['role']}" if name == "nodes" else row[KEYS[name]]] = row
            for key in document.get("gone", {}).get(name, []):
                rows.pop(key, None)
        self.header.update({name: document[name] for name in ("status", "left_out") if name in document})
