"""What is asked of owmesos meanwhile: launches, kills and invocations, by its own client, and what it answers."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from chaos.evidence import ACTION, Evidence
from owmesos.cli.client import AdminClient, RequestFailed
from owmesos.cli.connection import AdminAccess
from owmesos.cli.openwhisk import ActionsClient

T = TypeVar("T")
ACTIONS = ("one", "two", "three")
_REQUESTS_AT_ONCE = 16
_WATCH = 1.5  # seconds between two looks at the launches
_DEADLINES = (240.0, 240.0, 240.0, 12.0)  # of a launch, one of them
_BURST = 10
_BURSTS = 0.05  # share of the times that something is launched
_PAGE = 200


@dataclass
class AskedLaunch:
    """`launch_id` is None where no answer came; such a launch may be there, and has this `name`. Times are of the
    epoch. `endless`: runs until it is killed."""

    name: str
    status: int
    endless: bool
    launch_id: str | None = None
    kill_asked_at: float | None = None
    killed: bool = False  # and the kill was answered


@dataclass
class AskedActivation:
    """`number` is a parameter that its action writes down. `activation_id` is None where no answer came; `status` is
    that of the answer, where it was waited for."""

    number: int
    activation_id: str | None = None
    status: str | None = None


@dataclass
class Known:
    """What owmesos said: the last row of every launch, and the record of every activation. `changed` has a line for
    each launch that had ended and then was said to be something else; `listed` are the ids of the last listing, of
    which some are containers of actions."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    listed: set[str] = field(default_factory=set)

    @property
    def current(self) -> dict[str, dict[str, Any]]:
        """The rows of the last listing."""
        return {launch_id: self.rows[launch_id] for launch_id in self.listed}

    def learn(self, rows: list[dict[str, Any]]) -> None:
        self.listed = {row["launch_id"] for row in rows}
        for row in rows:
            before = self.rows.get(row["launch_id"])
            if before is not None and before["ended_at"] is not None and before["state"] != row["state"]:
                self.changed.append(f"{row['launch_id']} was {before['state']}, and is {row['state']}")
            self.rows[row["launch_id"]] = row


class Load:
    """Asks at random, by seed, with `rate` requests of each kind a second, and no more than `most` launches alive."""

    def __init__(
        self,
        admin: str,
        evidence: Evidence,
        *,
        rate: float,
        most: int,
        seed: int,
        standalone: bool,
        token: Path | None = None,
    ) -> None:
        """`admin`: addresses by comma. `token`: the file with that of all of them."""
        self.launches: list[AskedLaunch] = []
        self.activations: list[AskedActivation] = []
        self.known = Known()
        self.unanswered = 0
        self._access = AdminAccess(admin, token, None, insecure=False)
        self._evidence = evidence
        self._rate = rate
        self._most = most
        self._standalone = standalone
        self._chance = random.Random(seed)
        self._threads = ThreadPoolExecutor(_REQUESTS_AT_ONCE, thread_name_prefix="request")
        self._requests: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Once owmesos answers."""
        if self._standalone:
            for name in ACTIONS:
                await self.until_answered(partial(self._put, name))
            self._loops.append(asyncio.ensure_future(self._invoke_on()))
        self._loops += [asyncio.ensure_future(self._launch_on()), asyncio.ensure_future(self._watch_on())]

    async def stop_asking(self) -> None:
        """Returns when every request has its answer or has failed."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        await asyncio.gather(*self._requests)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    # -- questions

    async def ask(self, question: Callable[[], T]) -> T:
        """In a thread. Raises RequestFailed."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, question)

    async def until_answered(self, question: Callable[[], T], timeout: float = 60.0) -> T:
        """For a question that may be asked twice. Raises RequestFailed after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                return await self.ask(question)
            except RequestFailed:  # noqa: PERF203 a request takes longer
                if time.monotonic() >= deadline:
                    raise
                await asyncio.sleep(0.5)

    def _client(self) -> AdminClient:
        return self._access.client()

    async def look(self, *, patient: bool = False) -> None:
        """At all launches. Those that have ended are listed for a while only, so what was seen is kept."""
        ask = self.until_answered if patient else self.ask
        rows = await ask(lambda: self._client().get("launches"))
        self.known.learn(rows)

    async def kill_all(self, ids: list[str]) -> None:
        await self.until_answered(lambda: self._client().kill({"ids": ids}))

    async def record(self, activation_id: str) -> bool:
        """Whether there is one."""
        if activation_id in self.known.records:
            return True
        try:
            found = await self.ask(lambda: ActionsClient(self._access).get(f"activations/{activation_id}"))
        except RequestFailed:
            return False
        self.known.records[activation_id] = found
        return True

    async def all_records(self) -> None:
        """Of every activation, those with unknown answers too. Raises RequestFailed."""
        skip = 0
        while True:
            client = ActionsClient(self._access)
            page = await self.until_answered(lambda: client.get("activations", limit=_PAGE, skip=skip))  # noqa: B023 it is awaited
            for summary in page:
                await self.record(summary["activationId"])
            if len(page) < _PAGE:
                return
            skip += len(page)

    # -- the loops

    async def _watch_on(self) -> None:
        while True:
            with suppress(RequestFailed):  # it was killed, or is frozen
                await self.look()
            await asyncio.sleep(_WATCH)

    async def _launch_on(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            if self._alive() < self._most:
                for _ in range(_BURST if self._chance.random() < _BURSTS else 1):
                    self._begin(self._launch())
            else:
                self._kill_one()

    async def _invoke_on(self) -> None:
        while True:
            await asyncio.sleep(self._chance.expovariate(self._rate))
            self._begin(self._invoke())

    def _begin(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)

    def _alive(self) -> int:
        rows = self.known.rows
        known = (rows.get(asked.launch_id) for asked in self.launches if asked.launch_id is not None)
        return sum(row is None or row["ended_at"] is None for row in known)

    def _kill_one(self) -> None:
        endless = [each for each in self.launches if each.endless and each.launch_id and each.kill_asked_at is None]
        if endless:
            self._begin(self._kill(endless[0], 0.0))

    # -- one request

    async def _launch(self) -> None:
        chance = self._chance
        kind = chance.choices(("short", "failing", "long", "endless"), (5, 1, 3, 2))[0]
        seconds = {"short": chance.uniform(0, 2), "failing": chance.uniform(0, 2), "long": chance.uniform(3, 15)}
        asked = AskedLaunch(
            f"c{len(self.launches):05d}", status=3 if kind == "failing" else 0, endless=kind == "endless"
        )
        self.launches.append(asked)
        wanted = {
            "name": asked.name,
            "command": self._evidence.command(asked.name, seconds.get(kind, 100_000), asked.status),
            "cpus": 0.1,
            "mem": chance.choice((32, 64, 128)),
            "ports": chance.choice((0, 0, 1)),
            "deadline": chance.choice(_DEADLINES),
        }
        try:
            rows = await self.ask(lambda: self._client().launch(wanted, 1))
        except RequestFailed:  # though the client asked again: nobody knows whether it was taken
            self.unanswered += 1
            return
        asked.launch_id = rows[0]["launch_id"]
        if asked.endless or chance.random() < 0.1:
            self._begin(self._kill(asked, chance.uniform(0, 20) * chance.random()))

    async def _kill(self, asked: AskedLaunch, after: float) -> None:
        await asyncio.sleep(after)
        assert asked.launch_id is not None
        ids = [asked.launch_id]
        asked.kill_asked_at = asked.kill_asked_at or time.time()
        try:
            await self.ask(lambda: self._client().kill({"ids": ids}))
            asked.killed = True
        except RequestFailed:
            self.unanswered += 1

    async def _invoke(self) -> None:
        chance = self._chance
        asked = AskedActivation(len(self.activations))
        self.activations.append(asked)
        name = chance.choice(ACTIONS)
        parameters = {
            "file": str(self._evidence.file(f"action-{name}")),
            "seconds": chance.choice((0, 0, chance.uniform(0, 2))),
            "number": asked.number,
        }
        blocking = chance.random() < 0.3
        try:
            answer = await self.ask(lambda: ActionsClient(self._access).invoke(name, parameters, blocking=blocking))
        except RequestFailed:
            self.unanswered += 1
        else:
            asked.activation_id = answer["activationId"]
            asked.status = answer["response"]["status"] if "response" in answer else None

    def _put(self, name: str) -> None:
        body = {
            "exec": {"kind": "python:default", "code": ACTION, "binary": False},
            "limits": {"memory": 128, "timeout": 20_000},
        }
        ActionsClient(self._access).put(name, body, overwrite=True)
