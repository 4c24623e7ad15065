"""The admin API's routes of a framework on Mesos: its launches and offers, and its teardown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar, cast, get_args

import msgspec
from aiohttp import web

from owmesos import documents
from owmesos.errors import InvalidInput
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.service.admin_guard import answer, error_response
from owmesos.service.admin_requests import (
    EmptyBody,
    body,
    flag,
    idempotency_key,
    number,
    one,
    only,
    unless_stopping,
)
from owmesos.service.errors import StateAway
from owmesos.service.framework import Framework
from owmesos.service.kill import Choice
from owmesos.service.launch_requests import Milestone
from owmesos.service.openapi import FLAG, TEXT, TEXTS, ApiOperation, listing, whole
from owmesos.storage import StoreTrouble
from owmesos.system.tasks import ignore_result, keep

MAX_COUNT = 10_000  # of launches in one request
MOST_LAUNCHES = 10**8  # that a listing may be limited to
MAX_LAUNCHES = 32 * 2**20  # bytes of all the launches that one request asks for: each is kept, and stored, as a whole
MAX_WAIT = 30.0  # most seconds that one request waits; clients repeat it to wait longer
WAIT_HEADER = "Owmesos-Wait"
"""`reached` or `pending`, on an answer that was waited for."""
_LOOK = 0.5  # seconds between looks at the state's trouble
T = TypeVar("T")
_CHOICE = {
    "state": {"type": "string", "enum": [state.value for state in State]},
    "name": TEXT,
    "limit": whole(1, MOST_LAUNCHES),
}
_WAITING = {
    "id": TEXTS,
    "wait": {"type": "string", "enum": list(get_args(Milestone))},
    "timeout": {"type": "number", "minimum": 0, "maximum": MAX_WAIT},
    **_CHOICE,
}


LAUNCH_PATHS = frozenset(f"/api/v1/{each}" for each in ("kill", "launches", "offers", "teardown", "unreadable"))
"""The paths of launches and offers, where there are none."""
_NO_LAUNCHES = (
    "owmesos starts nothing there but the containers of an invoker, and there are no offers; see `owmesos containers`,"
    " and `owmesos nodes` for what is free"
)


class WantedLaunches(msgspec.Struct, forbid_unknown_fields=True):
    launch: Annotated[Launch, msgspec.Meta(extra_json_schema={"examples": [{"command": "sleep 60"}]})]
    count: Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": MAX_COUNT})] = 1


class LaunchRoutes:
    """The requests to one framework."""

    def __init__(self, framework: Framework) -> None:
        self._framework = framework
        self._under_way: set[asyncio.Task[Any]] = set()

    def add_to(self, router: web.UrlDispatcher) -> None:
        router.add_get("/api/v1/unreadable", listing("Stored launches set aside", self._framework.unreadable))
        router.add_get("/api/v1/offers", self.offers)
        router.add_get("/api/v1/launches", self.launches)
        router.add_post("/api/v1/launches", self.launch)
        router.add_post("/api/v1/kill", self.kill)
        router.add_post("/api/v1/teardown", self.teardown)

    @ApiOperation(
        "Offers in hand, and the last of every agent", list[documents.OfferDocument], query={"outstanding": FLAG}
    )
    async def offers(self, request: web.Request) -> web.Response:
        only(request, "outstanding")
        return answer(self._framework.offers(outstanding=flag(request, "outstanding")))

    @ApiOperation("The launches; some, once they run or have ended", list[documents.LaunchDocument], query=_WAITING)
    async def launches(self, request: web.Request) -> web.Response:
        only(request, *_WAITING)
        ids = request.query.getall("id", [])
        until, timeout = one(request, "wait", ""), _timeout(request)
        if ids and any(key in request.query for key in _CHOICE):
            raise InvalidInput("give either ids, or a state, a name or a limit")
        if not until:
            found = self._framework.launches(
                ids or None,
                state=_state(request),
                name=one(request, "name", "") or None,
                limit=number(request, "limit", 1, 1, MOST_LAUNCHES) if "limit" in request.query else None,
            )
            response = answer(found)
            del found  # while it waits: several times as large as the answer
            await self._until_stored()
            return response
        if not ids:
            raise InvalidInput("wait needs the ids to wait for")
        waiting = self._framework.wait_documents(ids, cast(Milestone, until), timeout)
        reached, rows = await unless_stopping(request, waiting)
        response = answer(rows)
        response.headers[WAIT_HEADER] = "reached" if reached else "pending"
        del rows
        await self._until_stored()
        return response

    @ApiOperation("Ask for launches", list[documents.LaunchDocument], WantedLaunches, status=201, keyed=True)
    async def launch(self, request: web.Request) -> web.Response:
        wanted = await body(request, WantedLaunches)
        if not 1 <= wanted.count <= MAX_COUNT:
            raise InvalidInput(f"count must be 1 to {MAX_COUNT}, not {wanted.count}")
        size = wanted.count * len(msgspec.json.encode(wanted.launch))
        if size > MAX_LAUNCHES:
            raise InvalidInput(
                f"{wanted.count} of these launches are {size} bytes: one request may ask for {MAX_LAUNCHES} at most"
            )
        key = idempotency_key(request)
        launches = [wanted.launch] * wanted.count
        asked = await self._unless_away(lambda: self._framework.launch_documents(launches, key=key))
        return answer(msgspec.Raw(asked), 201)

    @ApiOperation("Kill launches", list[documents.KillDocument | documents.UnknownKillDocument], Choice, keyed=True)
    async def kill(self, request: web.Request) -> web.Response:
        """An unknown id does not affect the other ids; it is an error only if all ids are unknown."""
        choice = await body(request, Choice)
        key = idempotency_key(request)
        killed = await self._unless_away(lambda: self._framework.kill_chosen(choice, key=key))
        if killed and all(each.outcome == "unknown" for each in killed):
            self._framework.record(killed[0].name)  # raises NotKnown, or RecordUnreadable where it is set aside
        return answer([each.row for each in killed])

    @ApiOperation("End the framework and kill all its tasks", documents.TeardownDocument, EmptyBody)
    async def teardown(self, request: web.Request) -> web.Response:
        await body(request, EmptyBody)
        return answer({"framework_id": await self._framework.teardown()})

    async def _until_stored(self) -> None:
        """Return once all that was read is stored: what a leader reads that was frozen, and replaced meanwhile, may
        never be. Return all the same if the state is away for long. Raises what the store raises."""
        stored = asyncio.ensure_future(self._framework.shell.outbox.flushed())
        try:
            if await self._away_before(stored) is None:
                stored.result()
        finally:  # also where the process stops meanwhile
            stored.cancel()

    async def _unless_away(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What `do` returns once it is stored. Raises StateAway rather than wait for the state for long; what was begun
        goes on then, so that nothing is done by half."""
        away = self._framework.state_away()
        if away is not None:
            raise StateAway(away, "this request did nothing; ask again when it is back")
        work = asyncio.get_running_loop().create_task(do())
        keep(work, self._under_way)
        work.add_done_callback(ignore_result)
        away = await self._away_before(work)
        if away is not None:
            raise StateAway(
                away,
                "what was asked for is done if the state is back soon: repeat the request with the same key, or look at"
                " the launches before you ask again",
            )
        return work.result()

    async def _away_before(self, work: asyncio.Future[Any]) -> StoreTrouble | None:
        """None once `work` is done; or, before that, what has kept the state from being written for long."""
        while not work.done():
            away = self._framework.state_away()
            if away is not None:
                return away
            await asyncio.wait([work], timeout=_LOOK)
        return None


async def reject_launches(request: web.Request) -> web.Response:
    """For the same paths where there are no launches."""
    return error_response(501, f"{request.path} is not available on Kubernetes: {_NO_LAUNCHES}")


def _state(request: web.Request) -> State | None:
    """Raises InvalidInput."""
    text = one(request, "state", "")
    try:
        return State(text) if text else None
    except ValueError:
        raise InvalidInput(
            f"state must be one of {', '.join(state.value for state in State)}, not {text[:100]!r}"
        ) from None


def _timeout(request: web.Request) -> float:
    text = one(request, "timeout", str(MAX_WAIT))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= MAX_WAIT:
        raise InvalidInput(f"timeout must be 0 to {MAX_WAIT:g} seconds, not {text[:100]!r}")
    return seconds
