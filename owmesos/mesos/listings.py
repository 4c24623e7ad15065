"""Builds the documents (`owmesos.documents`) from the scheduler's state, one function for each."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from itertools import islice, takewhile
from typing import NamedTuple

from owmesos import documents
from owmesos.core import listings as core_listings
from owmesos.core.explanation import Explanation
from owmesos.core.ledger import Account, LedgerNode
from owmesos.core.listings import instant, vector, without_ports, word
from owmesos.errors import Ambiguous
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.state import NOT_CONNECTED, SILENT, SchedulerState

_MOST_LOOKS = 10_000
"""Most agents to check for the summaries of one listing: 24 µs each."""
_FIRST_LOOKS = 1_000
"""The same for the answer to a request for launches, which holds up other requests."""
_ASK_EXPLAIN = "it waits for room: `explain` says why"


def connection_trouble(state: SchedulerState) -> str | None:
    """That no master is connected, or that it is silent, with the time and the reason; None while all is well."""
    connection = state.connection
    if state.connected:
        silent = connection.silent_since
        return None if silent is None else f"{SILENT}; it was last heard at {instant(silent)}"
    since, reason = instant(connection.since), connection.reason
    return NOT_CONNECTED + (f" since {since}" if since is not None else "") + (f": {reason}" if reason else "")


def nodes(state: SchedulerState, now: float) -> list[documents.NodeDocument]:
    """One row an agent and allocation role, by hostname."""
    agents = sorted(state.ledger.agents.values(), key=lambda agent: (agent.hostname, agent.agent_id))
    return [node(state, agent, account, now) for agent in agents for account in agent.accounts]


def node(state: SchedulerState, agent: LedgerNode, account: Account, now: float) -> documents.NodeDocument:
    return core_listings.node(state, agent, account, now, _node_reason(state, agent, account, now))


def _node_reason(state: SchedulerState, agent: LedgerNode, account: Account, now: float) -> str | None:
    """Why it gets few or no starts."""
    if not state.connected and account.observed_at is None:
        return connection_trouble(state)
    return node_trouble(state, now, agent)


def node_trouble(state: SchedulerState, now: float, agent: LedgerNode) -> str | None:
    """Why the node gets few or no starts; None for one that gets them."""
    if agent.gone_at is not None:
        return f"it has been gone since {instant(agent.gone_at)}: removed, or out of the master's reach"
    if agent.unavailability is not None:
        start, duration = agent.unavailability
        begins = "began" if start <= now else "begins"
        ends = f", for {duration:.0f} s" if duration is not None else ""
        return f"its maintenance {begins} {instant(start)}{ends}"
    pause = state.backoff.agent_pause(agent.agent_id)
    return pause.reason if pause is not None else state.backoff.doubt(agent.agent_id)


def offers(state: SchedulerState, now: float, *, outstanding: bool = False) -> list[documents.OfferDocument]:
    """Those in hand, then the last ended one of every agent."""
    records = list(state.offers.outstanding.values())
    if not outstanding:
        records += state.offers.last.values()
    return [
        {
            "offer_id": record.offer_id,
            "agent_id": record.slot.agent_id,
            "hostname": record.hostname,
            "role": record.slot.role,
            "resources": vector(record.resources),
            "state": word(record.state),
            "reason": record.reason,
            "filter_s": record.filter_s,
            "launch_ids": list(record.launch_ids),
            "received_at": instant(record.received_at),
            "ended_at": instant(record.ended_at),
            "age_s": round(max(0.0, now - record.received_at), 3),
        }
        for record in records
    ]


class LaunchFilter(NamedTuple):
    """Which launches to list: those in this state and of this name, of which the latest `limit` were asked for."""

    state: State | None = None
    name: str | None = None
    limit: int | None = None

    def among(self, records: Iterable[LaunchRecord]) -> list[LaunchRecord]:
        """In the order in which they were asked for."""
        chosen = [
            record
            for record in records
            if self.state in (None, record.state) and self.name in (None, record.launch.name)
        ]
        chosen.sort(key=lambda record: record.place)
        return chosen if self.limit is None else chosen[max(0, len(chosen) - self.limit) :]


def launches(
    state: SchedulerState,
    ids: Iterable[str] | None = None,
    chosen: LaunchFilter | None = None,
) -> list[documents.LaunchDocument]:
    """All, or those `chosen`, in the order of their submission; or those named, which must be known."""
    if ids is not None:
        records = [state.launches[launch_id] for launch_id in ids]
    else:
        records = (chosen or LaunchFilter()).among(state.launches.values())
    summaries = _Summaries(state)
    return [_launch(state, record, summaries.of(record)) for record in records]


class FirstLaunches:
    """What is shown of launches that were just submitted, a part at a time. On a large cluster those that wait say only
    that they wait for room."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._summaries = _Summaries(state, _FIRST_LOOKS // max(1, len(state.ledger.agents)))

    def of(self, ids: Iterable[str]) -> list[documents.LaunchDocument]:
        records = [self._state.launches[each] for each in ids]
        return [_launch(self._state, record, self._summaries.of(record)) for record in records]


def launch(state: SchedulerState, record: LaunchRecord) -> documents.LaunchDocument:
    return _launch(state, record, _Summaries(state).of(record))


def _launch(state: SchedulerState, record: LaunchRecord, summary: str | None) -> documents.LaunchDocument:
    """A launch that waits again does not show its former agent."""
    placed = not record.state.waiting
    resources = record.resources if placed else None
    return {
        "launch_id": record.id,
        "task_id": record.task_id,
        "name": record.launch.name,
        "state": word(record.state),
        "attempts": record.attempts,
        "agent_id": record.agent_id if placed else None,
        "hostname": record.hostname if placed else None,
        "ports": [list(pair) for pair in resources.ports.ranges] if resources is not None else [],
        "resources": vector(resources or without_ports(record.ask)),
        "queue_position": state.queue.position(record),
        "submitted_at": instant(record.submitted_at),
        "deadline_at": instant(record.deadline_at),
        "started_at": instant(record.started_at),
        "ended_at": instant(record.ended_at),
        "overdue": record.overdue or record.late is not None,
        "late_s": None if record.late is None else round(record.late, 3),
        "reason": record.reason,
        "message": record.message,
        "summary": summary,
    }


class _Summaries:
    """Why launches wait. Found once for each shape, and only for so many shapes that the event loop is not held up."""

    def __init__(self, state: SchedulerState, most: int | None = None) -> None:
        """`most`: for how many shapes a reason is found, by default as many as a listing may have."""
        self._state = state
        self._found: dict[Hashable, str] = {}
        self._most = max(1, _MOST_LOOKS // max(1, len(state.ledger.agents))) if most is None else most

    def of(self, record: LaunchRecord) -> str | None:
        """None for one that neither waits nor is unreachable."""
        state = self._state
        if record.state is State.UNREACHABLE and record.unreachable_at is not None:
            until = record.unreachable_at + state.settings.unreachable_timeout
            return (
                f"agent {record.agent_id} is unreachable since {instant(record.unreachable_at)};"
                f" if it does not come back, the launch is LOST at {instant(until)}"
            )
        if record.state is State.RESERVED and record.story:
            return record.story[-1].text
        if not record.state.waiting:
            return None
        aside = state.set_aside
        heads = aside is not None and aside.launch_id == record.id
        key = (record.shape, record.launch.start_key, record.managed, heads)
        if key not in self._found and len(self._found) < self._most:
            self._found[key] = connection_trouble(state) or state.explain(record).summary
        return self._found.get(key, _ASK_EXPLAIN)


def unreadable(state: SchedulerState) -> list[documents.UnreadableDocument]:
    """The stored launches that are set aside, by id."""
    return [{"launch_id": each.launch_id, "reason": each.reason} for _, each in sorted(state.unreadable.items())]


def story(record: LaunchRecord) -> documents.StoryDocument:
    return {
        "launch_id": record.id,
        "state": word(record.state),
        "story": [{"at": instant(line.at), "state": word(line.state), "text": line.text} for line in record.story],
    }


def explanation(state: SchedulerState, record: LaunchRecord, found: Explanation | None) -> documents.LaunchExplanation:
    """Why the launch waits; for one that does not, where it is."""
    text = f"the launch is not waiting: it is {record.state.value}"
    if record.message:
        text += f" ({record.message})"
    return {
        "launch_id": record.id,
        "state": word(record.state),
        "queue_position": state.queue.position(record),
        "agents": found.agents if found is not None else None,
        "failed": dict[str, int](found.failed.items()) if found is not None else {},
        "nearest": found.nearest if found is not None else None,
        "summary": text if found is None else connection_trouble(state) or found.summary,
    }


def find(state: SchedulerState, name: str) -> LaunchRecord | None:
    """By launch id or task id, else by name, else by a unique beginning of an id. Of several with that name it is the
    only one that has not ended. Raises Ambiguous."""
    return Finder(state).find(name)


class Finder:
    """Finds launches as `find` does, as long as none comes or goes: the first that is not an id looks at all of them,
    the others do not."""

    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._named: dict[str, list[LaunchRecord]] = {}
        self._ids: list[str] = []  # sorted

    def find(self, name: str) -> LaunchRecord | None:
        """Raises Ambiguous."""
        state = self._state
        exact = state.launches.get(name) or state.launches.get(state.launch_of(name) or "")
        if exact is not None or not name:
            return exact
        if not self._ids:
            self._look()
        named = self._named.get(name, [])
        not_ended = [record for record in named if not record.state.ended]
        found = not_ended if len(not_ended) == 1 else named
        found = found or [state.launches[each] for each in self._beginning(name)]
        if len(found) > 1:
            latest_first = sorted(found, key=lambda record: -record.place)
            raise Ambiguous(name, [f"{record.id} ({record.state.value})" for record in latest_first])
        return found[0] if found else None

    def _look(self) -> None:
        self._ids = sorted(self._state.launches)
        for record in self._state.launches.values():
            self._named.setdefault(record.launch.name, []).append(record)

    def _beginning(self, name: str) -> Iterable[str]:
        begin = bisect_left(self._ids, name)
        return takewhile(lambda each: each.startswith(name), islice(self._ids, begin, None))
