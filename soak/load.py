"""The load: launches that end by themselves or are killed, and warm activations."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Iterable

from owmesos.errors import OwmesosError
from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.mesos.scheduler.launch import Launch
from owmesos.openwhisk.embedded_manifest import PYTHON_KIND
from owmesos.service.framework import Framework
from owmesos.service.kill import Choice

EVERY = 0.1  # seconds between two requests for launches
LASTS = (0.5, 1.0, 2.0, 4.0)  # seconds that a task takes
KILLED = 0.2  # share that is killed instead
_OPEN = 6.0  # seconds' launches that may be open: three times as many as last, on average, on a machine that keeps up
_ECHO = "def main(args):\n    return args\n"
ACTION = "echo"


class Launching:
    """`rate` launches a second, and as many ends. A request that is answered with an error counts as asked for, too."""

    def __init__(self, framework: Framework, rate: float, seed: int) -> None:
        self.asked = self.killed = 0
        self.ends: Counter[str] = Counter()
        self._framework = framework
        self._rate = rate
        self._chance = random.Random(seed)
        self._to_kill: deque[tuple[float, str]] = deque()
        self._open: set[str] = set()
        self._due = 0.0

    async def run(self) -> None:
        """Until it is cancelled. A machine that is too slow gets fewer launches, not a queue without end."""
        while True:
            began = time.monotonic()
            self._due = min(self._due + self._rate * EVERY, self._rate)
            if self.open < _OPEN * self._rate:
                count, self._due = int(self._due), self._due % 1
                await self._launch(count)
            await self._kill(began)
            self._note_ends()
            await asyncio.sleep(max(0.0, EVERY - (time.monotonic() - began)))

    async def _launch(self, count: int) -> None:
        wanted = []
        for _ in range(count):
            endless = self._chance.random() < KILLED
            command = "sleep 100000" if endless else f"sleep {self._chance.choice(LASTS)}"
            wanted.append(Launch(command=command, cpus=0.1, mem=32, retry="lost"))
        handles = await self._framework.launch_many(wanted)
        self.asked += len(handles)
        self._open.update(handle.id for handle in handles)
        later = time.monotonic() + self._chance.choice(LASTS)
        for launch, handle in zip(wanted, handles, strict=True):
            if launch.command == "sleep 100000":
                self._to_kill.append((later, handle.id))

    async def _kill(self, now: float) -> None:
        ids = []
        while self._to_kill and self._to_kill[0][0] <= now:
            ids.append(self._to_kill.popleft()[1])
        await self._kill_all(ids)

    async def _kill_all(self, ids: Iterable[str]) -> None:
        """One that ended so long ago that it is not known any more is `unknown`."""
        wanted = tuple(ids)
        if wanted:
            killed = await self._framework.kill_chosen(Choice(ids=wanted))
            self.killed += sum(each.outcome != "unknown" for each in killed)

    def _note_ends(self) -> None:
        launches = self._framework.shell.scheduler.state.launches
        for launch_id in list(self._open):
            record = launches.get(launch_id)
            if record is None or record.state.ended:
                self._open.discard(launch_id)
                self.ends["forgotten" if record is None else record.state.value] += 1

    @property
    def open(self) -> int:
        """Launches that have not ended."""
        return len(self._open)

    async def end(self, patience: float) -> list[str]:
        """Kills what is endless, and waits for all; the ids of those left when none has ended for so many seconds."""
        await self._kill_all(each for _, each in self._to_kill)
        self._to_kill.clear()
        left, since = self.open, time.monotonic()
        while self._open and time.monotonic() - since < patience:
            await asyncio.sleep(EVERY)
            self._note_ends()
            if self.open < left:
                left, since = self.open, time.monotonic()
        return sorted(self._open)


class Invoking:
    """Warm activations, `rate` a second, of one action; as many at once as there are containers."""

    def __init__(self, standalone: Standalone, rate: float, at_once: int = 16) -> None:
        self.asked = self.done = 0
        self.failures: Counter[str] = Counter()
        self._standalone = standalone
        self._rate = rate
        self._at_once = at_once
        self._stopping = False

    async def deploy(self) -> None:
        wanted = WantedAction(WantedCode(PYTHON_KIND, _ECHO), WantedLimits(memory=128, logs=0))
        await self._standalone.put_action(ACTION, wanted)

    async def run(self) -> None:
        """Until `stop`, and then until what was asked for has ended."""
        pause = self._at_once / self._rate
        await asyncio.gather(*(self._invoke(pause) for _ in range(self._at_once)))

    def stop(self) -> None:
        self._stopping = True

    async def _invoke(self, pause: float) -> None:
        due = time.monotonic()
        while not self._stopping:
            due = max(due + pause, time.monotonic() - 1.0)
            self.asked += 1
            try:
                invoked = await self._standalone.invoke(ACTION, {"n": self.asked}, wait=None)
                if not isinstance(invoked.result, dict) or "n" not in invoked.result:
                    self.failures[str(invoked.result)[:100]] += 1
            except OwmesosError as error:
                self.failures[str(error)[:100]] += 1
            self.done += 1
            await asyncio.sleep(max(0.0, due - time.monotonic()))
