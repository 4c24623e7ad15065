# ruff: noqa: RUF012  (msgspec gives each instance a copy of its own)
"""Offers, inverse offers, and what a framework says about those it does not want.

Sources: include/mesos/v1/mesos.proto (Offer, InverseOffer, Filters, Operation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

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
    """The wish of an operator that a framework leaves an agent, or all of them, before `unavailability`."""

    id: ID
    framework_id: ID
    unavailability: Unavailability
    url: URL | None = None
    agent_id: ID | None = None
    resources: list[Resource] = []


class Filters(Value, frozen=True):
    """For how many seconds the declined resources are not offered again: absent or negative is 5, at most 365
    days.
    """

    refuse_seconds: float | None = None


class Launch(Value, frozen=True):
    task_infos: list[TaskInfo]


class LaunchGroup(Value, frozen=True):
    executor: ExecutorInfo
    task_group: TaskGroupInfo


class Reserve(Value, frozen=True):
    resources: list[Resource]
    source: list[Resource] = []


class Unreserve(Value, frozen=True):
    resources: list[Resource]


class Create(Value, frozen=True):
    volumes: list[Resource]


class Destroy(Value, frozen=True):
    volumes: list[Resource]


class Operation(Value, frozen=True):
    """One thing to do with accepted offers: `Operation("LAUNCH", launch=Launch([...]))`.

    The operations on volumes and disks that owmesos does not make itself are passed on as JSON.
    """

    type: str
    id: ID | None = None
    launch: Launch | None = None
    launch_group: LaunchGroup | None = None
    reserve: Reserve | None = None
    unreserve: Unreserve | None = None
    create: Create | None = None
    destroy: Destroy | None = None
    grow_volume: dict[str, Any] | None = None
    shrink_volume: dict[str, Any] | None = None
    create_disk: dict[str, Any] | None = None
    destroy_disk: dict[str, Any] | None = None


_offer_decoder = msgspec.json.Decoder(Offer)


class OfferList:
    """The offers of one OFFERS event, each decoded when it is reached, so that a record of 56 MB never exists
    as objects all at once. An offer that cannot be decoded is passed over and told to `report` in one line,
    once.
    """

    __slots__ = ("_raws", "_report")

    def __init__(self, raws: Sequence[msgspec.Raw], report: Callable[[str], None]) -> None:
        self._raws = raws
        self._report: Callable[[str], None] | None = report

    def __len__(self) -> int:
        """How many offers the event has, malformed ones included."""
        return len(self._raws)

    def __iter__(self) -> Iterator[Offer]:
        report, decode = self._report, _offer_decoder.decode
        for raw in self._raws:
            try:
                offer = decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                if report is not None:
                    report(f"a malformed offer is passed over: {error}")
                continue
            yield offer
        self._report = None
