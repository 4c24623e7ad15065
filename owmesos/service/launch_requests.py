"""A framework's launches: starts them, kills them, waits for them, and tells what became of them."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Literal, NamedTuple, get_args

import msgspec

from owmesos.documents import LaunchDocument, LaunchExplanation, StoryDocument
from owmesos.errors import InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.scheduler.events import KillLaunches, Submit, Submits
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.task_info import template
from owmesos.service.container_log import INTERVAL, Stream
from owmesos.service.errors import FrameworkStopped, LaunchFailed, NotKnown, RecordUnreadable
from owmesos.service.keyed_answers import Asked, KeyedAnswers
from owmesos.service.kill import Choice, Killed, checked_names, outcome
from owmesos.service.launch_changes import LaunchChanges, LaunchFollower
from owmesos.service.shell import Shell
from owmesos.service.stopped import Stopped
from owmesos.service.task_log import log_of_task
from owmesos.storage import StoreTrouble
from owmesos.system.clock import process_time
from owmesos.system.tasks import cancel_all

Milestone = Literal["running", "ended"]
SLICE = 250
"""Launches that are asked for before the event loop has its turn: 15 ms."""

AWAY_AFTER = 3.0
"""Seconds: a member of an ensemble that dies is replaced within one or two (measured)."""


class LaunchHandle:
    """One launch that was asked for, and stored. Its methods raise FrameworkStopped when the framework stops first."""

    def __init__(self, framework: LaunchRequests, launch_id: str) -> None:
        self._framework = framework
        self.id = launch_id

    async def running(self) -> LaunchDocument:
        """Returns when its task runs, or once ran. Raises LaunchFailed when it ended, or is overdue, without.

        A task that FINISHED has run, also where its TASK_RUNNING never came.
        """
        record = await self._framework.wait_for(self.id, lambda record: _reached(record, "running"))
        document = self.document()
        if not record.ran and record.state is not State.FINISHED:
            raise LaunchFailed(document)
        return document

    async def ended(self) -> LaunchDocument:
        """Returns when it is over, however it ended: look at `state`."""
        await self._framework.wait_for(self.id, lambda record: record.state.ended)
        return self.document()

    async def kill(self) -> None:
        """Asks for its end; returns when that is stored. KILL is repeated until the end is seen."""
        await self._framework.kill(self.id)

    @property
    def state(self) -> State:
        return self._framework.record(self.id).state

    def document(self) -> LaunchDocument:
        """What `owmesos launches -o json` shows of it."""
        return self._framework.launches([self.id])[0]

    def explain(self) -> LaunchExplanation:
        return self._framework.explain_launch(self.id)

    def story(self) -> StoryDocument:
        return self._framework.story(self.id)


class _Home(NamedTuple):
    """Where a framework was started. Its parts are not safe in another thread, and a connection that begins in
    another event loop ends with that loop."""

    loop: asyncio.AbstractEventLoop
    thread: int
    process: int

    @classmethod
    def here(cls) -> _Home:
        return cls(asyncio.get_running_loop(), threading.get_ident(), os.getpid())

    def check(self) -> None:
        """Raises InvalidInput for a call from elsewhere."""
        if os.getpid() != self.process:
            raise InvalidInput(
                f"the framework belongs to process {self.process}, of which this one is a fork: start other programs"
                " with asyncio.create_subprocess_exec, or end the fork with os._exit"
            )
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = self.loop
        if loop is not self.loop or threading.get_ident() != self.thread:
            raise InvalidInput(
                "the framework runs in another event loop: call it there, from another thread by"
                " asyncio.run_coroutine_threadsafe(…, loop)"
            )


class LaunchRequests:
    """The part of a framework that is about its launches. Within one event loop."""

    def __init__(self) -> None:
        self._shell: Shell | None = None
        self._home: _Home | None = None
        self._stopped: Stopped | None = None
        self._answers = KeyedAnswers((), 0.0)
        self._changes = LaunchChanges()
        self._followers: list[LaunchFollower] = []
        self.kept: set[str] = set()
        """Names of the launches that are kept."""

    async def launch(self, launch: Launch) -> LaunchHandle:
        """Ask for one container. It is stored when this returns. Raises InvalidInput or FrameworkStopped."""
        return (await self.launch_many([launch]))[0]

    async def launch_many(self, launches: Iterable[Launch], *, key: str | None = None) -> list[LaunchHandle]:
        """The same for several: all are checked before the first is asked for.

        A `key` (the caller's own, of 1 to 255 characters) makes it safe to ask again, also after the process was killed
        and started anew with its `state`: the launches are the same ones then. Raises KeyReused where it came with
        other launches. The event loop has its turn after every SLICE launches.
        """
        if key is not None:
            documents = msgspec.json.decode(await self.launch_documents(launches, key=key))
            return [LaunchHandle(self, document["launch_id"]) for document in documents]
        shell = self._active()
        unnamed = _checked(shell, launches)
        ids = [each async for some in _submitted(shell, unnamed, self._active) for each in some]
        await shell.outbox.flushed()
        return [LaunchHandle(self, each) for each in ids]

    async def launch_documents(self, launches: Iterable[Launch], *, key: str | None = None) -> bytes:
        """The same; what `owmesos launches` shows of them at first, as JSON. With a `key` always the same."""
        shell = self._active()
        unnamed = _checked(shell, launches)
        check = self._active if key is None else lambda: None  # all or none: the answer says that all are asked for

        async def launch() -> bytes:
            rows: list[bytes] = []
            first = listings.FirstLaunches(shell.scheduler.state)
            async for ids in _submitted(shell, unnamed, check):
                rows += map(msgspec.json.encode, first.of(ids))
            return b"[" + b",".join(rows) + b"]"

        return await self._once(key, [b"launch", *_parts(unnamed)] if key is not None else [], launch)

    async def kill(self, name: str) -> LaunchHandle:
        """By launch or task id; returns when the wish is stored. Raises NotKnown or FrameworkStopped."""
        record = self.record(name)
        await self.kill_many([record.id])
        return LaunchHandle(self, record.id)

    async def kill_many(
        self,
        names: Iterable[str] | None = None,
        *,
        name: str | None = None,
        state: State | None = None,
        everything: bool = False,
        key: str | None = None,
    ) -> list[Killed]:
        """Kill several, by launch or task id; or all that have not ended, or those of one name or in one state.

        Returns the outcome for each, once it is stored: an unknown id does not keep the others alive.
        With a `key` (see `launch_many`) a repetition gets the same answer. Raises InvalidInput, KeyReused or
        FrameworkStopped.
        """
        ids = checked_names(names) if names is not None else None
        choice = Choice(ids=ids, name=name, state=state, everything=everything)
        return await self.kill_chosen(choice, key=key)

    async def kill_chosen(self, choice: Choice, *, key: str | None = None) -> list[Killed]:
        """As `kill_many`, by a choice that was decoded already."""

        async def kill() -> bytes:
            asked = [
                (name, record, record.state if record is not None else None) for name, record in choice.among(state)
            ]
            shell.deliver(KillLaunches(tuple({record.id: None for _, record, _ in asked if record is not None})))
            return msgspec.json.encode([outcome(state, *each) for each in asked])

        choice.check()
        shell = self._active()
        state = shell.scheduler.state
        answer = await self._once(key, [b"kill", msgspec.json.encode(choice)], kill)
        return [Killed(**each) for each in msgspec.json.decode(answer)]

    async def _once(self, key: str | None, request: Iterable[bytes], do: Asked) -> bytes:
        """What `do` returns, once that is stored. With a `key` only the first time; then what it was then."""
        shell = self._active()
        if key is not None:
            return await self._answers.once(shell, key, request, do)
        done = await do()
        await shell.outbox.flushed()
        return done

    def state_away(self) -> StoreTrouble | None:
        """What has kept the state from being written for longer than a moment: a launch or a kill waits for it."""
        trouble = self._running().outbox.trouble
        return trouble if trouble is not None and process_time() - trouble.since >= AWAY_AFTER else None

    def record(self, name: str) -> LaunchRecord:
        """The record of a launch: by its id or a task's id, by its name, or by the beginning of an id if it is unique.

        If several have the name, the only one of them that has not ended is meant. It must not be changed. Raises
        NotKnown and Ambiguous.
        """
        return self._records([name])[0]

    def _records(self, names: Iterable[str]) -> list[LaunchRecord]:
        """Raises NotKnown and Ambiguous."""
        state = self._running().scheduler.state
        finder = listings.Finder(state)
        records = []
        for name in checked_names(names):
            found = finder.find(name)
            if found is None:
                launch_id = state.launch_of(name) or name
                if launch_id in state.unreadable:
                    raise RecordUnreadable(state.unreadable[launch_id])
                raise NotKnown(name)
            records.append(found)
        return records

    async def wait(self, names: Sequence[str], until: Milestone, timeout: float | None = None) -> bool:
        """True once all of them are there; False after `timeout` seconds. Raises InvalidInput, NotKnown or
        FrameworkStopped."""
        return (await self.wait_documents(names, until, timeout))[0]

    async def wait_documents(
        self, names: Sequence[str], until: Milestone, timeout: float | None = None
    ) -> tuple[bool, list[LaunchDocument]]:
        """Like `wait`, and what `launches` shows of each: of a launch that reached `until`, as it was then, for it may
        be forgotten before the others reach it.
        """
        if until not in get_args(Milestone):
            raise InvalidInput(f"wait must be running or ended, not {until!r:.100}")
        found: dict[str, LaunchDocument] = {}

        async def follow(launch_id: str) -> None:
            await self.wait_for(launch_id, lambda record: _reached(record, until))
            found[launch_id] = self.launches([launch_id])[0]

        ids = [record.id for record in self._records(names)]
        following = [asyncio.ensure_future(follow(each)) for each in dict.fromkeys(ids)]
        try:
            if following:
                done, _ = await asyncio.wait(following, timeout=timeout, return_when=asyncio.FIRST_EXCEPTION)
                for each in done:
                    each.result()
        finally:
            await cancel_all(following)
        rest = dict.fromkeys(each for each in ids if each not in found)
        found |= zip(rest, self.launches(rest), strict=True)
        return not rest, [found[each] for each in ids]

    async def wait_for(self, name: str, reached: Callable[[LaunchRecord], bool]) -> LaunchRecord:
        """Returns once `reached` is true of the launch. Raises FrameworkStopped when that comes first, and NotKnown,
        also when the launch was forgotten meanwhile.
        """
        record = self.record(name)
        while not reached(record):
            self._active()
            await self._changes.next(record.id)
            record = self.record(record.id)
        return record

    def follow(self) -> LaunchFollower:
        """Every change of a launch from now on. Close it, or use it in a `with` block."""
        return LaunchFollower(self._active, self._followers)

    async def launch_changes(self) -> AsyncGenerator[LaunchDocument, None]:
        """All launches as they are now, then each that has changed. One that changes faster than it is read is yielded
        once, in its latest state. Ends with `teardown` and `stop`; raises FrameworkStopped when the framework stops
        otherwise, or has stopped.
        """
        self._active()
        with self.follow() as changes:
            for row in self.launches():
                yield row
            try:
                while True:
                    yield await changes.next()
            except FrameworkStopped as error:
                if error.stopped.exit_code:
                    raise

    def launches(
        self,
        names: Iterable[str] | None = None,
        *,
        state: State | None = None,
        name: str | None = None,
        limit: int | None = None,
    ) -> list[LaunchDocument]:
        """All launches, or the latest `limit` in a state and with a name; or those with the ids `names`.

        Raises NotKnown and Ambiguous.
        """
        ids = None if names is None else [record.id for record in self._records(names)]
        chosen = listings.LaunchFilter(state, name, limit)
        return listings.launches(self._running().scheduler.state, ids, chosen)

    def explain_launch(self, name: str) -> LaunchExplanation:
        """Why a launch waits, by its id or a task's. Raises NotKnown."""
        record = self.record(name)
        scheduler = self._running().scheduler
        return listings.explanation(scheduler.state, record, scheduler.explain(record.id))

    def story(self, name: str) -> StoryDocument:
        """A launch's whole history. Raises NotKnown."""
        return listings.story(self.record(name))

    async def logs(
        self, name: str, *, stream: Stream = "stdout", tail: int | None = None, follow: bool = False
    ) -> AsyncGenerator[str, None]:
        """The lines that a launch's task has written, by the launch's or the task's id: all, or the last `tail`. With
        `follow` also what it still writes, until it ends. The agent keeps them for some time after its end.

        Raises NotKnown, LogMissing (none yet, or no longer), LogUnreadable, InvalidInput or FrameworkStopped.
        """
        if stream not in get_args(Stream):
            raise InvalidInput(f"stream must be stdout or stderr, not {stream!r}")
        if tail is not None and tail < 0:
            raise InvalidInput(f"tail must be at least 0 lines, not {tail}")

        async def pause() -> None:
            await asyncio.sleep(INTERVAL)
            self._active()

        log = await log_of_task(self._active(), self.record(name), name, stream)
        async with aclosing(log.lines(tail, pause if follow else None)) as lines:
            async for line in lines:
                yield line

    def now(self) -> float:
        """Seconds since the epoch, by the clock that decisions use, which never goes back."""
        return self._running().clock.now()

    def _changed(self, launch_id: str) -> None:
        self._changes.changed(launch_id)
        if self._followers:
            row = self.launches([launch_id])[0]
            for follower in self._followers:
                follower.put(row)

    def _all_changed(self) -> None:
        self._changes.all_changed()
        for follower in self._followers:
            follower.look()

    def _starts_here(self) -> None:
        self._home = _Home.here()

    def _check_home(self) -> None:
        """Raises InvalidInput for a call from another thread, event loop or process."""
        if self._home is not None:
            self._home.check()

    def _running(self) -> Shell:
        """Raises FrameworkStopped after `stop`, InvalidInput before `start`."""
        if self._shell is not None:
            return self._shell
        if self._stopped is not None:
            raise FrameworkStopped(self._stopped)
        raise InvalidInput("the framework is not started: use `async with`, or `start`")

    def _active(self) -> Shell:
        """For what only a framework that has not stopped can do. Raises FrameworkStopped, and InvalidInput also for a
        call from another thread or event loop."""
        shell = self._running()
        self._check_home()
        if self._stopped is not None:
            raise FrameworkStopped(self._stopped)
        return shell


def _reached(record: LaunchRecord, until: Milestone) -> bool:
    """`running` counts a launch that once ran, and one that never will."""
    if until == "ended":
        return record.state.ended
    return record.ran or record.overdue or record.state.ended


def _checked(shell: Shell, launches: Iterable[Launch]) -> list[Submit]:
    """Still without ids. Raises InvalidInput if the scheduler would not take all of them."""
    submits: list[Submit] = []
    if isinstance(launches, Launch):
        raise InvalidInput("launch_many takes several launches: write them as a list, or call launch")
    for launch in launches:
        if submits and launch is submits[-1].launch and launch.task_info is None:
            submits.append(submits[-1])
            continue
        if not isinstance(launch, Launch):
            raise InvalidInput(f"a launch must be an owmesos.Launch, not {launch!r:.100}")
        submits.append(Submit("", launch, template(launch)))
        shell.scheduler.check(submits[-1])
    return submits


async def _submitted(
    shell: Shell, unnamed: Sequence[Submit], check: Callable[[], object]
) -> AsyncGenerator[list[str], None]:
    """Ask for them, a SLICE at a time, and yield its ids. `check` is called before each."""
    for begin in range(0, len(unnamed), SLICE):
        if begin:
            await asyncio.sleep(0)
        check()
        yield _submit(shell, unnamed[begin : begin + SLICE], more=begin + SLICE < len(unnamed))


def _submit(shell: Shell, unnamed: Sequence[Submit], *, more: bool) -> list[str]:
    """Ask for them under ids that no launch has: of 10,000 random ones two are the same in one of a hundred cases."""
    state, named = shell.scheduler.state, dict[str, Submit]()
    for each in unnamed:
        launch_id = ""
        while not launch_id or launch_id in named or launch_id in state.launches or launch_id in state.unreadable:
            launch_id = f"{each.launch.name}-{secrets.token_hex(4)}"
        named[launch_id] = msgspec.structs.replace(each, launch_id=launch_id)
    shell.deliver(Submits(tuple(named.values()), more))
    return list(named)


def _parts(submits: Iterable[Submit]) -> list[bytes]:
    """What makes it the same request as another; an edit of the task counts by its effect."""
    last, found = None, list[bytes]()
    for each in submits:
        if each is last:
            found += found[-2:]
            continue
        launch = msgspec.structs.replace(each.launch, task_info=None)
        found += (msgspec.json.encode(launch), each.template.encode())
        last = each
    return found
