# ruff: noqa: RUF012  (msgspec gives each instance a copy of its own)
"""Offers and inverse offers, and what a framework does with them.

Source: include/mesos/v1/mesos.proto (Offer, InverseOffer, Filters, Operation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.mesos.messages.lenient import readable
from owmesos.mesos.messages.tasks import ExecutorInfo, TaskGroupInfo, TaskInfo
from owmesos.mesos.messages.values import (
    ID,
    URL,
    AllocationInfo,
    Attribute,
    DomainInfo,
    Resource,
    Unavailability,
    Value,
)


class Offer(Value, frozen=True):
    """Resources of one agent for one role. `allocation_info` is absent without the capability MULTI_ROLE."""

    id: ID
    framework_id: ID
    agent_id: ID
    hostname: str
    url: URL | None = None
    domain: DomainInfo | None = None
    resources: list[Resource] = []
    attributes: list[Attribute] = []
    executor_ids: list[ID] = []
    unavailability: Unavailability | None = None
    allocation_info: AllocationInfo | None = None


class InverseOffer(Value, frozen=True):
    """An operator's request that the framework leave an agent, or all of them, before `unavailability`."""

    id: ID
    framework_id: ID
    unavailability: Unavailability
    url: URL | None = None
    agent_id: ID | None = None
    resources: list[Resource] = []


class Filters(Value, frozen=True):
    """Seconds for which declined resources are not offered again: 5 if absent or negative, at most 365 days."""

    refuse_seconds: float | None = None


class LaunchOperation(Value, frozen=True):
    task_infos: list[TaskInfo]


class LaunchGroup(Value, frozen=True):
    executor: ExecutorInfo
    task_group: TaskGroupInfo


class Reserve(Value, frozen=True):
    resources: list[Resource]
    source: list[Resource] = []


class Unreserve(Value, frozen=True):
    resources: list[Resource]


class Operation(Value, frozen=True):
    """What to do with accepted offers: `Operation("LAUNCH", launch=LaunchOperation([...]))`.

    The bodies of what owmesos itself never does with volumes and disks are JSON.
    """

    type: str
    id: ID | None = None
    launch: LaunchOperation | None = None
    launch_group: LaunchGroup | None = None
    reserve: Reserve | None = None
    unreserve: Unreserve | None = None
    create: dict[str, Any] | None = None
    destroy: dict[str, Any] | None = None
    grow_volume: dict[str, Any] | None = None
    shrink_volume: dict[str, Any] | None = None
    create_disk: dict[str, Any] | None = None
    destroy_disk: dict[str, Any] | None = None


class UnreadableOffer(Value, frozen=True):
    """What is known of a malformed offer: enough to decline it."""

    id: ID
    agent_id: ID | None
    reason: str


class _KnownOffer(msgspec.Struct):
    id: ID
    agent_id: ID | None = None


_offer_decoder = msgspec.json.Decoder(Offer)


class OfferList:
    """The offers of one OFFERS event, each decoded when it is reached, so that a record of 56 MB never exists as
    objects all at once.

    An offer that cannot be decoded is left out: it is in `unreadable` once all were reached, or `report` gets a line
    if not even its id can be read.
    """

    __slots__ = ("_raws", "_report", "unreadable")

    def __init__(self, raws: Sequence[msgspec.Raw], report: Callable[[str], None] | None) -> None:
        self._raws = raws
        self._report = report
        self.unreadable: list[UnreadableOffer] = []

    def __iter__(self) -> Iterator[Offer]:
        decode = _offer_decoder.decode
        for raw in self._raws:
            try:
                offer = decode(raw)
            except NOT_READABLE as error:
                if self._report is not None:
                    self._leave_out(raw, str(error), self._report)
                continue
            yield offer
        self._report = None

    def parts(self, most: int) -> Iterator[OfferList]:
        """Lists of at most `most` of them."""
        for begin in range(0, max(1, len(self._raws)), most):
            yield OfferList(self._raws[begin : begin + most], self._report)

    def _leave_out(self, raw: msgspec.Raw, reason: str, report: Callable[[str], None]) -> None:
        try:
            known = readable(_KnownOffer, raw, lambda _: None, "offer")
        except NOT_READABLE:
            report(f"ignoring a malformed offer: {reason}")
        else:
            self.unreadable.append(UnreadableOffer(known.id, known.agent_id, reason))
