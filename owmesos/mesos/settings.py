"""Every number that the scheduler decides by, with the measurement or rule that it comes from.

One frozen object, so that a test can turn a rule's knob and a reader finds all of them in one place.
"""

from __future__ import annotations

import msgspec

from owmesos.core.buffer import Buffer
from owmesos.core.placement import Strategy
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    Capability,
    FrameworkInfo,
    MinAllocatableResources,
    OfferFilters,
    ResourceQuantities,
    Scalar,
)
from owmesos.resources import SCALARS, Resources

WEEK = 7 * 86400.0


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    buffer: Buffer = Buffer()
    strategy: Strategy = Strategy.PACK
    refuse_oversized: bool = True
    gpus: bool = False

    refuse_seconds: float = 3600.0  # a long filter costs nothing: DECLINE 3600 + REVIVE brings OFFERS in 1.1 ms
    offer_wait: float = 2.0  # a REVIVE that brings no offer of an agent for so long: it has nothing for us
    offer_wait_per_agent: float = 0.0002  # on top, for each known agent, after a REVIVE that reaches all
    settle: float = 5.0  # agents were back within 3.3 s of a master's restart
    revive_burst: float = 5.0
    revive_rate: float = 1.0  # a second
    revive_gap: float = 0.05  # one that is still unanswered is not repeated sooner
    revive_interval: float = 15.0  # while something waits, for what neighbours released
    narrow_above: int = 200  # known agents; 790 bytes and 0.07 ms each in an OFFERS event
    narrow_least: int = 20

    set_aside_after: float = 30.0
    set_aside_for: float = 60.0
    confirm_after: float = 10.0  # a launch without an update: reconciled, then with doubling pauses up to
    confirm_most: float = 60.0
    reconcile_first: float = 8.0  # docs/reconciliation.md: truncated exponential back-off
    reconcile_most: float = 30.0
    reconcile_implicit: float = 900.0
    kill_repeat: float = 5.0  # KILL is best effort and dropped in silence after a failover
    unreachable_timeout: float = 600.0
    unreachable_ask: float = 60.0
    inverse_filter: float = 60.0

    failed_starts: int = 3  # in a row on one agent: a broken agent always looks free
    backoff_first: float = 30.0
    backoff_most: float = 600.0
    keep_ended: int = 1000
    keep_gone: float = 600.0


def framework_info(
    *,
    name: str,
    user: str,
    roles: tuple[str, ...] = ("*",),
    framework_id: str | None = None,
    principal: str | None = None,
    gpus: bool = False,
    failover_timeout: float = WEEK,
    hostname: str | None = None,
    webui_url: str | None = None,
    least_offer: Resources | None = None,
) -> FrameworkInfo:
    """What owmesos says about itself.

    MULTI_ROLE, PARTITION_AWARE and checkpointing always: without the last, an agent that loses its connection loses
    its tasks (docs/high-availability-framework-guide.md). GPU_RESOURCES only when asked for, as a framework that has
    it may occupy agents with GPUs. Agents with less free than `least_offer` in any kind are not offered at all (offer
    filters, docs/app-framework-development-guide.md). Raises InvalidInput.
    """
    if not roles or len(set(roles)) != len(roles):
        raise InvalidInput("name at least one role, and each role once")
    capabilities = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT", "TASK_KILLING_STATE"]
    filters: dict[str, OfferFilters] = {}
    if least_offer is not None:
        amounts = {name: getattr(least_offer, name) for name in SCALARS}
        least = ResourceQuantities({name: Scalar(amount) for name, amount in amounts.items() if amount})
        filters = {role: OfferFilters(MinAllocatableResources([least])) for role in roles}
    return FrameworkInfo(
        user=user,
        name=name,
        id=ID(framework_id) if framework_id else None,
        failover_timeout=failover_timeout,
        checkpoint=True,
        roles=list(roles),
        principal=principal,
        hostname=hostname,
        webui_url=webui_url,
        offer_filters=filters,
        capabilities=[Capability(kind) for kind in capabilities + (["GPU_RESOURCES"] if gpus else [])],
    )
