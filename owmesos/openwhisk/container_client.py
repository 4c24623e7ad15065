"""One container's HTTP: POSTs that end with its answer or with why there is none, on connections that are kept.

Nothing is decided here. The time is bounded for the whole of a call, the answer in size; what is over is not read, and
its connection is closed. docs: actions-new.md of OpenWhisk, "Action Interface".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import aiohttp
from yarl import URL

from owmesos.openwhisk.protocol import MAX_RESPONSE, RETRY_INTERVAL, Answer, Outcome, Silence

_CONNECT_TIMEOUT = 5.0
_NO_CONTENT = 204
_NO_CEILING = 2.0**31  # aiohttp rounds longer time-outs up to whole seconds


class ContainerClient:
    """`address` is `host:port`. To be used within one event loop."""

    def __init__(self, address: str, *, max_response: int = MAX_RESPONSE) -> None:
        self._base = f"http://{address}"
        self._max_response = max_response
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def post(self, path: str, body: Sequence[bytes], timeout: float, *, retry: bool = False) -> Outcome:
        """The answer, within `timeout` seconds. With `retry` a container that does not listen yet is asked again."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        url = URL(self._base + path, encoded=True)
        while not self._closed:
            outcome = await self._post_once(url, body, deadline - loop.time())
            if outcome is not Silence.UNREACHABLE or not retry:
                return outcome
            if loop.time() + RETRY_INTERVAL >= deadline:
                return Silence.TIMED_OUT
            await asyncio.sleep(RETRY_INTERVAL)
        return Silence.BROKEN

    async def close(self) -> None:
        """What is still being asked ends as broken."""
        self._closed = True
        if self._session is not None:
            await self._session.close()

    async def _post_once(self, url: URL, body: Sequence[bytes], timeout: float) -> Outcome:
        if timeout <= 0:  # to aiohttp that would be none at all
            return Silence.TIMED_OUT
        if self._session is None:
            self._session = _session()
        length = sum(map(len, body))
        headers = {"Content-Type": "application/json", "Content-Length": str(length)}
        limits = aiohttp.ClientTimeout(
            total=timeout, sock_connect=min(timeout, _CONNECT_TIMEOUT), ceil_threshold=_NO_CEILING
        )
        data = body[0] if len(body) == 1 else _parts(body)
        try:
            # An action that answers with a redirection does not send the invoker to other hosts.
            async with self._session.post(
                url, data=data, headers=headers, timeout=limits, allow_redirects=False
            ) as response:
                return await self._answer(response)
        except aiohttp.ConnectionTimeoutError:
            return Silence.UNREACHABLE if timeout > _CONNECT_TIMEOUT else Silence.TIMED_OUT
        except asyncio.TimeoutError:
            return Silence.TIMED_OUT
        except aiohttp.ClientConnectorError:
            return Silence.UNREACHABLE
        except (aiohttp.ClientError, OSError, EOFError, ValueError):
            return Silence.BROKEN
        except RuntimeError:  # a session that was closed meanwhile
            if not self._closed:
                raise
            return Silence.BROKEN

    async def _answer(self, response: aiohttp.ClientResponse) -> Outcome:
        length = response.content_length
        if length is None or response.status == _NO_CONTENT:
            response.close()
            return Silence.BROKEN
        if length <= self._max_response:
            return Answer(response.status, await response.read(), length)
        head = await response.content.readexactly(self._max_response)
        response.close()
        return Answer(response.status, head, length)


def _session() -> aiohttp.ClientSession:
    """How many go to it at once is the pool's to say."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=3600.0),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
        auto_decompress=False,
        read_bufsize=2**20,
    )


async def _parts(body: Sequence[bytes]) -> AsyncIterator[bytes]:
    """One after the other, so that they need not be copied into one."""
    for part in body:
        yield part
