"""Why a launch waits: the facts of every agent, for the funnel in `owmesos.core.explanation`."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from owmesos.core import explanation
from owmesos.core.explanation import Exclusion, Explanation, SlotFacts
from owmesos.core.launches import LaunchRecord
from owmesos.core.ledger import Agent
from owmesos.mesos.books import Books
from owmesos.resources import NOTHING, Resources


def explain(books: Books, record: LaunchRecord) -> Explanation:
    """The funnel over all agents that are known and not gone."""
    found = explanation.explain(record.ask, _facts(books, record))
    if found.agents:
        return found
    summary = "no agent was seen yet" if books.connected else "not connected to a master"
    return msgspec.structs.replace(found, summary=summary)


def _facts(books: Books, record: LaunchRecord) -> Iterator[SlotFacts]:
    role = record.launch.role
    for agent in books.ledger.agents.values():
        if agent.gone_at is not None:
            continue
        cpus, mem = books.ledger.buffer_on(agent)
        matches = all(c.matches(agent.hostname, agent.attributes) for c in record.constraints)
        excluded = _excluded(books, record, agent)
        for account in agent.accounts:
            if role is not None and account.slot.role != role:
                continue
            uncut = books.ledger.reservations.uncut(account.slot, but=record.id)
            reserved = NOTHING
            if uncut is not None:
                reserved = Resources(uncut.milli_cpus, uncut.milli_mem, uncut.milli_disk, uncut.milli_gpus)
            yield SlotFacts(
                agent.agent_id,
                agent.hostname,
                account.slot.role,
                account.free(),
                reserved,
                Resources(cpus, mem),
                matches,
                excluded if account.observed_at is not None or excluded is not None else "unknown",
            )


def _excluded(books: Books, record: LaunchRecord, agent: Agent) -> Exclusion | None:
    if agent.unavailability is not None:
        return "draining"
    if books.backoff.until(agent.agent_id) is not None:
        return "backoff"
    aside = books.set_aside
    if aside is not None and aside.agent_id == agent.agent_id and aside.launch_id != record.id:
        return "set_aside"
    return None
