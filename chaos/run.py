"""One run: faults and load together, then everything mended, everything ended, and the counting."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaos.attack import Attack
from chaos.cluster import Cluster, free_ports
from chaos.evidence import Evidence, running
from chaos.load import Load
from chaos.plan import OWMESOS, STANDBY, Plan, fates
from chaos.process import TOKEN, group_of
from chaos.verdict import (
    ENDED,
    Counts,
    ends_at_master,
    how_they_ended,
    judge_activations,
    judge_launches,
    judge_quiet,
)
from owmesos.cli.client import RequestFailed

_UP_WITHIN = 60.0
_SETTLED_WITHIN = 300.0  # more than a launch's deadline
_ENDED_WITHIN = 120.0
_RECORDED_WITHIN = 300.0
_RECORDED_AFTER = 60.0  # since the last one: nothing else runs any more
_GONE_WITHIN = 90.0  # more than an executor waits for an agent that does not come back
_QUIET = 5.0
_POLL = 0.5


@dataclass(frozen=True)
class Wanted:
    """As the options say; `seconds_between` faults on average, `rate` requests of each kind a second."""

    engine: str
    kills: int
    seed: int
    agents: int
    seconds_between: float
    rate: float
    most: int
    standalone: bool
    zookeeper: str | None = None
    """`host:port[,…]`, where the state is instead of in a folder."""
    standby: bool = False
    """Two processes of owmesos, of which one leads."""


@dataclass(frozen=True)
class Result:
    """`failures` are those of the run as a whole, such as an owmesos that ended by itself."""

    wanted: Wanted
    seconds: float
    faults: Counter[str]
    kills: int
    launches: Counts
    activations: Counts
    unanswered: int
    ended: Counter[str]
    failures: list[str]

    @property
    def clean(self) -> bool:
        return not (self.failures or self.launches.faults or self.activations.faults)


class Run:
    """`run` is all of it. `say` gets a line for each thing that happens; logs and evidence are in `folder`."""

    def __init__(self, wanted: Wanted, cluster: Cluster, folder: Path, say: Callable[[str], None]) -> None:
        self._wanted = wanted
        self._cluster = cluster
        self._folder = folder
        self._say = say
        self._failures: list[str] = []
        self._evidence = Evidence(folder / "evidence")
        first = free_ports(2)
        self._owmesos = group_of(
            *(folder, cluster, (first, first + 1)),
            standalone=wanted.standalone,
            zookeeper=wanted.zookeeper,
            standby=wanted.standby,
        )
        self._attack = Attack(cluster, self._owmesos, wanted.seed + 2, say)
        self._load = Load(
            self._owmesos.admin,
            self._evidence,
            rate=wanted.rate,
            most=wanted.most,
            seed=wanted.seed + 1,
            standalone=wanted.standalone,
            token=folder / TOKEN if wanted.standby else None,
        )

    async def run(self) -> Result:
        """Leaves no process behind. Raises OwmesosError where it cannot begin."""
        keeper = asyncio.ensure_future(self._keep_up())
        try:
            await self._cluster.up()
            return await self._run()
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)
            await self._attack.stop()
            self._load.close()
            await self._owmesos.kill()
            await self._cluster.down()

    async def _run(self) -> Result:
        began, wanted = time.monotonic(), self._wanted
        await self._owmesos.start()
        await self._within(_UP_WITHIN, self._subscribed, "owmesos has not subscribed")
        await self._load.start()
        targets = fates(self._cluster.agents, real=self._cluster.real, standby=wanted.standby)
        every_third = (OWMESOS, STANDBY) if wanted.standby else ()
        await self._attack.run(Plan(targets, wanted.kills, wanted.seconds_between, wanted.seed, every_third))
        self._say("no more faults, and everything is mended")
        if wanted.standby:
            self._say(f"a leader was replaced and ended {self._owmesos.replaced} times")
        await self._load.stop_asking()
        await self._cluster.whole(_UP_WITHIN)
        await self._within(_UP_WITHIN, self._subscribed, "owmesos has not subscribed")
        quiet = await self._settle()
        await self._end_all()
        await self._collect_records()
        await self._stop_owmesos()
        left = await self._left()
        return self._judge(time.monotonic() - began, quiet, left)

    async def _keep_up(self) -> None:
        """As a service manager would: an owmesos that ends by itself is started again. It is a fault all the same."""
        while True:
            await asyncio.sleep(_POLL)
            for name, process in self._owmesos.processes.items():
                if process.ends:
                    code = process.ends.pop()
                    self._failures.append(f"{name} ended by itself with {code}, see {name}.log")
                    self._say(self._failures[-1])
                    await process.start()

    # -- the quiet after it

    async def _settle(self) -> Counts:
        """Every launch runs or has ended; then what runs is compared with what is said to run."""
        self._say("waiting until every launch runs or has ended")
        await self._within(_SETTLED_WITHIN, self._settled, "not every launch runs or has ended")
        quiet = Counts()
        deadline = time.monotonic() + 20 * _QUIET
        while True:  # an end takes a moment to be told
            await asyncio.sleep(_QUIET)
            await self._load.look(patient=True)
            quiet = judge_quiet(self._load.known.current, self._alive())
            if not quiet.faults or time.monotonic() >= deadline:
                return quiet

    async def _settled(self) -> bool:
        await self._load.look()
        return all(row["state"] in (*ENDED, "RUNNING") for row in self._rows())

    def _rows(self) -> list[dict[str, Any]]:
        return list(self._load.known.current.values())

    async def _end_all(self) -> None:
        names = {asked.name for asked in self._load.launches}
        ids = [row["launch_id"] for row in self._rows() if row["ended_at"] is None and _name(row) in names]
        self._say(f"killing the {len(ids)} launches that still run")
        for asked in self._load.launches:
            if asked.launch_id in ids or asked.launch_id is None:
                asked.kill_asked_at = asked.kill_asked_at or time.time()
        if ids:
            await self._load.kill_all(ids)

        async def ended() -> bool:
            await self._load.look()
            return all(row["ended_at"] is not None for row in self._rows() if _name(row) in names)

        await self._within(_ENDED_WITHIN, ended, "not every launch that was killed has ended")

    async def _collect_records(self) -> None:
        if not self._wanted.standalone:
            return
        self._say("waiting for the records of all activations")
        ids = [each.activation_id for each in self._load.activations if each.activation_id is not None]

        records, missing, last = self._load.known.records, len(ids), time.monotonic()

        async def recorded() -> bool:
            nonlocal missing, last
            found = [await self._load.record(each) for each in ids if each not in records]
            if found.count(False) < missing:
                missing, last = found.count(False), time.monotonic()
            return not missing or time.monotonic() >= last + _RECORDED_AFTER

        await self._within(_RECORDED_WITHIN, recorded, "there are ever more records of activations")
        await self._load.all_records()

    async def _stop_owmesos(self) -> None:
        try:
            await self._owmesos.stop()
        except TimeoutError as error:
            self._failures.append(str(error))

    async def _left(self) -> set[str]:
        """Launches of which a process runs although everything has ended."""
        self._say("waiting until the last process of a task is gone")

        async def gone() -> bool:
            return not running(self._cluster.state)

        await self._within(_GONE_WITHIN, gone, None)
        return {each.launch_id for each in running(self._cluster.state)}

    def _alive(self) -> set[str]:
        """An executor lives a little longer than its task."""
        return {each.launch_id for each in running(self._cluster.state) if not each.executor}

    async def _subscribed(self) -> bool:
        return await asyncio.to_thread(self._owmesos.subscribed)

    async def _within(self, timeout: float, condition: Callable[[], Awaitable[bool]], otherwise: str | None) -> None:
        """Waits for it, and goes on after `timeout` seconds all the same: what is wrong then is counted."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                if await condition():
                    return
            except RequestFailed:
                pass  # owmesos has just been started again
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(_POLL)
        if otherwise is not None:
            self._failures.append(f"{otherwise} after {timeout:g} s")
            self._say(self._failures[-1])

    def _judge(self, seconds: float, quiet: Counts, left: set[str]) -> Result:
        load, lines = self._load, self._evidence.lines()
        log = self._cluster.state / "master.log"
        at_master = ends_at_master(log.read_text(errors="replace"), time.localtime().tm_year) if log.exists() else {}
        launches = judge_launches(load.launches, load.known, lines, at_master=at_master, left=left)
        launches.wrong += quiet.wrong
        launches.orphans += quiet.orphans
        return Result(
            wanted=self._wanted,
            seconds=seconds,
            faults=self._attack.faults,
            kills=self._attack.kills,
            launches=launches,
            activations=judge_activations(load.activations, load.known, lines),
            unanswered=load.unanswered,
            ended=how_they_ended(load.launches, load.known),
            failures=[*self._failures, *self._attack.failures],
        )


def _name(row: dict[str, Any]) -> str:
    return str(row["launch_id"]).rsplit("-", 1)[0]
