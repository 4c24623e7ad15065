"""`scripts/kafka`, `scripts/couchdb` and `scripts/zookeeper`: a server on this machine to try things with.

    scripts/kafka up [--port P] | down | status
    scripts/couchdb up [--port P] | down | status
    scripts/zookeeper up [--port P] | down | status

`up` returns when it answers, and prints its address. It runs until `down`, which also
removes its data and its log from the user's cache folder.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from tests.servers.couchdb import CouchDB
from tests.servers.kafka import Kafka
from tests.servers.process import CACHE, Server, ServerMissing
from tests.servers.zookeeper import LastingZooKeeper

SERVERS: dict[str, tuple[Callable[[Path, int], Server], int]] = {
    "kafka": (Kafka, 9092),
    "couchdb": (CouchDB, 5984),
    "zookeeper": (LastingZooKeeper, 2181),
}


def main(arguments: Sequence[str] | None = None, cache: Path = CACHE) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("command", choices=("up", "down", "status"))
    parser.add_argument("--port", type=int)
    asked = parser.parse_args(arguments)
    make, default = SERVERS[asked.server]
    folder = cache / f"run-{asked.server}"
    noted = folder / "port"
    port = int(noted.read_text()) if noted.exists() else default
    try:
        server = make(folder, port)
        if asked.command == "up" and asked.port not in (None, port):
            if server.pid is not None:
                click.echo(f"{server.name} runs at {server.address}: `scripts/{asked.server} down` first", err=True)
                return 1
            server = make(folder, asked.port)  # its process has ended by itself
    except ServerMissing as reason:
        click.echo(f"no {asked.server}: {reason}", err=True)
        return 1
    return {"up": up, "down": down, "status": status}[asked.command](server, noted)


def up(server: Server, noted: Path) -> int:
    if server.pid is None:
        noted.write_text(str(server.port))
        server.start()
    return status(server, noted)


def down(server: Server, noted: Path) -> int:
    server.stop()
    shutil.rmtree(server.folder)
    return 0


def status(server: Server, noted: Path) -> int:
    click.echo(f"{server.name} {'runs' if server.pid else 'does not run'} at {server.address}")
    return 0 if server.pid else 1


if __name__ == "__main__":
    sys.exit(main())
