"""Limits how much memory requests and answers may use, and for how long.

A body is read only after its sender is authenticated, within a time that depends on its size, and counts against a
budget of all requests until it is released. A large body is written to an unnamed file as it arrives; such requests
are processed one at a time, because decoding the code of an action takes several times its size for a moment.
"""

from __future__ import annotations

import asyncio
import mmap
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, TypeVar

import msgspec
from aiohttp import web

from owmesos.errors import NOT_READABLE, InvalidInput, OwmesosError
from owmesos.system.lone_surrogates import Decoder
from owmesos.system.tasks import within

T = TypeVar("T")
Decode = Callable[[bytes | memoryview], T]
"""Keeps nothing of what it is given. Raises NOT_READABLE."""
SMALL = 1024 * 1024  # bytes; what is larger goes to a file
PATIENCE = 20.0  # seconds that any body or answer may take
SLOWEST = 128 * 1024  # bytes a second that it must come or go on top of that
RETRY_AFTER = 5  # seconds, for one that is answered with 503


class Overloaded(OwmesosError):
    """The requests in progress already use all the memory that they may."""


class Budget:
    """Bytes that all requests together may hold at once."""

    def __init__(self, most: int, what: str) -> None:
        """`what` names in the error what uses the bytes."""
        self._most = most
        self._what = what
        self.held = 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yields `take`; what is taken by it is returned when the block ends."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            self.take(size)
            taken += size

        try:
            yield take
        finally:
            self.held -= taken

    def take(self, size: int) -> None:
        """A single request may take any size. Raises Overloaded."""
        if self.held and self.held + size > self._most:
            raise Overloaded(f"{self._what} hold {self._most // 2**20} MB already: retry in some seconds")
        self.held += size


BODIES = web.AppKey("bodies", Budget)
"""The budget of the bodies that are held in memory."""


def decoded(data: bytes | memoryview, kind: type[T], *, lone_surrogates: bool = False) -> T:
    """Decode a body as `kind`; with `lone_surrogates` its text may contain them. Raises InvalidInput."""
    try:
        return Decoder(kind).decode(data) if lone_surrogates else msgspec.json.decode(data, type=kind)
    except NOT_READABLE as error:
        raise _unusable(error) from None


def _unusable(error: Exception) -> InvalidInput:
    return InvalidInput(f"the request's body cannot be used: {error}")


async def chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The parts of a body, within its time. Raises HTTPRequestEntityTooLarge and HTTPRequestTimeout."""
    declared = request.content_length or 0
    if declared > limit:
        raise web.HTTPRequestEntityTooLarge(limit, declared)
    begun, size = time.monotonic(), 0
    while True:
        left = PATIENCE + size / SLOWEST - (time.monotonic() - begun)
        try:
            chunk = await within(request.content.readany(), max(left, 0.0))
        except asyncio.TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not chunk:
            return
        size += len(chunk)
        if size > limit:
            raise web.HTTPRequestEntityTooLarge(limit, size)
        yield chunk


async def small_body(request: web.Request) -> bytes:
    """Raises HTTPRequestEntityTooLarge, HTTPRequestTimeout and Overloaded."""
    data = bytearray()
    with request.app[BODIES].share() as take:
        async for chunk in chunks(request, SMALL):
            take(len(chunk))
            data += chunk
    return bytes(data)


@contextmanager
def cut_off_at(request: web.Request, *failures: type[Exception]) -> Iterator[None]:
    """Where the client does not read, or at one of the `failures`, its connection is cut: the answer has begun."""
    ends: tuple[type[Exception], ...] = (asyncio.TimeoutError, *failures)
    try:
        yield
    except ends:
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the client is gone


async def in_time(sending: Awaitable[None], size: int) -> None:
    """Raises asyncio.TimeoutError if the client does not read the `size` bytes."""
    await within(sending, PATIENCE + size / SLOWEST)


async def streamed(request: web.Request, headers: Mapping[str, str]) -> web.StreamResponse:
    """The beginning of an answer whose length is not known."""
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    return response


async def write(response: web.StreamResponse, data: bytes) -> None:
    """Of a streamed answer. Raises asyncio.TimeoutError if the client does not read it."""
    if data:
        await in_time(response.write(data), len(data))


class LargeBodies:
    """Large bodies of one kind of request, stored in files in `folder`."""

    def __init__(self, folder: Path, *, most: int) -> None:
        """`most`: bytes that all requests in progress may have together."""
        self._folder = folder
        self._budget = Budget(most, "large requests")
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def read(self, request: web.Request, decode: Decode[T], limit: int) -> AsyncIterator[T]:
        """What `decode` makes of the body, in a thread; bodies are decoded and used one at a time. Raises InvalidInput
        and what `small_body` raises."""
        with self._budget.share() as take, tempfile.TemporaryFile(dir=self._folder) as file:
            pending = bytearray()
            async for chunk in chunks(request, limit):
                take(len(chunk))
                pending += chunk
                if len(pending) >= SMALL:
                    written, pending = pending, bytearray()
                    await asyncio.to_thread(file.write, written)
            await asyncio.to_thread(_write_rest, file, pending)
            async with self._turn:
                yield await asyncio.to_thread(_decoded_file, file, decode)


def _write_rest(file: IO[bytes], rest: bytes | bytearray) -> None:
    file.write(rest)
    file.flush()


def _decoded_file(file: IO[bytes], decode: Decode[T]) -> T:
    """Raises InvalidInput."""
    try:
        if not file.tell():
            return decode(b"")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as data:
            return decode(data)
    except NOT_READABLE as error:
        raise _unusable(error) from None
