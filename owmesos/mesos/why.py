"""Why a launch waits: the funnel of `owmesos.core.explanation`, over all agents that are known and not gone."""

from __future__ import annotations

import msgspec

from owmesos.core.explanation import Explanation
from owmesos.core.launches import LaunchRecord
from owmesos.mesos.books import Books


def explain(books: Books, record: LaunchRecord) -> Explanation:
    """For a launch that waits for room."""
    aside = books.set_aside
    others = aside.agent_id if aside is not None and aside.launch_id != record.id else None
    found = books.capacity.explain(record.ask, record.constraints, others, role=record.launch.role, but=record.id)
    if found.agents:
        return found
    summary = "no agent was seen yet" if books.connected else "not connected to a master"
    return msgspec.structs.replace(found, summary=summary)
