"""A ZooKeeper in this process, for what does not need a real one: the same client speaks to it, on every Python.

It keeps nodes, versions, ephemeral nodes and transactions as ZooKeeper does; it has no watches, ACLs, or disk.
"""

from __future__ import annotations

import socketserver
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

NO_NODE, BAD_VERSION, NODE_EXISTS, NOT_EMPTY = -101, -103, -110, -111
ROLLED_BACK, RUNTIME_INCONSISTENCY = 0, -2
CREATE, DELETE, EXISTS, GET, SET, CHILDREN, SYNC, PING, CHECK, MULTI, AUTH, CLOSE = (
    *(1, 2, 3, 4, 5, 8),
    *(9, 11, 13, 14, 100, -11),
)
_EPHEMERAL = 1
_LONGEST = 4.0  # seconds without a sign of a client, whatever it asks for
_LARGEST = 1_048_575
"""Bytes of a request, ZooKeeper's own limit (`jute.maxbuffer`)."""


class Rejected(Exception):
    """What a request is answered with instead of a result."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass
class Node:
    """`owner` is the session whose end removes it, or 0."""

    data: bytes
    owner: int = 0
    version: int = 0


@dataclass
class Session:
    """`heard` is of the monotonic clock; the timeout in seconds."""

    timeout: float
    heard: float = field(default_factory=time.monotonic)


class Reader:
    """Jute's types, from a request."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def number(self, form: str) -> int:
        (value,) = struct.unpack_from(">" + form, self.data, self.at)
        self.at += struct.calcsize(">" + form)
        return int(value)

    def buffer(self) -> bytes:
        length = max(0, self.number("i"))
        self.at += length
        return self.data[self.at - length : self.at]

    def text(self) -> str:
        return self.buffer().decode()

    def skip_acl(self) -> None:
        for _ in range(self.number("i")):
            self.number("i")
            self.buffer()
            self.buffer()


def _above(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def buffer(data: bytes) -> bytes:
    return struct.pack(">i", len(data)) + data


class Tree:
    """The nodes and sessions. Each method is one step for all clients."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.nodes = {"/": Node(b"")}
        self.sessions: dict[int, Session] = {}
        self.zxid = 0
        self._numbers = iter(range(1, 1_000_000))

    def join(self, session: int, asked: float) -> tuple[int, float]:
        """The session and its timeout; another id if `session` is 0, and 0 if it has expired."""
        with self.lock:
            self.expire()
            if session == 0:
                session = next(self._numbers)
                self.sessions[session] = Session(min(asked, _LONGEST))
            if session not in self.sessions:
                return 0, 0.0
            return session, self.sessions[session].timeout

    def heard(self, session: int) -> bool:
        """False if it has expired."""
        with self.lock:
            self.expire()
            if session in self.sessions:
                self.sessions[session].heard = time.monotonic()
            return session in self.sessions

    def expire(self) -> None:
        now = time.monotonic()
        for session in [each for each, known in self.sessions.items() if now - known.heard > known.timeout]:
            self.leave(session)

    def leave(self, session: int) -> None:
        with self.lock:
            self.sessions.pop(session, None)
            self.nodes = {path: node for path, node in self.nodes.items() if not session or node.owner != session}

    def answer(self, session: int, kind: int, body: Reader) -> bytes:
        """Raises Rejected."""
        with self.lock:
            if kind == MULTI:
                return self._transaction(session, body)
            done = self._done(session, kind, body)
            self.zxid += kind in (CREATE, DELETE, SET)
            return done

    def _transaction(self, session: int, body: Reader) -> bytes:
        before = {path: Node(node.data, node.owner, node.version) for path, node in self.nodes.items()}
        kinds, results, fault = list[int](), list[bytes](), 0
        while True:
            kind, end, _ = body.number("i"), body.number("?"), body.number("i")
            if end:
                break
            kinds.append(kind)
            if fault:
                self._read(kind, body)
                continue
            try:
                results.append(self._done(session, kind, body))
            except Rejected as error:
                fault = error.code
        if fault:
            self.nodes, failed_at = before, len(results)
            codes = [ROLLED_BACK] * failed_at + [fault] + [RUNTIME_INCONSISTENCY] * (len(kinds) - failed_at - 1)
            parts = [struct.pack(">i?ii", -1, False, code, code) for code in codes]
        else:
            self.zxid += 1
            parts = [struct.pack(">i?i", kind, False, 0) + each for kind, each in zip(kinds, results, strict=True)]
        return b"".join(parts) + struct.pack(">i?i", -1, True, -1)

    def _read(self, kind: int, body: Reader) -> tuple[str, bytes, int]:
        """The path, data if there is some, and flags or the version."""
        path, data, number = body.text(), b"", -1
        if kind in (CREATE, SET):
            data = body.buffer()
        if kind == CREATE:
            body.skip_acl()
        if kind in (CREATE, SET, DELETE, CHECK):
            number = body.number("i")
        return path, data, number

    def _done(self, session: int, kind: int, body: Reader) -> bytes:
        path, data, number = self._read(kind, body)
        if kind == CREATE:
            self._create(path, Node(data, session if number & _EPHEMERAL else 0))
            return buffer(path.encode())
        if kind == SYNC:
            return buffer(path.encode())
        node = self.nodes.get(path)
        if node is None:
            raise Rejected(NO_NODE)
        if kind in (SET, DELETE, CHECK) and number not in (-1, node.version):
            raise Rejected(BAD_VERSION)
        if kind == SET:
            node.data, node.version = data, node.version + 1
        if kind == DELETE:
            if self._children(path):
                raise Rejected(NOT_EMPTY)
            del self.nodes[path]
        if kind == CHILDREN:
            names = self._children(path)
            return struct.pack(">i", len(names)) + b"".join(buffer(name.encode()) for name in names)
        if kind in (DELETE, CHECK):
            return b""
        return (buffer(node.data) if kind == GET else b"") + self._stat(path, node)

    def _create(self, path: str, node: Node) -> None:
        if path in self.nodes:
            raise Rejected(NODE_EXISTS)
        if _above(path) not in self.nodes:
            raise Rejected(NO_NODE)
        self.nodes[path] = node

    def _children(self, path: str) -> list[str]:
        return [each.rpartition("/")[2] for each in self.nodes if each != "/" and _above(each) == path]

    def _stat(self, path: str, node: Node) -> bytes:
        sizes = (len(node.data), len(self._children(path)))
        return struct.pack(">qqqqiiiqiiq", 0, 0, 0, 0, node.version, 0, 0, node.owner, *sizes, 0)


class FakeZooKeeper:
    """Listens on a port of its own from `start` to `stop`; what it holds outlives both."""

    def __init__(self) -> None:
        self.tree = Tree()
        self._server: Server | None = None
        self._port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        self._server = Server(("127.0.0.1", self._port), self.tree)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Connections break too."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.break_all()
            self._server = None


class Server(socketserver.ThreadingTCPServer):
    """A thread for each connection."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, address: tuple[str, int], tree: Tree) -> None:
        super().__init__(address, Connection)
        self.tree = tree
        self.breaks: set[Callable[[], None]] = set()

    def break_all(self) -> None:
        for each in list(self.breaks):
            each()


class Connection(socketserver.StreamRequestHandler):
    """One client's."""

    server: Server

    def handle(self) -> None:
        self.server.breaks.add(self._break)
        try:
            self._serve()
        except (OSError, EOFError):
            pass  # the client is gone, or a test breaks the connection
        finally:
            self.server.breaks.discard(self._break)

    def _break(self) -> None:
        self.connection.shutdown(2)

    def _serve(self) -> None:
        tree = self.server.tree
        hello = self._receive()
        hello.number("i")
        hello.number("q")
        asked, session = hello.number("i") / 1000, hello.number("q")
        session, timeout = tree.join(session, asked)
        self._send(struct.pack(">iiq", 0, int(timeout * 1000), session) + buffer(b"\0" * 16) + b"\0")
        while session:
            request = self._receive()
            if not tree.heard(session):
                return
            xid, kind = request.number("i"), request.number("i")
            if kind == CLOSE:
                tree.leave(session)
            self._send(struct.pack(">i", xid) + self._answer(session, kind, request))
            if kind == CLOSE:
                return

    def _answer(self, session: int, kind: int, request: Reader) -> bytes:
        tree = self.server.tree
        code, body = 0, b""
        if kind not in (PING, AUTH, CLOSE):
            try:
                body = tree.answer(session, kind, request)
            except Rejected as error:
                code = error.code
        return struct.pack(">qi", tree.zxid, code) + body

    def _receive(self) -> Reader:
        """Raises EOFError."""
        (length,) = struct.unpack(">i", self._exactly(4))
        if length > _LARGEST:
            raise EOFError
        return Reader(self._exactly(length))

    def _exactly(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) < length:
            raise EOFError
        return data

    def _send(self, data: bytes) -> None:
        self.wfile.write(buffer(data))
