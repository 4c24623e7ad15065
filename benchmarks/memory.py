"""Memory of a process that knows 50,000 agents, their OFFERS in one record of about 55 MB.

A fresh process reads the record through the wire's own RecordIO decoder in pieces of 256 kB, decodes it offer by
offer and hands it to the scheduler, 250 offers at a time, as `owmesos run` does. The scheduler is idle and declines
them all; then the same once more, as after a REVIVE.
Steady is what stays resident afterwards, peak the most that ever was (VmHWM); Python and all imports are in both.
"""

from __future__ import annotations

import gc
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.clusters import ROLE, offers_event
from benchmarks.row import Row

AGENTS = 50_000
STEADY_MB, PEAK_MB = 250.0, 350.0
_PIECE = 256 * 1024


def resident(field: str) -> float:
    """MB of this process: VmRSS now, VmHWM the most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"the kernel does not tell {field}")


def _listen(records: Connection, results: Connection) -> None:
    """The process that is measured: it never builds the records, it only receives them."""
    from owmesos.mesos.messages import ID, Offers, Subscribed, decode_event
    from owmesos.mesos.scheduler.scheduler import Scheduler
    from owmesos.mesos.scheduler.settings import Settings, framework_info
    from owmesos.mesos.wire.recordio import RecordDecoder
    from owmesos.service import framework  # what a process that runs has loaded
    from owmesos.service.shell import MOST_OFFERS

    del framework
    scheduler = Scheduler(Settings(), framework_info(name="bench", user="bench", roles=(ROLE,)))
    scheduler.handle(Subscribed(ID("bench")), 0.0)
    decoder = RecordDecoder()
    now = 1.0
    while piece := records.recv_bytes():
        for record in decoder.feed(piece):
            event = decode_event(record, print)
            assert isinstance(event, Offers)
            for part in event.parts(MOST_OFFERS):
                scheduler.handle(part, now)
            now += 10.0
            del record, event, part
    gc.collect()
    results.send((len(scheduler.state.ledger.agents), resident("VmRSS"), resident("VmHWM")))


def known(agents: int) -> tuple[int, float, float, int]:
    """How many agents a fresh process knows after their OFFERS, MB steady and at its peak, and the bytes of them."""
    context = multiprocessing.get_context("spawn")
    records, feed = context.Pipe(duplex=False)
    results, answer = context.Pipe(duplex=False)
    process = context.Process(target=_listen, args=(records, answer))
    process.start()
    size = 0
    for first in (0, agents):
        event = offers_event(agents, first_offer=first)
        size = len(event)
        stream = str(size).encode() + b"\n" + event
        for start in range(0, len(stream), _PIECE):
            feed.send_bytes(stream[start : start + _PIECE])
    feed.send_bytes(b"")
    there, steady, peak = results.recv()
    process.join()
    return there, steady, peak, size


def run(quick: bool = False) -> list[Row]:
    agents = 2_000 if quick else AGENTS
    there, steady, peak, size = known(agents)
    assert there == agents
    name = f"{agents:,} agents known, OFFERS of {size / 1e6:.0f} MB"
    return [
        Row(
            name=f"{name}: steady",
            ours=steady,
            unit="MB",
            target=f"{STEADY_MB:g} MB",
            met=None if quick else steady <= STEADY_MB,
        ),
        Row(
            name=f"{name}: peak", ours=peak, unit="MB", target=f"{PEAK_MB:g} MB", met=None if quick else peak <= PEAK_MB
        ),
    ]
