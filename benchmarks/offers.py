"""An OFFERS event of 1,000 offers, from its bytes to NodeStats.

Ours: decoded offer by offer into typed messages, written into the ledger, NodeStats of every agent made, and all
offers declined, as the scheduler does it. The other: `json.loads` and addict as pymesos does it, then a plain loop that
sums each agent's cpus, memory and ports. Time is that of the processor, the median of the rounds; one way after the
other on the same bytes, one process, garbage collection as Python sets it.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

from addict import Dict

from benchmarks.clusters import ROLE, offers_event
from benchmarks.row import Row
from owmesos.mesos.messages import ID, Subscribed, decode_event
from owmesos.mesos.scheduler.effects import StatsChanged
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info

OFFERS = 1000
TARGET = 10.0


def ours() -> Callable[[bytes], None]:
    """Our way from an event's bytes to NodeStats, on a framework that is subscribed and idle."""
    scheduler = Scheduler(Settings(), framework_info(name="bench", user="bench", roles=(ROLE,)))
    scheduler.handle(Subscribed(ID("bench")), 0.0)

    def read(record: bytes) -> None:
        effects = scheduler.handle(decode_event(record, print), 0.0)
        updates = [effect.update for effect in effects if isinstance(effect, StatsChanged)]
        assert len(updates[0].changed) == OFFERS

    return read


def theirs(make: Callable[[Any], Any]) -> Callable[[bytes], None]:
    """`json.loads`, then `make` of it, then what a framework on pymesos does with the offers."""

    def read(record: bytes) -> None:
        stats: dict[str, tuple[float, float, int]] = {}
        for offer in make(json.loads(record))["offers"]["offers"]:
            cpus = mem = 0.0
            ports = 0
            for resource in offer["resources"]:
                if resource["name"] == "cpus":
                    cpus += resource["scalar"]["value"]
                elif resource["name"] == "mem":
                    mem += resource["scalar"]["value"]
                elif resource["name"] == "ports":
                    ports += sum(r["end"] - r["begin"] + 1 for r in resource["ranges"]["range"])
            stats[offer["agent_id"]["value"]] = (mem, cpus, ports)
        assert len(stats) == OFFERS

    return read


def timed(read: Callable[[bytes], None], record: bytes) -> float:
    """Milliseconds of the processor."""
    begun = time.process_time()
    read(record)
    return (time.process_time() - begun) * 1000


def run(quick: bool = False) -> list[Row]:
    rounds = 5 if quick else 40
    ways = [ours(), theirs(Dict), theirs(lambda document: document)]
    records = [offers_event(OFFERS, number, first_offer=number * OFFERS) for number in range(rounds)]
    medians = []
    for way in ways:
        gc.collect()
        medians.append(statistics.median(timed(way, record) for record in records))
    mine, addicted, plain = medians
    return [
        Row(
            name="OFFERS of 1,000 offers to NodeStats",
            ours=mine,
            unit="ms",
            against="json.loads + addict",
            other=addicted,
            target=f"{TARGET:g} times faster",
            met=None if quick else addicted / mine >= TARGET,
        ),
        Row(
            name="the same, without addict's objects",
            ours=mine,
            unit="ms",
            against="json.loads, plain dicts",
            other=plain,
        ),
    ]
