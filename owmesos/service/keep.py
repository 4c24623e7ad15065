"""Keeps a number of instances of one launch alive: a service in a few lines.

    async with framework.keep(owmesos.Launch("exec ./serve", name="web", ports=1), 3) as web:
        for instance in await web.running():
            print(instance["hostname"], instance["ports"])

`changes_to` decides how many to start and which to kill; `Kept` does that, again after each change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from owmesos.documents import LaunchDocument
from owmesos.errors import InvalidInput
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.service.errors import FrameworkStopped, NotKnown
from owmesos.service.launch_changes import LaunchFollower
from owmesos.service.launch_requests import LaunchRequests
from owmesos.system.retry_pause import RetryPause
from owmesos.system.tasks import cancel_all

MAX_INSTANCES = 10_000
UNREACHABLE_FOR = 60.0
"""Seconds that an instance may be UNREACHABLE before another one is started for it."""
_SHORTEST = 1.0  # seconds between an end and the next start, doubled each time until an instance runs for _SETTLED
_LONGEST = 60.0
_SETTLED = 60.0


class Changes(NamedTuple):
    """What to do to have as many instances as wanted."""

    start: int
    kill: tuple[str, ...]  # launch ids
    look_at: float | None  # when to decide again if nothing changes, in seconds since the epoch


def changes_to(instances: Iterable[LaunchRecord], wanted: int, now: float) -> Changes:
    """`instances` are all that have not ended. Unreachable ones may still run, but after UNREACHABLE_FOR they no longer
    count. If there are too many, as when those come back, the ones that do not run are killed first, then the newest.
    """
    counted, look_at = [], None
    for each in instances:
        if each.kill_requested_at is not None:
            continue
        if each.state is State.UNREACHABLE and each.unreachable_at is not None:
            until = each.unreachable_at + UNREACHABLE_FOR
            if now >= until:
                continue
            look_at = until if look_at is None else min(look_at, until)
        counted.append(each)
    counted.sort(key=lambda each: (not each.ran, each.place))
    return Changes(max(0, wanted - len(counted)), tuple(each.id for each in counted[wanted:]), look_at)


class Kept:
    """Keeps `wanted` instances of one launch alive within the block. They go on running after it, as any launch does:
    `await scale(0)` ends them, and so does the end of a framework without `state`.

    An instance that ends is replaced, however it ended: at once if it ran for a minute, else after a pause that grows
    from one second to a minute. Instances are found by the launch's name, so a framework that starts again with its
    `state` takes them over.
    """

    def __init__(self, framework: LaunchRequests, launch: Launch, wanted: int) -> None:
        """`wanted` is 0 to MAX_INSTANCES. Raises InvalidInput."""
        if launch.name == Launch(command="true").name:
            raise InvalidInput("give the launch a `name` of its own: its instances are found by it")
        self._framework = framework
        self._launch = launch
        self._wanted = _checked(wanted)
        self._alive: dict[str, None] = {}  # launch ids, the oldest first
        self._pause = RetryPause(_SHORTEST, _LONGEST, _SETTLED)
        self._not_before = 0.0  # seconds since the epoch
        self._stepping = asyncio.Lock()
        self._changes: LaunchFollower | None = None  # within the block
        self._task: asyncio.Task[None] | None = None

    @property
    def wanted(self) -> int:
        return self._wanted

    def instances(self) -> list[LaunchDocument]:
        """Those that have not ended, the oldest first."""
        return [row for row in self._framework.launches(name=self._launch.name) if self._is_ours(row)]

    async def running(self) -> list[LaunchDocument]:
        """Wait until as many as wanted run. Raises FrameworkStopped when the framework stops first."""
        with self._framework.follow() as changes:
            while True:
                rows = [row for row in self.instances() if row["state"] == State.RUNNING.value]
                if len(rows) >= self._wanted:
                    return rows
                while not await changes.wait():
                    pass
                changes.take_all()

    async def scale(self, wanted: int) -> None:
        """Change the number of instances; returns when that is stored. Raises InvalidInput and FrameworkStopped."""
        self._wanted = _checked(wanted)
        self._not_before = 0.0
        await self._step()

    async def __aenter__(self) -> Kept:
        """Raises InvalidInput and FrameworkStopped."""
        name = self._launch.name
        if name in self._framework.kept:  # two would each kill what the other starts
            raise InvalidInput(f"{name} is kept already: enter one block for each name, and change it by `scale`")
        changes = self._framework.follow()
        self._framework.kept.add(name)
        try:
            self._alive = self._found()
            self._changes = changes
            await self._step()
        except BaseException:
            self._leave()
            raise
        self._task = asyncio.get_running_loop().create_task(self._keep(changes), name=f"keep {name}")
        return self

    async def __aexit__(self, *_: object) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        try:
            await cancel_all([task])  # and raises CancelledError only where this task is cancelled
        finally:
            self._leave()
        failed = None if task.cancelled() else task.exception()
        if failed is not None:
            raise failed

    def _leave(self) -> None:
        if self._changes is not None:
            self._changes.close()
            self._changes = None
        self._framework.kept.discard(self._launch.name)

    async def _keep(self, changes: LaunchFollower) -> None:
        with suppress(FrameworkStopped):  # whoever waits in the block is told
            while True:
                look_at = await self._step()
                await changes.wait(self._until(look_at))

    async def _step(self) -> float | None:
        """Returns when to decide again if nothing changes, in seconds since the epoch."""
        async with self._stepping:  # another step must see the launches that this one starts
            self._look()
            now = self._framework.now()
            changes = changes_to([self._framework.record(each) for each in self._alive], self._wanted, now)
            if changes.kill:
                await self._framework.kill_many(changes.kill)
            if changes.start and now < self._not_before:
                return min(self._not_before, changes.look_at or self._not_before)
            if changes.start:
                started = await self._framework.launch_many([self._launch] * changes.start)
                self._alive |= dict.fromkeys(each.id for each in started)
            return changes.look_at

    def _look(self) -> None:
        """Bring `_alive` up to date: all changes at once, for a step between two of them would see the one half."""
        if self._changes is None:
            self._alive = self._found()
            return
        for row in self._changes.take_all():
            if row["name"] == self._launch.name:
                self._note(row)

    def _found(self) -> dict[str, None]:
        return {row["launch_id"]: None for row in self.instances()}

    def _note(self, row: LaunchDocument) -> None:
        if self._is_ours(row):
            self._alive.setdefault(row["launch_id"])
        elif self._alive.pop(row["launch_id"], ()) is None:
            try:
                record = self._framework.record(row["launch_id"])
            except NotKnown:  # forgotten meanwhile, so it ended some time ago
                return
            if record.ended_at is None or _was_killed(record):
                return
            lived = record.ended_at - (record.started_at or record.ended_at)
            self._pause.lived(lived)
            if lived < _SETTLED and record.ended_at >= self._not_before:  # those that end together are one failure
                self._not_before = record.ended_at + self._pause.next()

    def _is_ours(self, row: LaunchDocument) -> bool:
        return row["name"] == self._launch.name and not State(row["state"]).ended

    def _until(self, when: float | None) -> float | None:
        return None if when is None else max(0.0, when - self._framework.now())


def _was_killed(record: LaunchRecord) -> bool:
    """On request, also while it waited: that is no failure."""
    return record.kill_requested_at is not None or (record.state is State.KILLED and not record.ran)


def _checked(wanted: int) -> int:
    if not 0 <= wanted <= MAX_INSTANCES:
        raise InvalidInput(f"0 to {MAX_INSTANCES} instances can be kept, not {wanted}")
    return wanted
