"""The numbers that an operator or a test may want to change, with the measurement or rule that they come from.

A citation such as docs/reconciliation.md names a document of Apache Mesos (github.com/apache/mesos).
"""

from __future__ import annotations

from owmesos.core.backoff import BackoffLimits
from owmesos.core.ledger import Buffer
from owmesos.core.placement import Strategy
from owmesos.core.texts import check_text
from owmesos.errors import InvalidInput
from owmesos.mesos import messages as v1
from owmesos.resources import SCALARS, Resources

DAY = 86400.0  # seconds
WEEK = 7 * DAY
_LONGEST_TEXT = 4096  # bytes


class Settings(BackoffLimits, frozen=True, kw_only=True):
    """Times in seconds; those of the back-off come on top."""

    buffer: Buffer = Buffer()
    strategy: Strategy = Strategy.PACK
    refuse_oversized: bool = True
    gpus: bool = False

    connect_timeout: float = 60.0
    """Until the first subscription: how long to ask again after answers that no started master gives (404, HTML)."""

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
    confirm_after: float = 10.0  # a launch without an update for so long is reconciled, then after doubling pauses
    confirm_most: float = 60.0  # the longest of these
    reconcile_first: float = 8.0  # docs/reconciliation.md: truncated exponential back-off
    reconcile_most: float = 30.0
    reconcile_implicit: float = 900.0
    kill_escalate: float = 15.0  # beyond the grace period without an end: the executor hangs, SHUTDOWN ends it
    kill_give_up: float = 90.0  # the same: the agent does not answer (one that is frozen is UNREACHABLE after 75 s)
    kill_repeat: float = 5.0  # KILL is best effort and dropped in silence after a failover
    unreachable_timeout: float = 600.0
    unreachable_ask: float = 60.0
    inverse_filter: float = 60.0

    trial: float = 10.0  # a start that takes longer does not keep others from being tried
    keep_ended: int = 1000
    keep_gone: float = 600.0

    def __post_init__(self) -> None:
        """Raises InvalidInput."""
        checked_connect_timeout(self.connect_timeout)


def checked_connect_timeout(seconds: float) -> float:
    """Raises InvalidInput for what is not a time of at most a day."""
    if not 0 <= seconds <= DAY:
        raise InvalidInput(f"the connect timeout must be from 0 to {DAY:g} seconds, not {seconds:g}")
    return seconds


def framework_info(
    *,
    name: str,
    user: str,
    roles: tuple[str, ...] = ("*",),
    framework_id: str | None = None,
    principal: str | None = None,
    gpus: bool = False,
    webui_url: str | None = None,
    least_offer: Resources | None = None,
) -> v1.FrameworkInfo:
    """What owmesos says about itself.

    MULTI_ROLE, PARTITION_AWARE and checkpointing always: without the last, an agent that loses its connection loses
    its tasks (docs/high-availability-framework-guide.md). GPU_RESOURCES only when asked for, as a framework that has
    it may occupy agents with GPUs. Agents with less free than `least_offer` in any kind are not offered at all (offer
    filters, docs/app-framework-development-guide.md). Raises InvalidInput.
    """
    texts = [("name", name), ("user", user), ("principal", principal), *(("role", role) for role in roles)]
    for what, text in texts:
        if text is not None:
            check_text(f"the framework's {what}", text, _LONGEST_TEXT)
    if not roles or len(set(roles)) != len(roles):
        raise InvalidInput(f"name at least one role, and each role once, not {', '.join(roles) or 'none'}")
    capabilities = ["MULTI_ROLE", "PARTITION_AWARE", "RESERVATION_REFINEMENT", "TASK_KILLING_STATE"]
    filters: dict[str, v1.OfferFilters] = {}
    if least_offer is not None:
        amounts = {name: getattr(least_offer, name) for name in SCALARS}
        least = v1.ResourceQuantities({name: v1.Scalar(amount) for name, amount in amounts.items() if amount})
        filters = {role: v1.OfferFilters(v1.MinAllocatableResources([least])) for role in roles}
    return v1.FrameworkInfo(
        user=user,
        name=name,
        id=v1.ID(framework_id) if framework_id else None,
        failover_timeout=WEEK,
        checkpoint=True,
        roles=list(roles),
        principal=principal,
        webui_url=webui_url,
        offer_filters=filters,
        capabilities=[v1.Capability(kind) for kind in capabilities + (["GPU_RESOURCES"] if gpus else [])],
    )
