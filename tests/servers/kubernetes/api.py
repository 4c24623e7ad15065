"""As much of a client as tests and commands need to set a cluster up: requests with JSON, one after the other."""

from __future__ import annotations

import http.client
import json
import ssl
from pathlib import Path
from typing import Any

TIMEOUT = 30.0  # seconds
Json = dict[str, Any]


class ApiRefused(Exception):
    """The API server answered with an error; `status` is HTTP's."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status}: {text}")
        self.status = status


class Api:
    """Not for several threads at once. `authority` is the certificate to trust."""

    def __init__(self, host: str, port: int, token: str, authority: Path) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}
        context = ssl.create_default_context(cafile=str(authority))
        self._connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)

    def __enter__(self) -> Api:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def get(self, path: str) -> Json:
        return self.call("GET", path)

    def post(self, path: str, body: Json) -> Json:
        return self.call("POST", path, body)

    def patch(self, path: str, body: Json) -> Json:
        return self.call("PATCH", path, body, "application/merge-patch+json")

    def delete(self, path: str, body: Json | None = None) -> Json:
        return self.call("DELETE", path, body)

    def call(self, method: str, path: str, body: Json | None = None, content: str = "application/json") -> Json:
        """Raises ApiRefused; OSError where nobody answers."""
        text = self.text(method, path, None if body is None else json.dumps(body), content)
        answer: Json = json.loads(text)
        return answer

    def text(self, method: str, path: str, body: str | None = None, content: str = "application/json") -> str:
        """The answer as it comes."""
        headers = self._headers if body is None else {**self._headers, "Content-Type": content}
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            text = response.read().decode()
        except http.client.HTTPException as error:
            self._connection.close()
            raise ConnectionError(f"the API server did not answer {method} {path}: {error!r}") from error
        except OSError:
            self._connection.close()
            raise
        if response.status >= 400:
            raise ApiRefused(response.status, text)
        return text
