"""The HttpParser that pymesos reads a master's event stream with, on h11.

http-parser's own is C code that has not built since Python 3.11. The methods, and what they answer at which moment,
are http-parser's; only those that pymesos calls are here. There must be no attribute `errno`: pymesos takes a parser
that has one for http-parser's old pure Python one, and imports that.
"""

from __future__ import annotations

import h11

HTTP_RESPONSE, HTTP_BOTH = 1, 2
_HPE_UNKNOWN = 31  # http-parser's number for a fault that has no number of its own


class HttpParser:
    """Reads one answer, however it is cut. What comes after its end is ignored."""

    def __init__(self, kind: int = HTTP_BOTH) -> None:
        """`kind`: an answer, or whichever it is; requests alone are not read. Raises ValueError."""
        if kind not in (HTTP_RESPONSE, HTTP_BOTH):
            raise ValueError("only answers can be read")
        self._connection = h11.Connection(h11.CLIENT)
        self._connection.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
        self._connection.send(h11.EndOfMessage())
        self._answer: h11.Response | None = None
        self._body: list[bytes] = []
        self._complete = False
        self._errno = 0

    def execute(self, data: bytes, length: int) -> int:
        """Reads the first `length` bytes of `data`, none at the connection's end. How many of them are good: fewer
        than `length` when it is no HTTP, and 0 from then on.
        """
        if self._errno:
            return 0
        if self._complete:
            return length
        try:
            self._connection.receive_data(bytes(data[:length]))
            self._read_events()
        except h11.RemoteProtocolError:
            self._errno = _HPE_UNKNOWN
            return 0
        return length

    def get_errno(self) -> int:
        """0 while all is well."""
        return self._errno

    def is_headers_complete(self) -> bool:
        return self._answer is not None

    def get_status_code(self) -> int:
        """0 before the headers are complete."""
        return self._answer.status_code if self._answer is not None else 0

    def get_headers(self) -> dict[str, str]:
        """Names as they came; of a repeated one the values are joined by commas."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self._answer.headers.raw_items() if self._answer is not None else ():
            name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return headers

    def is_chunked(self) -> bool:
        return any(name.lower() == "transfer-encoding" for name in self.get_headers())  # h11 takes no other

    def is_partial_body(self) -> bool:
        """Whether `recv_body` has something to give."""
        return bool(self._body)

    def recv_body(self) -> bytes:
        """The body since the last call."""
        body, self._body = b"".join(self._body), []
        return body

    def is_message_complete(self) -> bool:
        return self._complete

    def _read_events(self) -> None:
        """Raises h11.RemoteProtocolError."""
        while True:
            event = self._connection.next_event()
            if isinstance(event, h11.Response):
                self._answer = event
            elif isinstance(event, h11.Data):
                self._body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._complete = True
                return
            elif not isinstance(event, h11.InformationalResponse):
                return
