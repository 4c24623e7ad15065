"""A client of the admin API, for the commands: plain, blocking, quick to load, and every error is one line."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.openwhisk.results import decode_result

DEFAULT_ADMIN = "127.0.0.1:8686"
_TIMEOUT = 60.0
"""Seconds: twice what the API lets one request wait."""
_WAIT = 25.0
_IDS_PER_REQUEST = 100
"""So that a request's line stays below what a server takes."""
_ADDRESS = re.compile(r"(?:http://)?(?P<host>\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})/?\Z")
Document = dict[str, Any]


class RequestFailed(OwmesosError):
    """The framework would not, or could not, do it."""


class NotRunning(RequestFailed):
    """No framework answers."""


class Endpoint(NamedTuple):
    """Where an admin API is, or shall be."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """`HOST:PORT` or `http://HOST:PORT`. Raises InvalidInput."""
        match = _ADDRESS.match(text.strip())
        if match is None or int(match["port"]) > 65535:
            raise InvalidInput(f"{text!r} is no address of an admin API: write HOST:PORT or http://HOST:PORT")
        return cls(match["host"].strip("[]"), int(match["port"]))

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


class AdminClient:
    """Every method raises NotRunning or RequestFailed."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def listing(self, name: str, **parameters: str) -> list[Document]:
        """`nodes`, `offers`, `reservations`, `launches` or `containers`."""
        rows, _ = self._ask("GET", f"/api/v1/{name}", parameters)
        return rows  # type: ignore[no-any-return]

    def explain(self, name: str) -> Document:
        return self._one(f"/api/v1/explain/{quote(name, safe='')}")

    def story(self, name: str) -> Document:
        return self._one(f"/api/v1/story/{quote(name, safe='')}")

    def launch(self, launch: Mapping[str, Any], count: int) -> list[Document]:
        rows, _ = self._ask("POST", "/api/v1/launches", body={"launch": launch, "count": count})
        return rows  # type: ignore[no-any-return]

    def kill(self, names: Sequence[str]) -> list[Document]:
        rows, _ = self._ask("POST", "/api/v1/kill", body={"ids": list(names)})
        return rows  # type: ignore[no-any-return]

    def teardown(self) -> Document:
        document, _ = self._ask("POST", "/api/v1/teardown", body={})
        return document  # type: ignore[no-any-return]

    def wait(self, ids: Sequence[str], until: str) -> list[Document]:
        """Returns when all of them are `running` or `ended`, however long that takes."""
        rows: list[Document] = []
        for begin in range(0, len(ids), _IDS_PER_REQUEST):
            part = ids[begin : begin + _IDS_PER_REQUEST]
            parameters = {"id": part, "wait": until, "timeout": f"{_WAIT:g}"}
            reached = False
            while not reached:
                found, headers = self._ask("GET", "/api/v1/launches", parameters)
                reached = headers.get("Owmesos-Wait") == "reached"
            rows += found
        return rows

    def _one(self, path: str) -> Document:
        document, _ = self._ask("GET", path)
        return document  # type: ignore[no-any-return]

    def _ask(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
        *,
        timeout: float = _TIMEOUT,
    ) -> tuple[Any, Message]:
        """The answer's document and headers."""
        target = path + ("?" + urlencode(parameters, doseq=True) if parameters else "")
        headers = {} if body is None else {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = self._endpoint.url
        connection = http.client.HTTPConnection(*self._endpoint, timeout=timeout)
        try:
            connection.request(method, target, data, headers)
            response = connection.getresponse()
            text = response.read()
        except (ConnectionRefusedError, socket.gaierror):
            raise NotRunning(f"no framework answers at {url}: start one with `owmesos run` or give --admin") from None
        except TimeoutError:
            raise RequestFailed(f"no answer from {url} in {timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            why = str(error) or type(error).__name__
            raise RequestFailed(f"the connection to {url} broke ({why}): is that `owmesos run`?") from None
        finally:
            connection.close()
        return self._document(response.status, response.headers.get_content_type(), text), response.headers

    def _document(self, status: int, kind: str, text: bytes) -> Any:
        try:
            document = decode_result(text) if kind == "application/json" else None
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, (list, dict)):
            raise RequestFailed(f"what answers at {self._endpoint.url} is no owmesos ({status} {kind})")
        if status >= 400:
            reason = document.get("error") if isinstance(document, dict) else None
            raise RequestFailed(str(reason or f"the framework answers with {status}"))
        return document
