"""The HTTP side of an action container: `/init` once, then `/run`, handed on to the process with the user's code.

Theory of operation. One thread and one selector; requests go to the action's process as they came, bodies are not
even parsed here, so a warm run costs two short hops. Answers come back with the number of their request, in any order.
At the end of each activation a sentinel is written on stdout and stderr, after what the action wrote and before the
answer leaves: whoever reads the logs knows where they end. Texts and status codes are those of OpenWhisk's own
containers.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

SENTINEL: Final = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n"
REQUEST: Final = struct.Struct("!cIQ")  # what it is, its number, the length of its body
REPLY: Final = struct.Struct("!IHQ")  # the request's number, the HTTP status, the length of the body
INIT: Final = b"I"
RUN: Final = b"R"
_CHUNK = 256 * 1024
_MAX_HEAD = 64 * 1024
_REASONS = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed"}


class BadRequest(Exception):
    """What came is no request that can be answered; the connection is closed after saying so."""


class Client:
    """One connection. `waits` while a request of it is being answered: the next is not looked at before."""

    __slots__ = ("incoming", "keep", "outgoing", "socket", "waits")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.incoming = bytearray()
        self.outgoing = b""
        self.waits = False
        self.keep = True

    def request(self) -> tuple[str, str, bytes] | None:
        """The next whole request as method, path and body, taken from what came in. Raises BadRequest."""
        end = self.incoming.find(b"\r\n\r\n")
        if end < 0:
            if len(self.incoming) > _MAX_HEAD:
                raise BadRequest("the head of the request is too long")
            return None
        first, *lines = self.incoming[:end].decode("latin-1").split("\r\n")
        parts = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = headers.get("content-length", "0")
        known = len(parts) == 3 and parts[2].startswith("HTTP/1.")
        if not known or not length.isdigit() or "transfer-encoding" in headers:
            raise BadRequest("a request needs a request line and a Content-Length")
        begin, stop = end + 4, end + 4 + int(length)
        if len(self.incoming) < stop:
            return None
        body = bytes(memoryview(self.incoming)[begin:stop])
        del self.incoming[:stop]
        self.keep = headers.get("connection", "").lower() != "close"
        return parts[0], parts[1], body


class Proxy:
    """Serves on `listener`, with the user's code behind `channel`, in process `pid`. `concurrent`: runs may overlap."""

    def __init__(self, listener: socket.socket, channel: socket.socket, pid: int, *, concurrent: bool) -> None:
        self._listener = listener
        self._channel = channel
        self._pid = pid
        self._concurrent = concurrent
        self._state = "ready"  # ready → starting → initialized or stopped
        self._exited = False
        self._running: dict[int, tuple[bytes, Client]] = {}
        self._number = 0
        self._answers = bytearray()
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the process is told to end."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._channel, selectors.EVENT_READ)
        while True:
            for key, events in self._selector.select():
                if key.data is not None:
                    self._client_ready(key.data, events)
                elif key.fileobj is self._channel:
                    self._action_ready()
                else:
                    self._accept()

    # -- clients

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connection, selectors.EVENT_READ, Client(connection))

    def _client_ready(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
            if events & selectors.EVENT_READ:
                data = client.socket.recv(_CHUNK)
                if not data:
                    self._drop(client)
                    return
                client.incoming += data
                self._look(client)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)

    def _look(self, client: Client) -> None:
        """Answer what has come in whole."""
        try:
            while not client.waits and client.socket.fileno() >= 0:
                request = client.request()
                if request is None:
                    return
                self._take(client, *request)
        except BadRequest as error:
            client.keep = False
            self._refuse(client, 400, str(error))

    def _take(self, client: Client, method: str, path: str, body: bytes) -> None:
        client.waits = True
        if method != "POST":
            self._refuse(client, 405, "only POST is served here")
        elif path == "/init":
            self._init(client, body)
        elif path == "/run":
            self._run(client, body)
        else:
            self._refuse(client, 404, "only /init and /run are served here")

    def _init(self, client: Client, body: bytes) -> None:
        if self._state == "initialized":
            self._refuse(client, 403, "Cannot initialize the action more than once.")
        elif self._state != "ready":
            self._refuse(client, 403, f"System not ready, status is {self._state}.")
        else:
            self._state = "starting"
            self._hand_on(INIT, client, body)

    def _run(self, client: Client, body: bytes) -> None:
        if self._exited:
            self._refuse(client, 500, "command exited")
        elif self._state != "initialized":
            self._refuse(client, 500, "no action defined yet")
        elif self._running and not self._concurrent:
            self._refuse(client, 403, "System not ready, status is running.")
        else:
            self._hand_on(RUN, client, body)

    def _refuse(self, client: Client, status: int, text: str) -> None:
        self._answer(client, status, json.dumps({"error": text}).encode())

    def _answer(self, client: Client, status: int, body: bytes) -> None:
        client.waits = False
        if client.socket.fileno() < 0:
            return  # it did not wait for the answer
        ending = "" if client.keep else "Connection: close\r\n"
        head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{ending}\r\n"
        )
        client.outgoing += head.encode() + body
        try:
            self._flush(client)
        except OSError:
            self._drop(client)

    def _flush(self, client: Client) -> None:
        """Send what can be sent now, the rest when the client takes it."""
        try:
            sent = client.socket.send(client.outgoing)
        except BlockingIOError:
            sent = 0
        client.outgoing = client.outgoing[sent:]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.outgoing else 0)
        if not client.outgoing and not client.keep:
            self._drop(client)
        elif self._selector.get_key(client.socket).events != wanted:
            self._selector.modify(client.socket, wanted, client)

    def _drop(self, client: Client) -> None:
        if client.socket.fileno() >= 0:
            self._selector.unregister(client.socket)
            client.socket.close()

    # -- the action's process

    def _hand_on(self, kind: bytes, client: Client, body: bytes) -> None:
        self._number = (self._number + 1) % 2**32
        self._running[self._number] = (kind, client)
        try:
            self._channel.sendall(REQUEST.pack(kind, self._number, len(body)))
            self._channel.sendall(body)
        except OSError:  # that it has ended is read from the channel
            return

    def _action_ready(self) -> None:
        try:
            data = self._channel.recv(_CHUNK)
        except ConnectionResetError:
            data = b""
        if not data:
            self._action_ended()
            return
        self._answers += data
        while len(self._answers) >= REPLY.size:
            number, status, length = REPLY.unpack_from(self._answers)
            end = REPLY.size + length
            if len(self._answers) < end:
                return
            body = bytes(memoryview(self._answers)[REPLY.size : end])
            del self._answers[:end]
            kind, client = self._running.pop(number)
            self._answered(kind, client, status, body)

    def _answered(self, kind: bytes, client: Client, status: int, body: bytes) -> None:
        if kind == INIT:
            self._state = {200: "initialized", 502: "stopped"}.get(status, "ready")
        if kind == RUN or self._state == "stopped":
            _write_sentinels()
        self._answer(client, status, body)
        self._look(client)

    def _action_ended(self) -> None:
        """The user's process is gone: what it was about is answered, and nothing else will run here."""
        self._selector.unregister(self._channel)
        self._channel.close()
        self._exited = True
        os.kill(self._pid, signal.SIGKILL)  # if it only closed the channel; one that is ending keeps its own status
        _, status = os.waitpid(self._pid, 0)
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            # It did not do that itself: for want of memory. The container ends too, so that the agent gives the reason.
            sys.exit(128 + signal.SIGKILL)
        lost, self._running = self._running, {}
        for kind, client in lost.values():
            if kind == INIT:
                self._state = "stopped"
                text = json.dumps({"error": "Cannot start action. Check logs for details."}).encode()
                self._answered(kind, client, 502, text)
            else:
                self._answered(kind, client, 400, json.dumps({"error": "command exited"}).encode())


def _write_sentinels() -> None:
    for stream in (1, 2):
        with suppress(OSError):  # nobody reads this stream: there is nowhere to say so
            os.write(stream, SENTINEL)
