"""A framework of the cases' own on any `Driver`: it notes every event, and gives them out one by one.

It decides nothing. What a case waits for it names, with a deadline; what came besides stays in the log, in the
order of its coming, to be looked at afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from owmesos.mesos.messages import (
    ID,
    Accept,
    Acknowledge,
    Call,
    CommandInfo,
    Decline,
    Error,
    Event,
    Filters,
    Heartbeat,
    LaunchOperation,
    Offer,
    Offers,
    Operation,
    Reconcile,
    ReconcileTask,
    Resource,
    Revive,
    Subscribed,
    TaskInfo,
    TaskStatus,
    Update,
)
from owmesos.mesos.wire.driver import CallFailed, Disconnected, Driver
from tests.conformance.amounts import amounts, cut

DEADLINE = 60.0
"""Seconds after which what has not come will not come. On a machine that is not busy nothing takes a third of it."""
HOUR = 3600.0
E = TypeVar("E", bound=Event)


@dataclass
class Noted:
    """An event, and when it came, in seconds of the loop's clock."""

    event: Event
    at: float
    repeated: bool
    """Whether it is an update that came before. After a daemon's restart they do, and mean nothing."""
    taken: bool = False
    """Whether the case has seen it."""


class Framework:
    """Iterates the driver's events in a task of its own, from `start` to `close`."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.log: list[Noted] = []
        self.acknowledging = True
        """Whether updates are acknowledged as they come, before the case sees them."""
        self._news = asyncio.Condition()
        self._pump: asyncio.Task[None] | None = None
        self._ended = False
        self._fences = 0
        self._tasks = 0
        self._ports: set[int] = set()
        self._uuids: set[str] = set()

    def start(self) -> None:
        self._pump = asyncio.create_task(self._note_events())

    async def close(self) -> None:
        """Without TEARDOWN. Raises what went wrong with the events."""
        await self.driver.close()
        if self._pump is not None:
            await self._pump

    @property
    def id(self) -> ID:
        """As the driver will say at the next SUBSCRIBE."""
        framework_id = self.driver.subscription.framework_info.id
        assert framework_id is not None, "not subscribed yet"
        return framework_id

    @property
    def role(self) -> str:
        (role,) = self.driver.subscription.framework_info.roles
        return role

    # Events

    async def next(self, kind: type[E], where: Callable[[E], object] | None = None, **more: Any) -> E:
        """Takes the first event of `kind`, for which `where` holds, that was not taken yet; waits for it.

        See `noted` for more.
        """
        return cast(E, (await self.noted(kind, where, **more)).event)

    async def noted(
        self,
        kind: type[E],
        where: Callable[[E], object] | None = None,
        *,
        repeated: bool = False,
        timeout: float = DEADLINE,
        what: str = "",
    ) -> Noted:
        """`next`, with the time at which it came. `repeated`: updates that came before, and none but these."""

        def find() -> Noted | None:
            for note in self.log:
                event = note.event
                is_new = not note.taken and note.repeated == repeated
                if is_new and isinstance(event, kind) and (where is None or where(event)):
                    return note
            return None

        try:
            async with self._news:
                await asyncio.wait_for(self._news.wait_for(lambda: find() or self._ended), timeout)
        except asyncio.TimeoutError:
            pass  # told below, with what came instead
        found = find()
        if found is None:
            wanted = f"{kind.__name__} {what}".strip()
            why = "the events have ended" if self._ended else f"not within {timeout:g} s"
            raise AssertionError(f"{wanted}: {why}. Not taken: {', '.join(map(brief, self.untaken())) or 'nothing'}")
        found.taken = True
        return found

    def untaken(self, *kinds: type[Event]) -> list[Event]:
        """What came for the first time and was not taken, of `kinds` or, but for heartbeats, of all."""
        fresh = [note.event for note in self.log if not note.taken and not note.repeated]
        return [event for event in fresh if (isinstance(event, kinds) if kinds else not isinstance(event, Heartbeat))]

    def place(self, event: Event) -> int:
        """Where in the order of events `event` came."""
        return next(place for place, note in enumerate(self.log) if note.event is event)

    async def subscribed(self) -> Subscribed:
        return await self.next(Subscribed)

    async def disconnected(self) -> str:
        """The reason."""
        return (await self.next(Disconnected)).reason

    async def caught_up(self) -> None:
        """Returns when all that the master had to say to us until now is in the log.

        It asks for a task that never was: the answer comes after everything else. (Not in the minutes after a
        failover of the master: it is silent then.)
        """
        self._fences += 1
        nonesuch = ID(f"fence-{self._fences}")
        await self.call(Reconcile([ReconcileTask(nonesuch)]))
        await self.next(Update, lambda event: event.status.task_id == nonesuch, what="that answers a RECONCILE")

    # Offers

    async def offers(self, *, timeout: float = DEADLINE) -> list[Offer]:
        """Those of the next OFFERS event."""
        return list((await self.next(Offers, timeout=timeout)).offers)

    async def offers_of(self, *agent_ids: ID) -> dict[ID, Offer]:
        """One offer of each of these agents and of no other. They may come in several events: an allocation may fall
        between the returns of two of them.
        """
        offers: dict[ID, Offer] = {}
        while len(offers) < len(agent_ids):
            for offer in await self.offers():
                assert offer.agent_id in agent_ids, offer
                assert offer.agent_id not in offers, offer
                offers[offer.agent_id] = offer
        return offers

    async def offer(self, *, timeout: float = DEADLINE) -> Offer:
        """The only one of the next OFFERS event."""
        offers = await self.offers(timeout=timeout)
        assert len(offers) == 1, offers
        return offers[0]

    async def only(self, agent_id: ID | None = None) -> Offer:
        """The next offer, of that agent if one is named. Those before and with it are declined for an hour."""
        while True:
            offers = await self.offers()
            kept = next((offer for offer in offers if agent_id in (None, offer.agent_id)), None)
            others = [offer for offer in offers if offer is not kept]
            if others:
                await self.decline(*others)
            if kept is not None:
                return kept

    async def gets_no_offers(self, tick: Callable[[], Awaitable[None]]) -> None:
        """In a whole allocation; `tick` waits for one."""
        await tick()
        await self.caught_up()
        assert not self.untaken(Offers), ", ".join(map(brief, self.untaken(Offers)))

    async def decline(self, *offers: Offer, refuse: float | None = HOUR) -> None:
        """With a filter of `refuse` seconds; None leaves the filter out."""
        filters = None if refuse is None else Filters(refuse)
        await self.call(Decline([offer.id for offer in offers], filters))

    async def revive(self, *roles: str) -> None:
        await self.call(Revive(list(roles)))

    # Tasks

    def task(
        self,
        *offers: Offer,
        command: str = "exec sleep 600",
        cpus: float = 0.1,
        mem: float = 32,
        disk: float = 0,
        ports: int = 0,
        resources: list[Resource] | None = None,
        task_id: str | None = None,
        **fields: Any,
    ) -> TaskInfo:
        """One that takes what it needs out of `offers`, of which it copies the resources, or has `resources`.

        No two tasks have a port in common.
        """
        self._tasks += 1
        name = task_id if task_id is not None else f"task-{self._tasks}"
        if resources is None:
            offered = [resource for offer in offers for resource in offer.resources]
            resources = cut(offered, cpus=cpus, mem=mem, disk=disk, ports=ports, but_ports=self._ports)
            self._ports |= amounts(resources).ports
        return TaskInfo(
            name=name,
            task_id=ID(name),
            agent_id=offers[0].agent_id,
            resources=resources,
            command=CommandInfo(value=command),
            **fields,
        )

    async def accept(self, offers: Offer | Iterable[Offer], *tasks: TaskInfo, refuse: float | None = HOUR) -> None:
        """Launches `tasks` in one operation; `refuse` is for what they leave."""
        offers = [offers] if isinstance(offers, Offer) else list(offers)
        operations = [Operation("LAUNCH", launch=LaunchOperation(list(tasks)))] if tasks else []
        filters = None if refuse is None else Filters(refuse)
        await self.call(Accept([offer.id for offer in offers], operations, filters))

    async def run(self, offer: Offer, *, refuse: float | None = HOUR, **described: Any) -> TaskInfo:
        """A task (see `task`) that runs."""
        task = self.task(offer, **described)
        await self.accept(offer, task, refuse=refuse)
        await self.running(task)
        return task

    async def running(self, *tasks: TaskInfo) -> None:
        """Takes the updates of `tasks` up to TASK_RUNNING."""
        for task in tasks:
            await self.update(task, "TASK_STARTING")
            await self.update(task, "TASK_RUNNING")

    async def update(self, task: TaskInfo | ID, *states: str, **more: Any) -> TaskStatus:
        """Takes the task's next update, whose state must be one of `states`. See `noted` for more."""
        task_id = task.task_id if isinstance(task, TaskInfo) else task
        what = f"of {task_id.value}"
        event = await self.next(Update, lambda event: event.status.task_id == task_id, what=what, **more)
        assert event.status.state in states, event.status
        return event.status

    # Calls

    async def call(self, call: Call) -> None:
        await self.driver.call(call)

    async def acknowledge(self, status: TaskStatus) -> None:
        assert status.agent_id is not None
        assert status.uuid is not None
        await self.call(Acknowledge(status.agent_id, status.task_id, status.uuid))

    async def _note_events(self) -> None:
        loop = asyncio.get_running_loop()
        over = False
        try:
            async for event in self.driver.events():
                noted = Noted(event, loop.time(), self._is_repeated(event))
                if isinstance(event, Offers):
                    noted.event = Offers(list(event.offers))
                if isinstance(event, Update):
                    await self._acknowledge_by_itself(event.status)
                async with self._news:
                    self.log.append(noted)
                    self._news.notify_all()
                over = over or isinstance(event, Error)
                if over and isinstance(event, Disconnected):
                    await self.driver.close()  # or it would subscribe again, and throw out who took its place
        finally:
            self._ended = True
            async with self._news:
                self._news.notify_all()

    def _is_repeated(self, event: Event) -> bool:
        uuid = event.status.uuid if isinstance(event, Update) else None
        if uuid is None:
            return False
        known = uuid in self._uuids
        self._uuids.add(uuid)
        return known

    async def _acknowledge_by_itself(self, status: TaskStatus) -> None:
        if status.uuid is None or not self.acknowledging:
            return
        try:
            await self.acknowledge(status)
        except CallFailed:
            return  # the stream or the master is gone; so the update comes again


def brief(event: Event) -> str:
    """An event for a failure's one line."""
    if isinstance(event, Update):
        status = event.status
        return " ".join(filter(None, [status.task_id.value, status.state, status.reason, status.message]))
    if isinstance(event, Offers):
        return f"Offers of {', '.join(offer.hostname for offer in event.offers)}"
    return str(event)
