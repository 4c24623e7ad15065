"""One connection to an action container: its requests, and the parts of answers that are still to be sent."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from owmesos.runtimes.framing import NONCE_LENGTH, PROVE

if TYPE_CHECKING:
    from owmesos.runtimes.access import Gate  # which is imported only if there is a verifier

MAX_HEAD = 64 * 1024
_MAX_BODY = 128 * 1024 * 1024  # the most code is 48 MB, and JSON may need several bytes for one
_LENGTH = re.compile(r"[0-9]{1,12}")  # RFC 9110, 8.6: digits of ASCII and nothing else; `str.isdigit` takes `²` too


class BadRequest(Exception):
    """A request that cannot be answered; the connection is closed after an answer with `status`."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class Client:
    """One connection. `waits` while one of its requests is being answered; the next one is read only after that."""

    __slots__ = ("admitted", "authorization", "gate", "incoming", "keep", "outgoing", "sending", "socket", "waits")

    def __init__(self, connection: socket.socket, gate: Gate | None = None) -> None:
        self.socket = connection
        self.gate = gate
        self.admitted = gate is None
        self.authorization = ""  # the header that admitted it, if one had to
        self.incoming = bytearray()
        self.outgoing = b""
        self.waits = False
        self.sending = False  # the selector waits until the socket is writable
        self.keep = True

    def request(self) -> tuple[str, str, bytes] | None:
        """The next complete request as method, path and body; None if it is not complete yet. Raises BadRequest."""
        end = self.incoming.find(b"\r\n\r\n", 0, MAX_HEAD)
        if end < 0:
            if len(self.incoming) >= MAX_HEAD:
                raise BadRequest("the head of the request is too long")
            return None
        first, *lines = self.incoming[:end].decode("latin-1").split("\r\n")
        parts = first.split(" ")
        headers: dict[str, str] = {}
        known = len(parts) == 3 and parts[2].startswith("HTTP/1.")
        for line in lines:
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            known = known and (name != "content-length" or headers.get(name, value) == value)
            headers[name] = value
        if not known or "transfer-encoding" in headers:
            raise BadRequest("a request needs a request line and one Content-Length")
        digits = headers.get("content-length", "0")
        if _LENGTH.fullmatch(digits) is None:
            raise BadRequest(f"the Content-Length must be a number of up to 12 digits, not {digits[:100]!r}")
        length = int(digits)
        self._admit(parts[1], length, headers.get("authorization", ""))
        if length > _MAX_BODY:
            raise BadRequest(f"the body is {length} bytes; at most {_MAX_BODY} are allowed", 413)
        begin, stop = end + 4, end + 4 + length
        if len(self.incoming) < stop:
            return None
        body = bytes(memoryview(self.incoming)[begin:stop])
        del self.incoming[:stop]
        self.keep = headers.get("connection", "").lower() != "close"
        return parts[0], parts[1], body

    def _admit(self, path: str, length: int, authorization: str) -> None:
        """Everything but a challenge needs the secret, without which the body is not read. Raises BadRequest."""
        if self.gate is None or (self.admitted and authorization == self.authorization):
            return
        if self.gate.admits(authorization):
            self.admitted, self.authorization = True, authorization
        elif path != PROVE or length > NONCE_LENGTH:
            raise BadRequest("the Authorization header must have this container's secret", 401)
