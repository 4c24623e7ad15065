"""HTTP by hand, so that a test can say what no client would."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any

SCHEDULER = "/api/v1/scheduler"
JSON = {"Content-Type": "application/json"}
Json = dict[str, Any]


def post(
    master: str, body: object, headers: dict[str, str] | None = None, path: str = SCHEDULER, method: str = "POST"
) -> tuple[int, str, dict[str, str]]:
    """Status, text and headers of the answer. `body` is sent as JSON, unless it is bytes."""
    connection = http.client.HTTPConnection(master, timeout=10)
    try:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, data, JSON if headers is None else headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), dict(answer.headers)
    finally:
        connection.close()


def sent(master: str, data: bytes) -> socket.socket:
    """A connection on which `data` was sent, and nothing more."""
    host, port = master.split(":")
    connection = socket.create_connection((host, int(port)), timeout=10)
    connection.sendall(data)
    return connection
