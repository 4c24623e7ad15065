"""How `owmesos local kill agent1` reaches the running `owmesos local`, or `owmesos run --master local`: by a socket in
the cluster's folder, which only its user can open. A connection has one request and one answer, each a line of JSON.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.system.discovery import announced, find, ports_of

Deed = Literal["kill", "start", "add"]
_LOCAL = "local"
"""The name of the file that contains the socket's path."""
_HOST = "127.0.0.1"
_FILE = "control"
_PATIENCE = 60.0  # seconds: a new agent has to register first
_TURN = 0.5  # seconds after which the thread looks whether it is to end
_AT_ONCE = 5.0  # seconds to receive the request
_SEEN_LATER = "; a framework for which nothing waits gets no offers, and sees it with its next launch"
_MOST = 4096  # bytes of a request or an answer
_MOST_NAMES = 10  # of agents in one text


class Daemons(Protocol):
    """What can be done to a running cluster."""

    @property
    def agent_names(self) -> Sequence[str]: ...

    def kill(self, name: str) -> None: ...

    def start(self, name: str) -> None: ...

    def add(self) -> str: ...

    def wait_registered(self) -> None: ...


class NotDone(OwmesosError):
    """The cluster did not do it."""


@contextmanager
def control(folder: Path, port: int, cluster: Daemons) -> Iterator[Callable[[float], None]]:
    """Yields a function that serves requests for a number of seconds. `port` is the master's."""
    file = folder / _FILE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(file))
        listener.listen()
        with announced(_LOCAL, _HOST, port, f"{file}\n"):
            yield lambda seconds: _serve(listener, port, cluster, seconds)


@contextmanager
def controlled(folder: Path, port: int, cluster: Daemons) -> Iterator[None]:
    """Serves requests within the block, in a thread of its own."""
    with control(folder, port, cluster) as serve:
        ended = threading.Event()

        def until_the_end() -> None:
            while not ended.is_set():
                serve(_TURN)

        thread = threading.Thread(target=until_the_end, name="local-control", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def _serve(listener: socket.socket, port: int, cluster: Daemons, seconds: float) -> None:
    listener.settimeout(seconds)
    with suppress(TimeoutError):
        connection, _ = listener.accept()
        with connection, suppress(OSError):  # the client is gone
            connection.settimeout(_AT_ONCE)
            try:
                answer = {"said": _done(port, cluster, json.loads(_line(connection)))}
            except OwmesosError as error:
                answer = {"error": str(error)}
            except (ValueError, LookupError, TypeError):
                answer = {"error": "not a valid request of `owmesos local kill`, `start` or `add`"}
            connection.sendall(json.dumps(answer).encode() + b"\n")


def _done(port: int, cluster: Daemons, request: Any) -> str:
    """Do what is requested, and say what was done. Raises OwmesosError."""
    deed, name = request["deed"], request["name"]
    if deed == "add":
        name = cluster.add()
        return f"{name} was added{_SEEN_LATER}"
    agents = cluster.agent_names
    if name not in agents:
        shown = ", ".join(agents[:_MOST_NAMES]) + (", ..." if len(agents) > _MOST_NAMES else "")
        raise InvalidInput(f"{name!r} is not an agent: " + (f"use one of {shown}" if agents else "there are none"))
    if deed == "kill":
        cluster.kill(name)
        start = f"owmesos local start {name} --port {port}"
        return f"{name} was killed; its tasks go on running, and `{start}` starts it again"
    cluster.start(name)
    cluster.wait_registered()
    return f"{name} runs again{_SEEN_LATER}"


def ask(port: int | None, deed: Deed, name: str | None) -> str:
    """Ask the cluster, and return what it has done. Without `port` there must be one cluster only. Raises NotDone."""
    port = _the_only_port() if port is None else port
    path = find(_LOCAL, _HOST, port)
    if path is None:
        raise NotDone(f"no cluster of yours runs with its master at {_HOST}:{port}: give the --port of one")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(path.strip())
            connection.sendall(json.dumps({"deed": deed, "name": name}).encode() + b"\n")
            answer = json.loads(_line(connection))
    except (OSError, ValueError) as error:
        raise NotDone(f"`owmesos local` at {_HOST}:{port} does not answer: {error}") from None
    if "error" in answer:
        raise NotDone(answer["error"])
    return str(answer["said"])


def _the_only_port() -> int:
    """Raises NotDone."""
    running = ports_of(_LOCAL, _HOST)
    if len(running) > 1:
        raise NotDone(f"several clusters run: give --port {' or '.join(map(str, running))}")
    if not running:
        raise NotDone("no cluster of yours runs: start one with `owmesos local` or `owmesos run --master local`")
    return running[0]


def _line(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n") and len(data) < _MOST:
        part = connection.recv(_MOST)
        if not part:
            break
        data += part
    return data
