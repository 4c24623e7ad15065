"""Why a start finds no slot: how many nodes fail on what, and which one fails by the least.

Made only when someone asks, from facts that the ledger's owner lists; so it may look at every node.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple, get_args

import msgspec

from owmesos.core.constraints import Constraint
from owmesos.core.texts import shortened
from owmesos.resources import MILLI, Ask, Resources, plainly

Exclusion = Literal[
    "unknown",  # it has not been seen since the cluster was last reached: what it has is not known
    "backoff",
    "draining",
    "cordoned",  # from here to unselected: on Kubernetes, see owmesos.kubernetes.closed_nodes
    "tainted",
    "not_ready",
    "memory_pressure",
    "disk_pressure",
    "pid_pressure",
    "no_network",
    "unselected",
    "set_aside",
]
"""Why a node gets nothing, whatever it has."""
Reason = Literal[
    "unknown",
    "memory",  # from here to pods: it has too little, even with nothing reserved or kept as buffer
    "cpus",
    "disk",
    "gpus",
    "ports",
    "pods",
    "quota",  # the same of pods, where not the node but a quota of the cluster says how many
    "constraint",
    "buffer",  # it would fit without the buffer
    "reservation",  # it would fit without what is reserved for others (and, may be, the buffer)
    Exclusion,
]
REASONS: tuple[Reason, ...] = get_args(Reason)
"""The order of reasons: a slot counts under the first, a node as its slot that gets furthest."""

_ORDER: dict[str, int] = {reason: place for place, reason in enumerate(REASONS)}
_FITS = len(REASONS)
_KINDS: tuple[Reason, ...] = ("memory", "cpus", "disk", "gpus", "ports", "pods")
_UNITS = {"memory": " MB", "disk": " MB of disk"}  # the others are counted

_PHRASES: dict[Reason, tuple[str, str]] = {
    "unknown": ("is not known yet", "are not known yet"),
    "memory": ("lacks memory", "lack memory"),
    "cpus": ("lacks cpus", "lack cpus"),
    "disk": ("lacks disk", "lack disk"),
    "gpus": ("lacks gpus", "lack gpus"),
    "ports": ("lacks ports", "lack ports"),
    "pods": ("runs as many pods as it may", "run as many pods as they may"),
    "quota": ("gets no more pods by the quota", "get no more pods by the quota"),
    "constraint": ("fails a constraint", "fail a constraint"),
    "buffer": ("has room only in its buffer", "have room only in their buffers"),
    "reservation": ("is reserved for others", "are reserved for others"),
    "backoff": ("is in back-off", "are in back-off"),
    "draining": ("is draining", "are draining"),
    "cordoned": ("is cordoned", "are cordoned"),
    "tainted": ("has a taint that is not tolerated", "have taints that are not tolerated"),
    "not_ready": ("is not ready", "are not ready"),
    "memory_pressure": ("is short of memory", "are short of memory"),
    "disk_pressure": ("is short of disk", "are short of disk"),
    "pid_pressure": ("is short of process ids", "are short of process ids"),
    "no_network": ("has no network", "have no network"),
    "unselected": ("is outside the node selector", "are outside the node selector"),
    "set_aside": ("is set aside for another launch", "are set aside for another launch"),
}


class SlotFacts(NamedTuple):
    """What decides about one node's room for one allocation role."""

    agent_id: str
    hostname: str
    role: str
    free: Resources  # outstanding plus remembered, before `reserved` and `buffer` are taken off
    reserved: Ask  # by starts
    buffer: Ask
    unmet: tuple[Constraint, ...] = ()  # the constraints that it fails
    excluded: Exclusion | None = None
    rationed: bool = False  # its pods are counted by a quota


class Explanation(msgspec.Struct, frozen=True):
    """The funnel: of `agents` nodes, how many fail for each reason (zero is left out), and the nearest miss."""

    agents: int
    failed: dict[Reason, int]
    nearest: str | None
    summary: str


class _Shortage(NamedTuple):
    """One kind of room, all in thousandths."""

    kind: str
    wanted: int
    short: int
    buffer: int
    reserved: int


def explain(ask: Ask, slots: Iterable[SlotFacts], noun: str = "node") -> Explanation:
    """Why none of `slots` gets `ask`. A node that would fit now is in no count; the summary says so.

    `noun` is what the texts call a node.
    """
    furthest: dict[str, int] = {}
    failing: dict[str, tuple[Constraint, ...]] = {}  # by node
    nearest: tuple[float, str, str, SlotFacts] | None = None
    for facts in slots:
        place = _place(ask, facts)
        if place > furthest.get(facts.agent_id, -1):
            furthest[facts.agent_id] = place
        if facts.unmet:
            failing[facts.agent_id] = facts.unmet
        if place not in (_FITS, _ORDER["unknown"]):
            miss = (_distance(ask, facts), facts.agent_id, facts.role, facts)
            if nearest is None or miss[:3] < nearest[:3]:
                nearest = miss
    counts = [0] * (_FITS + 1)
    for place in furthest.values():
        counts[place] += 1
    failed = {reason: count for reason, count in zip(REASONS, counts, strict=False) if count}
    fitting = counts[_FITS]
    text = _miss_in_words(ask, nearest[3], noun) if nearest is not None and not fitting else None
    constrained = {failing[agent_id] for agent_id, place in furthest.items() if place == _ORDER["constraint"]}
    common = constrained.pop() if len(constrained) == 1 else ()
    return Explanation(len(furthest), failed, text, _summary(len(furthest), fitting, failed, common, text, noun))


def in_words(reason: Reason) -> str:
    """What is said of one node: `is cordoned`."""
    return _PHRASES[reason][0]


def _amounts(of: Ask) -> tuple[int, ...]:
    """In the order of `_KINDS`, in thousandths, ports and pods too."""
    return of.milli_mem, of.milli_cpus, of.milli_disk, of.milli_gpus, MILLI * of.ports, MILLI * of.pods


def _lacking(ask: Ask, room: Ask) -> Reason | None:
    """The first kind of which there is too little."""
    each = zip(_KINDS, _amounts(ask), _amounts(room), strict=True)
    return next((kind for kind, wanted, there in each if wanted and wanted > there), None)


def _place(ask: Ask, facts: SlotFacts) -> int:
    """The place in REASONS of the first reason that applies."""
    free = facts.free.as_ask()
    unreserved = free.minus(facts.reserved)
    if facts.excluded == "unknown":
        reason: str | None = facts.excluded
    elif (lacking := _lacking(ask, free)) is not None:
        reason = "quota" if lacking == "pods" and facts.rationed else lacking
    elif facts.unmet:
        reason = "constraint"
    elif _lacking(ask, unreserved) is not None:
        reason = "reservation"
    elif _lacking(ask, unreserved.minus(facts.buffer)) is not None:
        reason = "buffer"
    else:
        reason = facts.excluded
    return _FITS if reason is None else _ORDER[reason]


def _shortages(ask: Ask, facts: SlotFacts) -> list[_Shortage]:
    """Each kind that is short, with the part of it that the buffer and others' reservations take; the worst first."""
    found = []
    amounts = (_amounts(each) for each in (ask, facts.free.as_ask(), facts.buffer, facts.reserved))
    for kind, wanted, there, kept, taken in zip(_KINDS, *amounts, strict=True):
        short = wanted - there + kept + taken
        if wanted and short > 0:
            # A shortage of 10 MB owes no more than 10 MB to a buffer of 64 MB.
            by_buffer = min(kept, short)
            found.append(_Shortage(kind, wanted, short, by_buffer, min(taken, short - by_buffer)))
    return sorted(found, key=lambda each: -each.short / each.wanted)


def _distance(ask: Ask, facts: SlotFacts) -> float:
    """How far from a fit: what is short of each kind as a share of what is asked, summed.

    A failed constraint and an exclusion count as much as one whole kind.
    """
    short = sum(each.short / each.wanted for each in _shortages(ask, facts))
    return short + bool(facts.unmet) + (facts.excluded is not None)


def _miss_in_words(ask: Ask, facts: SlotFacts, noun: str) -> str:
    """`node S3 (node3) is 96 MB short, of which 64 MB is buffer, and fails the constraint 'rack == r9'`."""
    parts = []
    shortages = _shortages(ask, facts)
    by_quota = facts.rationed and any(each.kind == "pods" for each in shortages)
    if counted := [each for each in shortages if not (by_quota and each.kind == "pods")]:
        words = [_shortage_in_words(each) for each in counted]
        parts.append("is " + (", and " if any(", of which" in each for each in words) else " and ").join(words))
    if by_quota:
        parts.append(_PHRASES["quota"][0])
    if facts.unmet:
        parts.append(_phrase("constraint", 1, facts.unmet))
    if facts.excluded is not None:
        parts.append(_PHRASES[facts.excluded][0])
    host = f" ({facts.hostname})" if facts.hostname not in ("", facts.agent_id) else ""
    return f"{noun} {facts.agent_id}{host} " + ", and ".join(parts)


def _shortage_in_words(shortage: _Shortage) -> str:
    one = shortage.kind in _UNITS  # "3 MB is short", and "3 ports are short"
    causes = [
        f"{_amount(shortage.kind, amount)} {'is' if one or amount == MILLI else 'are'} {cause}"
        for amount, cause in ((shortage.buffer, "buffer"), (shortage.reserved, "reserved"))
        if amount
    ]
    of_which = ", of which " + " and ".join(causes) if causes else ""
    return f"{_amount(shortage.kind, shortage.short)} short{of_which}"


def _amount(kind: str, thousandths: int) -> str:
    unit = _UNITS.get(kind) or " " + (kind.removesuffix("s") if thousandths == MILLI else kind)
    return f"{plainly(thousandths)}{unit}"


def _phrase(reason: Reason, count: int, unmet: tuple[Constraint, ...]) -> str:
    """What `count` nodes fail; `unmet`: the constraints, if they can be named."""
    if reason == "constraint" and unmet:
        return f"{'fails' if count == 1 else 'fail'} {_named(unmet)}"
    return _PHRASES[reason][count != 1]


def _named(constraints: tuple[Constraint, ...]) -> str:
    """`the constraint 'rack == r9'`, of several with how many more."""
    more = len(constraints) - 1
    return f"the constraint {shortened(str(constraints[0]))!r}" + (f" and {more} more" if more else "")


def _summary(
    agents: int,
    fitting: int,
    failed: dict[Reason, int],
    unmet: tuple[Constraint, ...],
    nearest: str | None,
    noun: str,
) -> str:
    """`unmet`: what all nodes fail that are counted under constraints, if that is the same."""
    if not agents:
        return f"no {noun} is known"
    parts = [f"{count} {_phrase(reason, count, unmet)}" for reason, count in failed.items()]
    if fitting:
        parts.insert(0, f"{fitting} would fit now")
    text = f"of {agents} {noun}{'s' if agents != 1 else ''}, " + ", ".join(parts)
    return text if nearest is None else f"{text}; nearest: {nearest}"
