"""The part of HTTP/1.1 that a client of the admin API needs: one request per connection.

http.client imports email and ssl, which takes longer than everything else that `owmesos nodes` does.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from typing import IO, TYPE_CHECKING

from owmesos.errors import OwmesosError

if TYPE_CHECKING:
    import ssl

_MAX_LINE = 64 * 1024
_MAX_HEADERS = 100
_MAX_INTERIM = 10  # answers before the answer, of status 1xx, that a proxy may add
_MAX_DIGITS = 18
_KEEPALIVE = 30  # seconds of silence; Linux's own value is two hours
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,16}")


class BadAnswer(OwmesosError):
    """The answer is not valid HTTP/1.1, or ends too early."""


class HttpAnswer:
    """Can be read once, while its connection is open. `kind` is the content type without its parameters; `location`
    is where a redirection leads."""

    def __init__(self, stream: IO[bytes]) -> None:
        """Reads the head. Raises BadAnswer and OSError."""
        self._stream = stream
        for _ in range(_MAX_INTERIM):
            self.status, headers = self._head()
            if self.status >= 200:
                break
        self.kind = headers.get(b"content-type", b"text/plain").partition(b";")[0].strip().lower().decode("latin-1")
        self.location = headers.get(b"location", b"").decode("latin-1")
        self._chunked = headers.get(b"transfer-encoding", b"").lower() == b"chunked"
        length = headers.get(b"content-length")
        if length is not None and not (length.isdigit() and len(length) <= _MAX_DIGITS):
            raise BadAnswer("its answer has no valid length")
        self._length = int(length) if length is not None else None

    def _head(self) -> tuple[int, dict[bytes, bytes]]:
        """Status and headers."""
        version, _, rest = self._line().partition(b" ")
        status = rest[:3]
        if not version.startswith(b"HTTP/1.") or not status.isdigit():
            raise BadAnswer("it does not speak HTTP")
        headers: dict[bytes, bytes] = {}
        while line := self._line():
            name, colon, value = line.partition(b":")
            if not colon or len(headers) >= _MAX_HEADERS:
                raise BadAnswer("its answer has no valid headers")
            headers[name.strip().lower()] = value.strip()
        return int(status), headers

    def read(self) -> bytes:
        """The whole body. Raises BadAnswer and OSError."""
        return b"".join(self.parts())

    def parts(self, most: int = 64 * 1024) -> Iterator[bytes]:
        """The body as it comes, in parts of at most `most` bytes. Raises BadAnswer and OSError."""
        if self._chunked:
            yield from self._chunks(most)
        elif self._length is not None:
            yield from self._exactly(self._length, most)
        else:
            while part := self._read(most):
                yield part

    def lines(self) -> Iterator[bytes]:
        """The body's lines, without line breaks. Raises BadAnswer and OSError."""
        rest = b""
        for part in self.parts():
            *whole, rest = (rest + part).split(b"\n")
            yield from whole
        if rest:
            yield rest

    def _chunks(self, most: int) -> Iterator[bytes]:
        while True:
            size = self._line().partition(b";")[0].strip()
            if not _CHUNK_SIZE.fullmatch(size):
                raise BadAnswer("it ended in the middle of its answer")
            left = int(size, 16)
            if not left:
                while self._line():  # trailers
                    pass
                return
            yield from self._exactly(left, most)
            self._line()

    def _exactly(self, left: int, most: int) -> Iterator[bytes]:
        while left:
            part = self._read(min(left, most))
            if not part:
                raise BadAnswer("it ended in the middle of its answer")
            left -= len(part)
            yield part

    def _read(self, most: int) -> bytes:
        part: bytes = self._stream.read1(most)  # type: ignore[attr-defined]
        return part

    def _line(self) -> bytes:
        line = self._stream.readline(_MAX_LINE)
        if not line.endswith(b"\n"):
            raise BadAnswer("it closed the connection without an answer" if not line else "its answer is cut off")
        return line.rstrip(b"\r\n")


class HttpConnection:
    """A connection for one request. Every method raises OSError, of which ssl's errors are subclasses."""

    def __init__(
        self, host: str, port: int, *, timeout: float, connect: float | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """`connect`: seconds for the connection alone."""
        self._host = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._socket = socket.create_connection((host, port), connect or timeout)
        try:
            self._socket.settimeout(timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                self._socket = tls.wrap_socket(self._socket, server_hostname=host)
        except BaseException:
            self._socket.close()
            raise
        self._stream: IO[bytes] = self._socket.makefile("rb")

    def __enter__(self) -> HttpConnection:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()

    def ask(self, method: str, target: str, headers: Mapping[str, str], body: bytes | None = None) -> HttpAnswer:
        """Send a request; `target` must be quoted already. Raises BadAnswer too."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", "Connection: close", "Accept-Encoding: identity"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        head = "\r\n".join(lines)
        if not (head.isascii() and head.count("\r") == head.count("\n") == len(lines) - 1):
            raise BadAnswer("a header of the request is not valid")
        try:
            self._socket.sendall(f"{head}\r\n\r\n".encode() + (body or b""))
        except (BrokenPipeError, ConnectionResetError):
            return self._early()
        return HttpAnswer(self._stream)

    def _early(self) -> HttpAnswer:
        """An answer that was sent before the whole request was read."""
        try:
            return HttpAnswer(self._stream)
        except OSError:
            raise BadAnswer("it closed the connection without an answer") from None

    def wait_forever(self) -> None:
        """Remove the timeout, for an answer that may pause for any time, while the machine at the other end lives."""
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_KEEPIDLE"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE)
