"""Why a launch finds no slot: how many agents fail on what, and which one fails by the least.

Made only when someone asks, from facts that the ledger's owner lists; so it may look at every agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, cast

import msgspec

from owmesos.resources import MILLI, Ask, Resources

Exclusion = Literal["backoff", "draining", "set_aside", "unknown"]
Reason = Literal[
    "unknown",
    "memory",
    "cpus",
    "disk",
    "gpus",
    "ports",
    "constraint",
    "buffer",
    "reservation",
    "backoff",
    "draining",
    "set_aside",
]

REASONS: tuple[Reason, ...] = (
    "unknown",  # it has not been seen since we lost the master: what it has is not known
    "memory",  # from here to ports: it has too little, even with nothing reserved or kept as buffer
    "cpus",
    "disk",
    "gpus",
    "ports",
    "constraint",
    "buffer",  # it would fit without the buffer
    "reservation",  # it would fit without what is promised to others (and, may be, the buffer)
    "backoff",
    "draining",
    "set_aside",
)
"""The order of reasons: a slot counts under the first, an agent as its slot that gets furthest."""

_ORDER: dict[str, int] = {reason: place for place, reason in enumerate(REASONS)}
_FITS = len(REASONS)
_CONSTRAINT, _BUFFER, _RESERVATION = _ORDER["constraint"], _ORDER["buffer"], _ORDER["reservation"]
_UNKNOWN, _FIRST_KIND = _ORDER["unknown"], _ORDER["memory"]

_PHRASES: dict[Reason, tuple[str, str]] = {
    "unknown": ("is not known yet", "are not known yet"),
    "memory": ("lacks memory", "lack memory"),
    "cpus": ("lacks cpus", "lack cpus"),
    "disk": ("lacks disk", "lack disk"),
    "gpus": ("lacks gpus", "lack gpus"),
    "ports": ("lacks ports", "lack ports"),
    "constraint": ("fails a constraint", "fail a constraint"),
    "buffer": ("would do but for the buffer", "would do but for the buffer"),
    "reservation": ("is reserved for others", "are reserved for others"),
    "backoff": ("is in back-off", "are in back-off"),
    "draining": ("is draining", "are draining"),
    "set_aside": ("is set aside for another launch", "are set aside for another launch"),
}


class SlotFacts(NamedTuple):
    """What decides about one agent's room for one allocation role.

    `free` is outstanding plus remembered room, before `reserved` (uncut starts) and `buffer` are taken off.
    `excluded` says why the agent gets nothing whatever it has.
    """

    agent_id: str
    hostname: str
    role: str
    free: Resources
    reserved: Resources
    buffer: Resources
    matches: bool
    excluded: Exclusion | None = None


class Explanation(msgspec.Struct, frozen=True):
    """The funnel: of `agents`, how many fail for each reason (zero is left out), and the nearest miss."""

    agents: int
    failed: dict[Reason, int]
    nearest: str | None
    summary: str

    def as_json(self) -> dict[str, Any]:
        """`{agents, failed: {reason: count}, nearest, summary}`."""
        return cast(dict[str, Any], msgspec.to_builtins(self))


class _Shortage(NamedTuple):
    """One kind of room in thousandths (ports: in thousandths of a port, to be like the others)."""

    kind: str
    wanted: int
    short: int
    buffer: int
    reserved: int


def explain(ask: Ask, slots: Iterable[SlotFacts]) -> Explanation:
    """Why none of `slots` gets `ask`. An agent that would fit now is in no count; the summary says so."""
    furthest: dict[str, int] = {}
    nearest: tuple[float, str, str, SlotFacts] | None = None
    for facts in slots:
        place = _place(ask, facts)
        if place > furthest.get(facts.agent_id, -1):
            furthest[facts.agent_id] = place
        if place not in (_FITS, _UNKNOWN):
            miss = (_distance(ask, facts), facts.agent_id, facts.role, facts)
            if nearest is None or miss[:3] < nearest[:3]:
                nearest = miss
    counts = [0] * (_FITS + 1)
    for place in furthest.values():
        counts[place] += 1
    failed = {reason: count for reason, count in zip(REASONS, counts, strict=False) if count}
    fitting = counts[_FITS]
    text = _miss_in_words(ask, nearest[3]) if nearest is not None and not fitting else None
    return Explanation(len(furthest), failed, text, _summary(len(furthest), fitting, failed, text))


def _place(ask: Ask, facts: SlotFacts) -> int:
    """The place in REASONS of the first reason that applies."""
    if facts.excluded == "unknown":
        return _UNKNOWN
    free = facts.free
    if not ask.fits(free):
        return _FIRST_KIND + _kind_short(ask, free)
    if not facts.matches:
        return _CONSTRAINT
    unreserved = free.minus(facts.reserved)
    if not ask.fits(unreserved.minus(facts.buffer)):
        return _BUFFER if ask.fits(unreserved) else _RESERVATION
    return _FITS if facts.excluded is None else _ORDER[facts.excluded]


def _kind_short(ask: Ask, room: Resources) -> int:
    """Which of memory, cpus, disk, gpus, ports is the first that `room` lacks; ports if no other."""
    pairs = (
        (ask.milli_mem, room.milli_mem),
        (ask.milli_cpus, room.milli_cpus),
        (ask.milli_disk, room.milli_disk),
        (ask.milli_gpus, room.milli_gpus),
    )
    return next((kind for kind, (wanted, there) in enumerate(pairs) if wanted and wanted > there), len(pairs))


def _distance(ask: Ask, facts: SlotFacts) -> float:
    """How far from a fit: what is short of each kind as a share of what is asked, summed.

    A failed constraint and an exclusion count as much as one whole kind.
    """
    free, reserved, buffer = facts.free, facts.reserved, facts.buffer
    far = (not facts.matches) + (facts.excluded is not None) + 0.0
    for wanted, there in (
        (ask.milli_mem, free.milli_mem - reserved.milli_mem - buffer.milli_mem),
        (ask.milli_cpus, free.milli_cpus - reserved.milli_cpus - buffer.milli_cpus),
        (ask.milli_disk, free.milli_disk - reserved.milli_disk - buffer.milli_disk),
        (ask.milli_gpus, free.milli_gpus - reserved.milli_gpus - buffer.milli_gpus),
    ):
        if wanted > there and wanted:
            far += (wanted - there) / wanted
    if ask.ports:
        far += max(0, ask.ports - _ports_left(facts)) / ask.ports
    return far


def _ports_left(facts: SlotFacts) -> int:
    return len(facts.free.ports.minus(facts.reserved.ports).minus(facts.buffer.ports))


def _shortages(ask: Ask, facts: SlotFacts) -> list[_Shortage]:
    """Each kind that is short, with the part of it that the buffer and others' reservations take."""
    free, reserved, buffer = facts.free, facts.reserved, facts.buffer
    ports_left = _ports_left(facts)
    ports_reserved = len(free.ports.intersection(reserved.ports))
    ports_buffer = len(free.ports) - ports_reserved - ports_left
    kinds: tuple[tuple[str, int, int, int, int], ...] = (
        ("memory", ask.milli_mem, free.milli_mem, buffer.milli_mem, reserved.milli_mem),
        ("cpus", ask.milli_cpus, free.milli_cpus, buffer.milli_cpus, reserved.milli_cpus),
        ("disk", ask.milli_disk, free.milli_disk, buffer.milli_disk, reserved.milli_disk),
        ("gpus", ask.milli_gpus, free.milli_gpus, buffer.milli_gpus, reserved.milli_gpus),
        (
            "ports",
            MILLI * ask.ports,
            MILLI * len(free.ports),
            MILLI * ports_buffer,
            MILLI * ports_reserved,
        ),
    )
    found = []
    for kind, wanted, there, kept, promised in kinds:
        short = wanted - there + kept + promised
        if wanted and short > 0:
            # A shortage of 10 MB owes no more than 10 MB to a buffer of 64 MB.
            by_buffer = min(kept, short)
            found.append(_Shortage(kind, wanted, short, by_buffer, min(promised, short - by_buffer)))
    return sorted(found, key=lambda each: -each.short / each.wanted)


def _miss_in_words(ask: Ask, facts: SlotFacts) -> str:
    """`agent S3 (node3) is 96 MB short, of which 64 MB is buffer, and fails a constraint`."""
    parts = []
    if shortages := _shortages(ask, facts):
        parts.append("is " + " and ".join(_shortage_in_words(each) for each in shortages))
    if not facts.matches:
        parts.append(_PHRASES["constraint"][0])
    if facts.excluded is not None:
        parts.append(_PHRASES[facts.excluded][0])
    host = f" ({facts.hostname})" if facts.hostname else ""
    return f"agent {facts.agent_id}{host} " + ", and ".join(parts)


def _shortage_in_words(shortage: _Shortage) -> str:
    one = shortage.kind in ("memory", "disk")  # MB are a mass, ports are counted
    causes = [
        f"{_amount(shortage.kind, amount)} {'is' if one or amount == MILLI else 'are'} {cause}"
        for amount, cause in ((shortage.buffer, "buffer"), (shortage.reserved, "reserved"))
        if amount
    ]
    of_which = ", of which " + " and ".join(causes) if causes else ""
    return f"{_amount(shortage.kind, shortage.short)} short{of_which}"


def _amount(kind: str, thousandths: int) -> str:
    number = f"{thousandths / MILLI:.3f}".rstrip("0").rstrip(".")
    if kind in ("memory", "disk"):
        return f"{number} MB" if kind == "memory" else f"{number} MB of disk"
    singular = {"cpus": "cpu", "gpus": "gpu", "ports": "port"}[kind]
    return f"{number} {singular if thousandths == MILLI else kind}"


def _summary(agents: int, fitting: int, failed: dict[Reason, int], nearest: str | None) -> str:
    if not agents:
        return "no agent is known"
    parts = [f"{count} {_PHRASES[reason][count != 1]}" for reason, count in failed.items()]
    if fitting:
        parts.insert(0, f"{fitting} would fit now")
    text = f"of {agents} agent{'s' if agents != 1 else ''}, " + ", ".join(parts)
    return text if nearest is None else f"{text}; nearest: {nearest}"
