"""How the admin API reads a request: what it does not know it refuses, for a misspelt word would do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from owmesos.errors import InvalidInput, OwmesosError

T = TypeVar("T")
STOPPING = web.AppKey("stopping", asyncio.Event)
"""Set when the process is about to end."""


class AdminUnavailable(OwmesosError):
    """It cannot listen where it should, or it is about to end."""


def only(request: web.Request, *known: str) -> None:
    """Raises InvalidInput where the query has another parameter."""
    unknown = sorted(set(request.query) - set(known))
    if unknown:
        raise InvalidInput(f"{request.path} has no parameter {unknown[0][:100]!r}")


def one(request: web.Request, name: str, default: str) -> str:
    """A parameter's value. Raises InvalidInput where there are several."""
    values: Sequence[str] = request.query.getall(name, [default])
    if len(values) > 1:
        raise InvalidInput(f"{name} is given {len(values)} times")
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


async def body(request: web.Request, kind: type[T], *, limit: int | None = None) -> T:
    """As `kind`; `limit` in bytes where it may be larger than others. Raises InvalidInput."""
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(reason="the Content-Type must be application/json")
    data = await (request if limit is None else request.clone(client_max_size=limit)).read()
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidInput(f"the request's body cannot be used: {error}") from None


async def unless_stopping(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """For what may take long. Raises AdminUnavailable."""
    tasks = asyncio.ensure_future(work), asyncio.ensure_future(request.app[STOPPING].wait())
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not tasks[0].done():
            raise AdminUnavailable("the framework process stops: ask again once it is back")
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
