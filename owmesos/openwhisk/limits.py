"""Limits that a Controller sets: how large an action's response may be, and how long an activation may take."""

from __future__ import annotations

from typing import Any

import msgspec

from owmesos.core.pool.settings import FORCED_ADDON, FORCED_FACTOR, MARGIN, USUAL_LIMIT
from owmesos.errors import InvalidInput
from owmesos.openwhisk.messages import UserLimits
from owmesos.openwhisk.sizes import parse_size

DEFAULT_MAX = 2**20
MAX_RESPONSE = 2**30
SERDES_OVERHEAD = 6068  # bytes of an activation message that are not its payload
LEAST_WAIT = 5.0  # seconds; where the Controller's settings leave none, nothing would ever run


class ResponseLimits(msgspec.Struct, frozen=True):
    """In bytes."""

    max: int = DEFAULT_MAX
    truncation: int = DEFAULT_MAX


class PayloadLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How large an action's response may be, by namespace (ActivationEntityLimit.scala, Identity.scala).

    The system has limits, an operator may set others for namespaces that have none of their own (`namespace`), and a
    namespace may have its own; none exceeds the system's. A response of more than `max` bytes is cut to `truncation`.
    """

    system: ResponseLimits = ResponseLimits()
    namespace: ResponseLimits | None = None
    serdes_overhead: int = SERDES_OVERHEAD

    @property
    def max_message(self) -> int:
        """Bytes of the longest message on Kafka."""
        return self.system.max + self.serdes_overhead

    def of(self, limits: UserLimits | None) -> ResponseLimits:
        """Those of a user."""
        usual = self.namespace or self.system
        if limits is not None:
            usual = ResponseLimits(
                _size(limits.max_payload_size, usual.max), _size(limits.truncation_size, usual.truncation)
            )
        return ResponseLimits(min(usual.max, self.system.max), min(usual.truncation, self.system.truncation))


USUAL_LIMITS = PayloadLimits()


def _size(said: Any, usual: int) -> int:
    """What a user's limit says, such as `512 KB`; the usual one where it says nothing that is a size."""
    if not isinstance(said, str):
        return usual
    try:
        return parse_size(said)
    except InvalidInput:
        return usual


class ForcedCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """When a Controller forces a completion, and until when a run must start to end before that.

    CommonLoadBalancer.scala, calculateCompletionAckTimeout: the Controller waits for the completion `max(the action's
    time limit, 60 s) * timeout-factor + timeout-addon` after it sent the activation, and then forces it. After more
    than three forced completions of ten the invoker is Unresponsive for minutes.
    """

    factor: int = FORCED_FACTOR  # the Controller's `whisk.loadbalancer.timeout-factor`
    addon: float = FORCED_ADDON  # seconds; its `timeout-addon`

    def after(self, limit: float) -> float:
        """Seconds from sending to the forced completion; `limit`: the action's time limit, in seconds."""
        return max(limit, USUAL_LIMIT) * self.factor + self.addon

    def start_within(self, limit: float) -> float:
        """Seconds from sending within which the action must start."""
        return max(self.after(limit) - limit - MARGIN, LEAST_WAIT)
