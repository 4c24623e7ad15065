"""A server that speaks CouchDB's HTTP API: PouchDB Server from npm, in memory, on the machine's Node.

Not CouchDB itself: OWMESOS_TEST_COUCHDB names a real one for the same tests.
"""

from __future__ import annotations

import urllib.request
from pathlib import Path

from tests.servers.process import CACHE, Server, fetched, free_port, need

VERSION = "4.2.0"


def program() -> Path:
    """The server's program; fetches it the first time. Raises ServerMissing."""
    need("node", "npm")
    folder = CACHE / f"pouchdb-server-{VERSION}"
    command = ("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder))
    fetched(folder, folder / "complete", *command, f"pouchdb-server@{VERSION}")
    return folder / "node_modules" / ".bin" / "pouchdb-server"


class CouchDB(Server):
    """A server without users; what it holds ends with it."""

    name = "PouchDB Server"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port or free_port())
        self._program = program()

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def command(self) -> list[str]:
        options = ("--in-memory", "--host", "127.0.0.1", "--port", str(self.port), "--no-color", "--no-stdout-logs")
        return ["node", str(self._program), *options]

    def answers(self) -> bool:
        with urllib.request.urlopen(self.url, timeout=2) as response:
            return bool(response.status == 200)
