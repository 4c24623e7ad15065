"""The documents that others script against: nodes, offers, reservations, launches, a launch's story and explanation.

One function for each, from the books to builtins that JSON can hold. Field names are a contract (docs/cli.md): cpus a
float, mem and disk MB, ports `[[begin, end], …]`, times ISO 8601 UTC, `null` for what is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

from owmesos.core.explanation import Explanation
from owmesos.core.launches import LaunchRecord
from owmesos.core.ledger import Account, Agent
from owmesos.mesos.books import Books
from owmesos.mesos.offers import OfferRecord
from owmesos.resources import NOTHING, Ask, Resources

Document = dict[str, Any]


def instant(seconds: float | None) -> str | None:
    """Seconds of the epoch as ISO 8601 UTC with milliseconds."""
    if seconds is None:
        return None
    text = datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def vector(resources: Resources | None) -> Document | None:
    if resources is None:
        return None
    return {
        "cpus": resources.cpus,
        "mem": resources.mem,
        "disk": resources.disk,
        "gpus": resources.gpus,
        "ports": [list(pair) for pair in resources.ports.ranges],
    }


def nodes(books: Books, now: float) -> list[Document]:
    """One row an agent and allocation role, by hostname."""
    rows = []
    for agent in sorted(books.ledger.agents.values(), key=lambda agent: (agent.hostname, agent.agent_id)):
        rows += [_node(books, agent, account, now) for account in agent.accounts]
    return rows


def _node(books: Books, agent: Agent, account: Account, now: float) -> Document:
    stats = books.ledger.stats(account, books.node_state(agent))
    uncut = books.ledger.reservations.uncut(account.slot)
    cpus, mem = books.ledger.buffer_on(agent)
    observed = stats.observed_at
    return {
        "agent_id": agent.agent_id,
        "hostname": agent.hostname,
        "role": stats.role,
        "attributes": {name: list(texts) for name, texts in agent.attributes.items()},
        "state": stats.state.value,
        "total": vector(agent.total),
        "used": vector(books.used.get(agent.agent_id, NOTHING)),
        "free": vector(stats.free),
        "reserved": vector(_without_ports(uncut or Ask())),
        "buffer": vector(Resources(cpus, mem)),
        "available": vector(stats.available.at_least_zero()),
        "unavailability": _unavailability(agent),
        "observed_at": instant(observed),
        "age_s": None if observed is None else round(max(0.0, now - observed), 3),
    }


def _unavailability(agent: Agent) -> Document | None:
    if agent.unavailability is None:
        return None
    start, duration = agent.unavailability
    return {"start": instant(start), "duration_s": duration}


def offers(books: Books, now: float, *, outstanding: bool = False) -> list[Document]:
    """Those in hand, then the last ended one of every agent."""
    records = list(books.offers.outstanding.values())
    if not outstanding:
        records += books.offers.last.values()
    return [_offer(record, now) for record in records]


def _offer(record: OfferRecord, now: float) -> Document:
    return {
        "offer_id": record.offer_id,
        "agent_id": record.slot.agent_id,
        "hostname": record.hostname,
        "role": record.slot.role,
        "resources": vector(record.resources),
        "state": record.state.value,
        "reason": record.reason,
        "filter_s": record.filter_s,
        "launch_ids": list(record.launch_ids),
        "received_at": instant(record.received_at),
        "ended_at": instant(record.ended_at),
        "age_s": round(max(0.0, now - record.received_at), 3),
    }


def reservations(books: Books, now: float) -> list[Document]:
    """Starts that are not confirmed, and stops whose room was not seen yet; oldest first."""
    return [
        {
            "launch_id": reservation.launch_id,
            "task_id": reservation.task_id,
            "agent_id": reservation.slot.agent_id,
            "hostname": books.ledger.agent(reservation.slot.agent_id).hostname,
            "kind": reservation.kind,
            "state": reservation.state.value,
            "resources": vector(reservation.resources or _without_ports(reservation.ask)),
            "since": instant(reservation.since),
            "age_s": round(max(0.0, now - reservation.since), 3),
        }
        for reservation in sorted(books.ledger.reservations.by_launch.values(), key=lambda r: r.since)
    ]


def launches(books: Books, ids: Iterable[str] | None = None) -> list[Document]:
    """All that are known, in the order in which they were asked for; or those named, which must be known."""
    if ids is not None:
        return [launch(books, books.launches[launch_id]) for launch_id in ids]
    return [launch(books, record) for record in sorted(books.launches.values(), key=lambda record: record.place)]


def launch(books: Books, record: LaunchRecord) -> Document:
    return {
        "launch_id": record.id,
        "task_id": record.task_id,
        "name": record.launch.name,
        "state": record.state.value,
        "attempts": record.attempts,
        "agent_id": record.agent_id,
        "hostname": record.hostname,
        "ports": [list(pair) for pair in record.resources.ports.ranges] if record.resources is not None else [],
        "resources": vector(record.resources or _without_ports(record.ask)),
        "queue_position": books.queue.position(record),
        "submitted_at": instant(record.submitted_at),
        "deadline_at": instant(record.deadline_at),
        "started_at": instant(record.started_at),
        "ended_at": instant(record.ended_at),
        "reason": record.reason,
        "message": record.message,
    }


def story(record: LaunchRecord) -> Document:
    """A launch's whole history."""
    return {
        "launch_id": record.id,
        "state": record.state.value,
        "story": [{"at": instant(line.at), "state": line.state.value, "text": line.text} for line in record.story],
    }


def explanation(books: Books, record: LaunchRecord, found: Explanation | None) -> Document:
    """Why the launch waits; for one that does not, where it is."""
    document: Document = {
        "launch_id": record.id,
        "state": record.state.value,
        "queue_position": books.queue.position(record),
    }
    if found is not None:
        return document | found.as_json()
    text = f"the launch does not wait: it is {record.state.value}"
    if record.message:
        text += f" ({record.message})"
    return document | {"agents": None, "failed": {}, "nearest": None, "summary": text}


def find(books: Books, name: str) -> LaunchRecord | None:
    """By launch id, then by task id."""
    return books.launches.get(name) or books.launches.get(books.by_task.get(name, ""))


def _without_ports(ask: Ask) -> Resources:
    return Resources(ask.milli_cpus, ask.milli_mem, ask.milli_disk, ask.milli_gpus)
