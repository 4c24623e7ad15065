"""The HTTP side of an action container: `/init` once, then `/run`, handed on to the process with the user's code.

Theory of operation. One thread and one selector; requests go to the action's process as they came, bodies are not
even parsed here, so a warm run costs two short hops. Answers come back with the number of their request, in any order.
At the end of each activation a sentinel is written on stdout and stderr, after what the action wrote and before the
answer is sent, so readers of the logs know where they end. Texts and status codes are those of OpenWhisk's own
containers.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from owmesos.runtimes.client import MAX_HEAD, BadRequest, Client
from owmesos.runtimes.framing import CHUNK, INIT, PROVE, REPLY, REQUEST, RUN, SENTINEL, send_all

if TYPE_CHECKING:
    from owmesos.runtimes.access import Gate  # which is imported where there is a verifier only

_SENTINEL = SENTINEL.encode() + b"\n"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    413: "Content Too Large",
}
_LAST_WORDS = 10.0  # seconds
_ENDS_WITHIN = 1.0  # seconds that a process needs at most to end once its files are closed
_MAX_STRANGERS = 64  # connections that have not shown the secret, or sent no request yet; the oldest makes room


class Proxy:
    """Serves on `listener`, with the user's code in process `pid`.

    Its main thread is behind `channel`; what comes while that has something to do goes through `beside`, if it is
    `concurrent`, which lets runs overlap.

    With a `gate` only those who know the container's secret can initialize and run.
    """

    def __init__(
        self,
        listener: socket.socket,
        channel: socket.socket,
        beside: socket.socket,
        pid: int,
        *,
        concurrent: bool,
        gate: Gate | None = None,
    ) -> None:
        self._gate = gate
        self._strangers: dict[Client, None] = {}  # the oldest first
        self._listener = listener
        self._channels = {channel: bytearray(), beside: bytearray()}  # what has come of the next answer
        self._channel = channel
        self._beside = beside
        self._pid = pid
        self._concurrent = concurrent
        self._state = "ready"  # ready → starting → initialized or stopped
        self._exited = False
        self._running: dict[int, tuple[bytes, Client]] = {}
        self._number = 0
        self._on_channel: int | None = None  # the number of the request that is being answered there
        self._selector = selectors.DefaultSelector()

    def serve(self) -> None:
        """Until the process is told to end."""
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        for channel in self._channels:
            self._selector.register(channel, selectors.EVENT_READ)
        signals = self._watch_children()
        self._child_ended()  # which may have been before
        while True:
            for key, events in self._selector.select():
                if key.data is not None:
                    self._client_ready(key.data, events)
                elif key.fileobj in self._channels:
                    if not self._exited:
                        self._action_ready(key.fileobj)
                elif key.fileobj is signals:
                    with suppress(BlockingIOError):
                        signals.recv(CHUNK)
                    self._child_ended()
                else:
                    self._accept()

    def _watch_children(self) -> socket.socket:
        """Readable when a child ends. Its channel may stay open: its own children have it too."""
        signals, self._wakeup = socket.socketpair()
        signals.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._selector.register(signals, selectors.EVENT_READ)
        return signals

    # -- clients

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it went away again
            return
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = Client(connection, self._gate)
        self._selector.register(connection, selectors.EVENT_READ, client)
        self._strangers[client] = None
        if len(self._strangers) > _MAX_STRANGERS:
            self._drop(next(iter(self._strangers)))

    def _client_ready(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                self._flush(client)
                self._look(client)
            if events & selectors.EVENT_READ:
                data = client.socket.recv(CHUNK)
                self._received(client, data)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)

    def _received(self, client: Client, data: bytes) -> None:
        if not data or (client.waits and len(client.incoming) > MAX_HEAD):  # who waits sends nothing that is large
            self._drop(client)
        elif client.keep or client.waits:  # else it only has to read its answer
            client.incoming += data
            self._look(client)

    def _look(self, client: Client) -> None:
        """Answer what has come in whole; the next not before the answer is taken."""
        try:
            while not client.waits and not client.outgoing and client.socket.fileno() >= 0:
                request = client.request()
                if request is None:
                    return
                if client.admitted:
                    self._strangers.pop(client, None)
                self._take(client, *request)
        except BadRequest as error:
            client.keep = False
            self._refuse(client, error.status, str(error))

    def _take(self, client: Client, method: str, path: str, body: bytes) -> None:
        client.waits = True
        if method != "POST":
            self._refuse(client, 405, "only POST is allowed")
        elif path == "/init":
            self._init(client, body)
        elif path == "/run":
            self._run(client, body)
        elif path == PROVE and self._gate is not None:
            self._prove(client, self._gate, body)
        else:
            self._refuse(client, 404, "the path must be /init or /run")

    def _init(self, client: Client, body: bytes) -> None:
        if self._state == "initialized":
            _log("Cannot initialize the action more than once.")
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

    def _prove(self, client: Client, gate: Gate, body: bytes) -> None:
        proof = gate.prove(body.decode("latin-1"))
        if proof is None:
            self._refuse(client, 400, "a challenge is 64 hexadecimal digits")
        else:
            self._answer(client, 200, json.dumps({"proof": proof}).encode())

    def _refuse(self, client: Client, status: int, text: str) -> None:
        self._answer(client, status, _error(text))

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
        sending = bool(client.outgoing)
        if not sending and not client.keep:
            self._drop(client)
        elif client.sending != sending:
            client.sending = sending
            self._selector.modify(client.socket, selectors.EVENT_WRITE if sending else selectors.EVENT_READ, client)

    def _flush_all(self) -> None:
        """Sends what is left of answers that are being sent."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Client) and key.data.outgoing:
                with suppress(OSError):
                    key.data.socket.settimeout(_LAST_WORDS)
                    key.data.socket.sendall(key.data.outgoing)

    def _drop(self, client: Client) -> None:
        self._strangers.pop(client, None)
        if client.socket.fileno() >= 0:
            self._selector.unregister(client.socket)
            client.socket.close()

    # -- the action's process

    def _hand_on(self, kind: bytes, client: Client, body: bytes) -> None:
        self._number = (self._number + 1) % 2**32
        self._running[self._number] = (kind, client)
        channel = self._beside
        if self._on_channel is None:
            channel, self._on_channel = self._channel, self._number
        with suppress(OSError):  # that it has ended is read from the channel
            send_all(channel.sendall, REQUEST.pack(kind, self._number, len(body)), body)

    def _action_ready(self, channel: socket.socket) -> None:
        data = b""
        with suppress(ConnectionResetError):
            data = channel.recv(CHUNK)
        if data:
            self._answers_came(channel, data)
        else:
            self._action_ended(self._status_of_the_silent())

    def _status_of_the_silent(self) -> int:
        """How the action's process ended, which has closed a channel. If it only did that, it is killed; that is then
        not said to be for want of memory."""
        patience = time.monotonic() + _ENDS_WITHIN
        while time.monotonic() < patience:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                return status
            time.sleep(0.005)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        return signal.SIGTERM

    def _answers_came(self, channel: socket.socket, data: bytes) -> None:
        answers = self._channels[channel]
        answers += data
        while len(answers) >= REPLY.size:
            number, status, length = REPLY.unpack_from(answers)
            end = REPLY.size + length
            if len(answers) < end:
                return
            body = bytes(memoryview(answers)[REPLY.size : end])
            del answers[:end]
            if number == self._on_channel:
                self._on_channel = None
            if number in self._running:
                kind, client = self._running.pop(number)
                self._answered(kind, client, status, body)

    def _child_ended(self) -> None:
        """Whether it was the action's process."""
        if self._exited:
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid != 0:
            self._action_ended(status)

    def _answered(self, kind: bytes, client: Client, status: int, body: bytes) -> None:
        if kind == INIT:
            self._state = {200: "initialized", 502: "stopped"}.get(status, "ready")
        if kind == RUN or self._state == "stopped":
            _write_sentinels()
        self._answer(client, status, body)
        self._look(client)

    def _action_ended(self, status: int) -> None:
        """The user's process is gone: the answers that it left in the channels are given, what else it was about is
        answered as an error, and nothing else will run here."""
        for channel in self._channels:
            with suppress(OSError):
                while data := channel.recv(CHUNK, socket.MSG_DONTWAIT):
                    self._answers_came(channel, data)
        for channel in self._channels:
            self._selector.unregister(channel)
            channel.close()
        self._exited = True
        if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
            # It did not do that itself: for want of memory. The container ends too: the cluster gives the reason.
            sys.exit(128 + signal.SIGKILL)
        if not self._running and self._state == "initialized":
            # Between runs: the container ends too, so that the next run gets another one and is not charged with it.
            self._flush_all()
            sys.exit((128 + os.WTERMSIG(status)) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status) or 1)
        lost, self._running = self._running, {}
        for kind, client in lost.values():
            if kind == INIT:
                self._state = "stopped"
                _log("Command exited abruptly during initialization.")
                self._answered(kind, client, 502, _error("Cannot start action. Check logs for details."))
            else:
                self._answered(kind, client, 400, _error("command exited"))


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def _log(text: str) -> None:
    with suppress(OSError):  # nobody reads this stream
        os.write(2, text.encode() + b"\n")


def _write_sentinels() -> None:
    for stream in (1, 2):
        with suppress(OSError):  # nobody reads this stream: there is nowhere to say so
            os.write(stream, _SENTINEL)
