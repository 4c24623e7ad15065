"""The attack: faults come as the plan says, several at a time, and each is mended by whoever inflicted it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from chaos.cluster import Cluster
from chaos.evidence import Running, running
from chaos.plan import EXECUTOR, NETWORK, Fault, Kind, Plan, fault_name
from chaos.process import Group
from chaos.proxy import Mode

_MODES = {Kind.CUT: Mode.CUT, Kind.HALF_OPEN: Mode.HALF_OPEN, Kind.ONE_WAY: Mode.ONE_WAY, Kind.SLOW: Mode.SLOW}


class Attack:
    """`faults` counts what was done to whom, `kills` the kill -9 among them; `failures` is what could not be done."""

    def __init__(self, cluster: Cluster, owmesos: Group, seed: int, say: Callable[[str], None]) -> None:
        self.faults: Counter[str] = Counter()
        self.kills = 0
        self.failures: list[str] = []
        self._cluster = cluster
        self._owmesos = owmesos
        self._say = say
        self._chance = random.Random(seed)
        self._broken: set[str] = set()
        self._under_way: set[asyncio.Task[None]] = set()

    async def run(self, plan: Plan) -> None:
        """Returns when the plan is done and everything is mended."""
        while not plan.done:
            await asyncio.sleep(plan.pause())
            fault = plan.next(self._broken)
            if fault is not None:
                self._broken.add(fault.target)
                task = asyncio.ensure_future(self._inflict(fault))
                self._under_way.add(task)
                task.add_done_callback(self._mended)
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def stop(self) -> None:
        """At once, also where something is broken."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        self._signal(self._running(), signal.SIGCONT)

    def _mended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(f"a fault could not be inflicted or mended: {error!r}")

    async def _inflict(self, fault: Fault) -> None:
        self.faults[fault_name(fault.kind, fault.target)] += 1
        self.kills += fault.kind.kills
        self._say(str(fault))
        try:
            if fault.target == EXECUTOR:
                await self._inflict_executor(fault)
            elif fault.kind in NETWORK:
                await self._inflict_network(fault)
            elif fault.target in self._owmesos.processes:
                await self._inflict_owmesos(fault)
            else:
                await self._inflict_daemon(fault)
        finally:
            self._broken.discard(fault.target)

    async def _inflict_network(self, fault: Fault) -> None:
        self._cluster.network(fault.target, _MODES[fault.kind])
        await asyncio.sleep(fault.seconds)
        if fault.kind in (Kind.HALF_OPEN, Kind.ONE_WAY) and self._chance.random() < 0.5:
            self._cluster.reset(fault.target)  # else what was held back arrives now
        self._cluster.network(fault.target, Mode.OPEN)

    async def _inflict_owmesos(self, fault: Fault) -> None:
        process = self._owmesos.processes[fault.target]
        if fault.kind is not Kind.KILL:
            process.send(signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.FREEZE:
            process.send(signal.SIGCONT)
            return
        await process.kill()
        if fault.kind is Kind.KILL:
            await asyncio.sleep(fault.seconds)
        await process.start()

    async def _inflict_daemon(self, fault: Fault) -> None:
        if fault.kind is not Kind.KILL:
            await self._cluster.freeze(fault.target)
            await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.FREEZE:
            await self._cluster.thaw(fault.target)
            return
        await self._cluster.kill(fault.target)
        if fault.kind is Kind.KILL:
            await asyncio.sleep(fault.seconds)
        await self._cluster.start(fault.target)

    async def _inflict_executor(self, fault: Fault) -> None:
        """Where the executor is killed its task goes too, as by the cgroup of a real host."""
        group = self._some_executor()
        if fault.kind is not Kind.KILL:
            first = [each for each in group if each.executor] or group
            self._signal(first, signal.SIGSTOP)
            await asyncio.sleep(fault.seconds)
        if fault.kind is Kind.FREEZE:
            self._signal(first, signal.SIGCONT)
            return
        sandboxes = {each.sandbox for each in group}
        self._signal([each for each in self._running() if each.sandbox in sandboxes], signal.SIGKILL)

    def _some_executor(self) -> list[Running]:
        found = self._running()
        if not found:
            return []
        sandboxes = sorted({each.sandbox for each in found}, key=_made_at)
        # Half the time the newest: the most is at stake while a task begins.
        sandbox = sandboxes[-1] if self._chance.random() < 0.5 else self._chance.choice(sandboxes)
        return [each for each in found if each.sandbox == sandbox]

    def _running(self) -> list[Running]:
        return running(self._cluster.state)

    def _signal(self, processes: list[Running], number: signal.Signals) -> None:
        """To those that still are what they were."""
        now = {(each.pid, each.sandbox) for each in self._running()}
        for each in processes:
            if (each.pid, each.sandbox) in now:
                _send(each.pid, number)


def _made_at(sandbox: str) -> float:
    try:
        return Path(sandbox).stat().st_ctime
    except OSError:
        return 0.0  # it has just been removed


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it has just ended
        os.kill(pid, number)
