"""What the dashboard shows of one framework, as tables that are updated while somebody watches.

A cluster may have thousands of nodes, and the decisions share the event loop. So an update reads only the nodes that
changed and a few others in turn, in slices, and spends bounded time on finding out why things wait.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

from owmesos.core.explanation import Explanation
from owmesos.core.ledger import Account, Ledger, LedgerNode
from owmesos.core.listings import instant
from owmesos.core.node_stats import NodeStatsUpdate
from owmesos.core.placement import Slot
from owmesos.core.pool import events as pool_events
from owmesos.core.pool.pool import Pool
from owmesos.core.pool.run_buffer import Waiting
from owmesos.dashboard.history import Span, StartCounts, Timeline
from owmesos.dashboard.tables import Table
from owmesos.documents import NodeDocument, ReservationDocument, StatusDocument, WaitingDocument
from owmesos.resources import MILLI
from owmesos.system.lone_surrogates import encode

SHOWN = 200
"""Most rows of `waiting` and of `reservations`."""
SLICE = 100
"""Nodes that are read before the event loop has its turn: about 2 ms."""
IN_TURN = 100
"""Nodes that each update reads even if no change was reported: a back-off may have passed."""
ROWS = 500
"""Most rows in one event, so that a browser parses it within some milliseconds."""
_EXPLAINING = 0.02  # seconds for reasons in one update
_REASON_LASTS = 5.0  # seconds
Reason = tuple[str, str | None]
"""Why it waits, and which node comes closest."""


def reason_of(found: Explanation | None, trouble: str | None) -> Reason:
    """`trouble` of the connection to the cluster manager goes before what was `found`."""
    if found is None:
        return "it no longer waits", None
    return (found.summary, found.nearest) if trouble is None else (trouble, None)


class WaitingLaunch(NamedTuple):
    """A launch, or a container of the pool, that waits for room."""

    key: object  # those with equal keys wait for the same reason
    why: Callable[[], Reason]
    row: WaitingDocument  # still without the reason and the nearest node


class FeedSource(Protocol):
    """What the dashboard shows of a process, whatever its cluster manager is."""

    @property
    def ledger(self) -> Ledger: ...

    @property
    def pool(self) -> Pool | None: ...

    def now(self) -> float:
        """Seconds since the epoch."""

    def connection_trouble(self) -> str | None:
        """That the cluster manager is not connected or is silent; None while all is well."""

    def node(self, agent: LedgerNode, account: Account) -> NodeDocument: ...

    def reservations(self, limit: int | None = None) -> Sequence[ReservationDocument]:
        """The oldest first."""

    @property
    def waiting(self) -> int:
        """How many launches and containers of the pool wait for room."""

    def waiting_launches(self, limit: int) -> Sequence[WaitingLaunch]:
        """The first of them, in the order of their queue."""

    def span(self, launch_id: str) -> Span | None:
        """A launch's row of the timeline, or a container's."""


class DashboardFeed:
    """The tables of one process. It must exist from the start, since it listens from then on for the history.

    `position` is the number of the last complete update. Not thread-safe.
    """

    def __init__(self, source: FeedSource, status: Callable[[], StatusDocument]) -> None:
        self._source = source
        self._pool = source.pool
        self._status = status
        self._starts = StartCounts()
        self._timeline = Timeline()
        self._begun = source.now()
        self._counted: set[str] = set()  # running launches that were counted
        self._changed: set[Slot] = set()
        self._turn: Iterator[Slot] = iter(())
        self._reasons: dict[object, tuple[float, tuple[str | None, str | None]]] = {}
        self._tables = {
            "nodes": Table(lambda row: f"{row['agent_id']} {row['role']}"),
            "reservations": Table(lambda row: str(row["launch_id"])),
            "waiting": Table(lambda row: str(row["id"])),
            "timeline": Table(lambda row: str(row["id"])),
            "starts": Table(lambda row: str(row["at"])),
        }
        self._header = Table(lambda row: "header")
        self.position = 0

    # -- listeners

    def launch_changed(self, launch_id: str) -> None:
        span = self._source.span(launch_id)
        if span is None:
            return
        self._timeline.launch_changed(span)
        counts = self._starts.now(self._source.now(), self._waiting_count())
        if span.ended_at is not None:
            self._counted.discard(launch_id)
            counts.failed += span.failed
        elif span.running_at is not None and launch_id not in self._counted:
            self._counted.add(launch_id)
            counts.launched += span.kind == "launch" and span.running_at >= self._begun

    def stats_changed(self, update: NodeStatsUpdate) -> None:
        self._changed.update(Slot(each.agent_id, each.role) for each in update.changed)
        for agent_id in update.gone:
            self._agent_changed(agent_id)

    def pool_told(self, event: object) -> None:
        """What an invoker told the pool."""
        if isinstance(event, pool_events.RunDone):
            self._timeline.run_ended(event.run_id, self._source.now())
        elif isinstance(event, pool_events.CancelRun):
            if self._pool is None or event.run_id not in self._pool.state.running:  # else it goes on
                self._timeline.run_cancelled(event.run_id, self._source.now())
                self._starts.now(self._source.now(), self._waiting_count())
        elif isinstance(event, pool_events.Initialized):
            self._timeline.initialized(event.container_id, self._source.now())
        elif isinstance(event, pool_events.Run) and self._pool is not None:
            waiting = self._pool.state.buffer.by_id.get(event.run_id)
            if waiting is not None:
                self._timeline.run_waits(waiting)
                self._starts.now(self._source.now(), self._waiting_count())

    def pool_says(self, event: object) -> None:
        """What the pool tells its invoker."""
        if isinstance(event, pool_events.Dispatch) and self._pool is not None:
            now = self._source.now()
            counts = self._starts.now(now, self._waiting_count())
            word = pool_events.START_WORDS[event.kind]
            setattr(counts, word, getattr(counts, word) + 1)
            running = self._pool.state.running.get(event.run_id)
            if running is not None:
                self._timeline.run_dispatched(
                    running[1], event.container_id, event.kind, now, initialize=event.initialize
                )
        elif isinstance(event, pool_events.RunFailed):
            self._starts.now(self._source.now(), self._waiting_count()).failed += 1
            self._timeline.run_ended(event.run_id, self._source.now(), event.message)

    def _waiting_count(self) -> int:
        return self._source.waiting + (len(self._pool.state.buffer) if self._pool is not None else 0)

    # -- bringing up to date

    async def update(self) -> None:
        """Update all tables. Must not be called concurrently."""
        version = self.position + 1
        now = self._source.now()
        await self._update_nodes(version)
        self._tables["reservations"].replace(self._source.reservations(SHOWN), version)
        self._tables["waiting"].replace(self._waiting(), version)
        self._tables["timeline"].replace(self._timeline.documents(now), version)
        self._tables["starts"].replace(self._starts.documents(now), version)
        left_out = {
            "reservations": max(0, len(self._source.ledger.reservations.by_launch) - SHOWN),
            "waiting": max(0, self._waiting_count() - len(self._tables["waiting"])),
        }
        self._header.put({"status": self._status(), "left_out": left_out}, version)
        self.position = version

    async def _update_nodes(self, version: int) -> None:
        table, ledger = self._tables["nodes"], self._source.ledger
        if version == 1 or len(table) != len(ledger.accounts):
            there = {f"{slot.agent_id} {slot.role}": slot for slot in ledger.accounts}
            for key in table.keys() - there.keys():
                table.remove(key, version)
            self._changed |= {there[key] for key in there.keys() - table.keys()}
        slots, self._changed = list(self._changed), set()
        slots += self._in_turn()
        for begin in range(0, len(slots), SLICE):
            for slot in slots[begin : begin + SLICE]:
                self._put_node(slot, version)
            await asyncio.sleep(0)

    def _in_turn(self) -> list[Slot]:
        taken = [slot for slot, _ in zip(self._turn, range(IN_TURN), strict=False)]
        if len(taken) < IN_TURN:
            self._turn = iter(list(self._source.ledger.accounts))
        return taken

    def _put_node(self, slot: Slot, version: int) -> None:
        ledger = self._source.ledger
        account = ledger.accounts.get(slot)
        if account is None:  # removed meanwhile
            self._tables["nodes"].remove(f"{slot.agent_id} {slot.role}", version)
            return
        node = self._source.node(ledger.agents[slot.agent_id], account)
        self._tables["nodes"].put(node, version)

    def _agent_changed(self, agent_id: str) -> None:
        agent = self._source.ledger.agents.get(agent_id)
        if agent is not None:
            self._changed.update(account.slot for account in agent.accounts)

    # -- what waits

    def _waiting(self) -> list[WaitingDocument]:
        pool = self._pool
        waiting = list(self._source.waiting_launches(SHOWN))
        if pool is not None:
            waiting += [self._run(pool, place, each) for place, each in enumerate(pool.state.buffer.first(SHOWN))]
        asked: dict[object, Callable[[], Reason]] = {}
        for each in waiting:
            asked.setdefault(each.key, each.why)
        self._explain(asked)
        rows: list[WaitingDocument] = []
        for each in waiting:
            _, (reason, nearest) = self._reasons.get(each.key, (0.0, (None, None)))
            rows.append({**each.row, "reason": reason, "nearest": nearest})
        return rows

    def _explain(self, asked: dict[object, Callable[[], Reason]]) -> None:
        """Find out reasons within bounded time: unknown ones first, then the oldest. One for each shape."""
        self._reasons = {key: self._reasons[key] for key in asked if key in self._reasons}
        begun = time.perf_counter()
        old = sorted(asked, key=lambda key: self._reasons[key][0] if key in self._reasons else 0.0)
        for key in old:
            known = self._reasons.get(key)
            if known is not None and known[0] > begun - _REASON_LASTS:
                return
            self._reasons[key] = (time.perf_counter(), asked[key]())
            if time.perf_counter() - begun > _EXPLAINING:
                return

    def _run(self, pool: Pool, position: int, waiting: Waiting) -> WaitingLaunch:
        """An activation."""
        run_id, aside = waiting.run.run_id, pool.state.aside
        own = aside is not None and aside.run_id == run_id
        reason = (waiting.covered_by, waiting.no_room, waiting.room_on, waiting.reason)
        ask = pool.state.ask(waiting.shape)

        def why() -> Reason:
            return reason_of(pool.explain(run_id), self._source.connection_trouble())

        row: WaitingDocument = {
            "id": run_id,
            "kind": "activation",
            "name": waiting.run.action.name,
            "position": position,
            "cpus": ask.milli_cpus / MILLI,
            "mem": ask.milli_mem / MILLI,
            "since": instant(waiting.received_at),
            "reason": None,
            "nearest": None,
        }
        return WaitingLaunch(("run", waiting.shape, reason, own), why, row)

    # -- what is sent

    def reaches_back_to(self, position: int) -> bool:
        """Whether all changes since `position` are known. If not, the client needs a new snapshot."""
        return all(position >= table.complete_since for table in self._tables.values())

    def changes(self, position: int) -> Iterator[bytes]:
        """What changed since `position`, as JSON texts of EventsDocuments; 0 means everything, in at least one text.

        The generator keeps only references to rows.
        """
        found = {name: table.since(position) for name, table in self._tables.items()}
        gone = {name: keys for name, (_, keys) in found.items() if keys}
        members: list[bytes] = [row[1:-1] for row in self._header.since(position)[0]]
        if gone:
            members.append(b'"gone":' + encode(gone))
        left, free = sum(len(rows) for rows, _ in found.values()), ROWS
        for name, (rows, _) in found.items():
            while rows:
                part, rows = rows[:free], rows[free:]
                left, free = left - len(part), free - len(part)
                members.append(b'"%s":[%s]' % (name.encode(), b",".join(part)))
                if not free:
                    yield self._text(members, left)
                    members, free = [], ROWS
        if members:
            yield self._text(members, 0)

    def _text(self, members: list[bytes], rest: int) -> bytes:
        at = encode(instant(self._source.now()))
        return b'{"at":%s,"rest":%d,%s}' % (at, rest, b",".join(members))
