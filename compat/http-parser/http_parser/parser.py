"""http-parser's HttpParser, on h11: one request or one answer, however it is cut.

http-parser's own is C code that has not built since Python 3.11. The methods, and what they answer at which moment, are
http-parser's. There must be no attribute `errno`: pymesos takes a parser that has one for http-parser's old pure Python
one, and imports that.

It differs where h11 is stricter (two lengths, a transfer encoding other than chunked, white space before a colon), in
what is known before the first line is whole (no method, where http-parser says DELETE), and in what comes after the
message's end: it is ignored, where http-parser appends the next message's URL and headers to the first one's.
"""

from __future__ import annotations

import os
import re
import zlib
from typing import Any
from urllib.parse import SplitResult, urlsplit

import h11

from http_parser.util import IOrderedDict

HTTP_REQUEST, HTTP_RESPONSE, HTTP_BOTH = 0, 1, 2
HPE_UNKNOWN = 31  # http-parser's number for a fault that has no number of its own
_HEAD_LIMIT = 80 * 1024  # bytes; http-parser's HTTP_MAX_HEADER_SIZE
_ANSWER = b"HTTP/"
_REQUEST_LINE = re.compile(rb"(?P<method>[A-Z-]{1,32}) (?P<url>[\x21-\x7e]+) HTTP/(?P<major>\d)\.(?P<minor>\d)\r?\n\Z")
_ITS_BEGINNING = re.compile(rb"[A-Z-]{0,32}( [\x21-\x7e]*( [HTP/0-9.]{0,9}\r?)?)?\Z")
_SWITCHING = 101
_GZIP = 16 + zlib.MAX_WBITS


class _Malformed(Exception):
    """It is not HTTP."""


class HttpParser:
    """Reads one message. What comes after its end is ignored, but for what follows an upgrade, which is not read."""

    def __init__(self, kind: int = HTTP_BOTH, decompress: bool = False, header_only: bool = False) -> None:
        """`kind`: a request, an answer, or whichever it is. `decompress` undoes gzip and deflate. With `header_only`
        the message ends with its headers. Raises ValueError.
        """
        if kind not in (HTTP_REQUEST, HTTP_RESPONSE, HTTP_BOTH):
            raise ValueError(f"kind must be 0 (requests), 1 (answers) or 2 (both), not {kind!r}")
        self._kind = kind
        self._decompress = decompress
        self._header_only = header_only
        self._head = b""  # as long as h11 does not read it
        self._connection: h11.Connection | None = None
        self._method = self._url = ""
        self._version = (0, 0)
        self._status = 0
        self._headers = IOrderedDict()
        self._headers_complete = self._complete = self._upgrade = self._begun = False
        self._inflater: Any = None
        self._body: list[bytes] = []
        self._errno = 0

    def execute(self, data: bytes, length: int) -> int:
        """Reads the first `length` bytes of `data`, none at the connection's end. How many of them are good: fewer
        than `length` when it is not HTTP, and 0 from then on; also where an upgrade ends it.
        """
        if self._errno or (self._complete and self._upgrade):
            return 0
        if self._complete:
            return length
        try:
            self._read(bytes(data[:length]))
        except (_Malformed, h11.RemoteProtocolError, zlib.error):
            self._errno = HPE_UNKNOWN
            return 0
        if self._upgrade and self._connection is not None:
            return length - len(self._connection.trailing_data[0])
        return length

    def get_errno(self) -> int:
        """0 while all is well."""
        return self._errno

    def get_version(self) -> tuple[int, int]:
        """`(1, 1)`; `(0, 0)` before the first line is complete."""
        return self._version

    def get_method(self) -> str:
        """Empty before a request's first line is complete, and of an answer."""
        return self._method

    def get_status_code(self) -> int:
        """0 before an answer's headers are complete, and of a request."""
        return self._status

    def get_url(self) -> str:
        """As it stands in the request."""
        return self._url

    def get_path(self) -> str:
        return self._split().path

    def get_query_string(self) -> str:
        return self._split().query

    def get_fragment(self) -> str:
        return self._split().fragment

    def get_headers(self) -> IOrderedDict:
        """Names as they came, found in any case; of a repeated one the values are joined by commas."""
        return self._headers

    def get_wsgi_environ(self) -> dict[str, str]:
        """What WSGI's environ has of the request; SCRIPT_NAME is the process's own variable."""
        environ: dict[str, str] = {}
        for name, value in self._headers.items():
            upper = name.upper().replace("-", "_")
            environ[upper if upper in ("CONTENT_TYPE", "CONTENT_LENGTH", "SCRIPT_NAME") else f"HTTP_{upper}"] = value
        script, path = os.environ.get("SCRIPT_NAME", ""), self.get_path()
        return {
            **environ,
            "REQUEST_METHOD": self._method,
            "SERVER_PROTOCOL": "HTTP/{}.{}".format(*self._version),
            "PATH_INFO": path.removeprefix(script),
            "SCRIPT_NAME": script,
            "QUERY_STRING": self.get_query_string(),
            "RAW_URI": self._url,
        }

    def is_message_begin(self) -> bool:
        """Whether its first byte has come."""
        return self._begun

    def is_headers_complete(self) -> bool:
        return self._headers_complete

    def is_partial_body(self) -> bool:
        """Whether `recv_body` has something to give."""
        return bool(self._body)

    def is_message_complete(self) -> bool:
        return self._complete

    def is_chunked(self) -> bool:
        return self._headers.get("transfer-encoding", "").lower() == "chunked"

    def is_upgrade(self) -> int:
        """1 where a request asks for another protocol (CONNECT, Upgrade): what follows the headers is in that one."""
        return int(self._upgrade)

    def should_keep_alive(self) -> int:
        """1 where the connection may bring another message after this one."""
        options = {option.strip().lower() for option in self._headers.get("connection", "").split(",")}
        if self._version < (1, 1):
            keeps = self._version == (1, 0) and "keep-alive" in options
        else:
            keeps = "close" not in options
        return int(keeps and not self._ends_with_the_connection())

    def recv_body(self) -> bytes:
        """The body since the last call."""
        body, self._body = b"".join(self._body), []
        return body

    def recv_body_into(self, barray: bytearray | memoryview) -> int:
        """The same, as much as there is room for; how many bytes that is."""
        body = b"".join(self._body)
        size = min(len(body), len(barray))
        barray[:size] = body[:size]
        self._body = [body[size:]] if size < len(body) else []
        return size

    # -- within

    def _read(self, data: bytes) -> None:
        """Raises _Malformed, h11.RemoteProtocolError or zlib.error."""
        if self._connection is None:
            self._head = (self._head + data).lstrip(b"\r\n")
            self._begun = self._begun or bool(self._head)
            if not data:
                raise _Malformed
            data = self._begin()
            if self._connection is None:
                return
        self._connection.receive_data(data)
        self._read_events(self._connection)

    def _begin(self) -> bytes:
        """Finds out who reads it, and what of it there is to read."""
        head, self._head = self._head, b""
        if self._kind == HTTP_BOTH:
            shown = head[: len(_ANSWER)]
            if len(shown) < len(_ANSWER) and _ANSWER.startswith(shown):
                self._head = head
                return b""
            self._kind = HTTP_RESPONSE if shown == _ANSWER else HTTP_REQUEST
        if self._kind == HTTP_RESPONSE:
            self._connection = h11.Connection(h11.CLIENT, _HEAD_LIMIT)
            # So that a 101 is one too.
            asks = [("Host", "x"), ("Connection", "upgrade"), ("Upgrade", "x")]
            self._connection.send(h11.Request(method="GET", target="/", headers=asks))
            self._connection.send(h11.EndOfMessage())
            return head
        end = head.find(b"\n") + 1
        if not end:
            if len(head) > _HEAD_LIMIT or not _ITS_BEGINNING.match(head):
                raise _Malformed
            self._head = head
            return b""
        line = _REQUEST_LINE.match(head[:end])
        if line is None:
            raise _Malformed
        self._method, self._url = line["method"].decode("ascii"), line["url"].decode("ascii")
        self._version = (int(line["major"]), int(line["minor"]))
        self._connection = h11.Connection(h11.SERVER, _HEAD_LIMIT)
        # Of HTTP/1.1 h11 wants a Host, which http-parser does not; nothing else depends on the version here.
        return b"%s %s HTTP/1.0\r\n%s" % (line["method"], line["url"], head[end:])

    def _read_events(self, connection: h11.Connection) -> None:
        """Raises h11.RemoteProtocolError or zlib.error."""
        while not self._complete:
            event = connection.next_event()
            if isinstance(event, (h11.Request, h11.Response)):
                self._read_head(event)
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == _SWITCHING:
                    self._read_head(event)
            elif isinstance(event, h11.Data):
                data = bytes(event.data)
                self._body.append(self._inflated(data) if self._inflater is not None else data)
            elif isinstance(event, h11.EndOfMessage):
                if event.headers:  # after the last chunk
                    self._add(event.headers.raw_items())
                self._complete = True
            else:
                return

    def _read_head(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> None:
        self._add(event.headers.raw_items())
        self._headers_complete = True
        if not isinstance(event, h11.Request):
            self._status = event.status_code
            major, _, minor = event.http_version.decode("ascii").partition(".")
            self._version = (int(major), int(minor))
        self._upgrade = self._status == _SWITCHING if self._status else self._asks_for_another_protocol()
        if self._decompress and self._headers.get("content-encoding", "").lower() in ("gzip", "deflate"):
            gzip = self._headers["content-encoding"].lower() == "gzip"
            self._inflater = zlib.decompressobj(_GZIP if gzip else zlib.MAX_WBITS)
            del self._headers["content-encoding"]
        self._complete = self._header_only or self._upgrade

    def _inflated(self, data: bytes) -> bytes:
        """`deflate` should have zlib's header, and often has none."""
        try:
            return bytes(self._inflater.decompress(data))
        except zlib.error:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
            return bytes(self._inflater.decompress(data))

    def _asks_for_another_protocol(self) -> bool:
        return self._method == "CONNECT" or "upgrade" in self._headers

    def _add(self, headers: list[tuple[bytes, bytes]]) -> None:
        for raw_name, raw_value in headers:
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            self._headers[name] = f"{self._headers[name]}, {value}" if name in self._headers else value

    def _ends_with_the_connection(self) -> bool:
        if not self._status or self._status in (204, 304) or self._status < 200:
            return False
        return not self.is_chunked() and "content-length" not in self._headers

    def _split(self) -> SplitResult:
        try:
            return urlsplit(self._url)
        except ValueError:  # brackets that are not an IPv6 address
            return SplitResult("", "", self._url, "", "")
