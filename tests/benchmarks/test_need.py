"""OFFERS on a need: what comes with offer constraints is a part of what comes without."""

from __future__ import annotations

import asyncio

from benchmarks.need import measure, rows_of_needs, simulated

AGENTS = 60
AN_OFFER = 0.3  # kB at least


def test_constraints_keep_most_offers_away() -> None:
    with simulated(AGENTS) as master:
        (ours,), (other,) = asyncio.run(measure(master, 1, 40))
    assert other.kb > AGENTS * AN_OFFER
    assert ours.kb < other.kb / 2
    assert ours.ms > 0
    assert [row.against for row in rows_of_needs("60 agents", [ours], [other])] == ["no constraints"] * 3
