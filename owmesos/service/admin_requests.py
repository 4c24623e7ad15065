"""Parses requests to the admin API. Unknown parameters and fields are rejected, because a misspelt one would be
ignored."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.service.admin_bodies import decoded, small_body
from owmesos.service.idempotency import HEADER, key_of

T = TypeVar("T")
STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set when the process is about to end."""


class EmptyBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST that needs none: `{}`."""


class AdminUnavailable(OwmesosError):
    """The process is about to end."""


def only(request: web.Request, *known: str) -> None:
    """Raises InvalidInput if the query has other parameters than these."""
    unknown = sorted(set(request.query) - set(known))
    if unknown:
        raise InvalidInput(f"{request.path} has no parameter {unknown[0][:100]!r}")


def one(request: web.Request, name: str, default: str) -> str:
    """The value of a parameter. Raises InvalidInput if it is given several times."""
    values: Sequence[str] = request.query.getall(name, [default])
    if len(values) > 1:
        raise InvalidInput(f"{name} is given {len(values)} times; give it once")
    return values[0]


def flag(request: web.Request, name: str) -> bool:
    """Raises InvalidInput."""
    value = one(request, name, "0")
    if value not in ("0", "1"):
        raise InvalidInput(f"{name} must be 0 or 1")
    return value == "1"


def number(request: web.Request, name: str, default: int, low: int, high: int) -> int:
    """Raises InvalidInput."""
    text = one(request, name, str(default))
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not low <= value <= high:
        raise InvalidInput(f"{name} must be {low} to {high}, not {text[:100]!r}")
    return value


def idempotency_key(request: web.Request) -> str | None:
    """The client's name for the request, or None. Raises InvalidInput."""
    headers = request.headers.getall(HEADER, [])
    if len(headers) > 1:
        raise InvalidInput(f"{HEADER} is given {len(headers)} times; give it once")
    return key_of(headers[0]) if headers else None


async def body(request: web.Request, kind: type[T], *, lone_surrogates: bool = False) -> T:
    """As `kind`; see `decoded`. No parameter is known. Raises InvalidInput, and what `small_body` does."""
    only(request)
    return decoded(await small_body(request), kind, lone_surrogates=lone_surrogates)


async def unless_stopping(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """For requests that may take long. Raises AdminUnavailable while the process is stopping."""
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(request.app[STOPPING].wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise AdminUnavailable("the framework process is stopping: retry when it is running again")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
