"""The numbers and names that an operator or a test may want to change, with what they come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from owmesos.core.backoff import BackoffLimits
from owmesos.core.ledger import Buffer
from owmesos.core.placement import Strategy
from owmesos.errors import InvalidInput

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
MAX_LABEL = 63
"""Characters of a name that is a DNS label, and of a label's value."""


class KubernetesSettings(BackoffLimits, frozen=True, kw_only=True):
    """Times in seconds; those of the back-off come on top. Raises InvalidInput when it is made.

    `invoker` tells our pods from those of other invokers on the same cluster, `incarnation` this process's from those
    of an earlier one with the same `invoker`.
    """

    namespace: str = "default"
    invoker: str = "owmesos"
    incarnation: str = "0"
    buffer: Buffer = Buffer()
    strategy: Strategy = Strategy.PACK
    node_selector: Mapping[str, str] = {}
    priority_class: str | None = None
    pull_secrets: tuple[str, ...] = ()
    template: Mapping[str, Any] = {}  # a Pod that is merged under ours, see pod_template
    command_image: str = "busybox:1.37"  # the API wants an image also of a container that is a command

    grace: int = 2  # from TERM to KILL where a spec says nothing; at least 1: with 0 the room is free too early
    lost_after: int = 10  # of a node that is not ready or unreachable, until its pods are deleted
    unschedulable_wait: float = 1.0  # kube-scheduler tries again at each pod's end; then the start is refused
    unschedulable_most: float = 15.0  # the same of a start that waits for containers to stop
    unanswered_wait: float = 5.0  # for the watch to show a pod whose POST got no answer; then it is listed
    repeat_first: float = 0.5  # until a request that failed is made again; doubled each time
    repeat_most: float = 10.0  # the longest of these
    additions_last: float = 60.0  # what admission adds is asked anew, if for so long runs waited and no pod was created
    additions_interval: float = 10.0  # between two looks at that
    quota_wait: float = 5.0  # no starts after a quota was exceeded, unless a pod of ours ends

    def __post_init__(self) -> None:
        """Raises InvalidInput."""
        check_dns_label("the namespace", self.namespace)
        _check_own_label("the invoker's label", self.invoker, "choose one with --invoker-name")
        _check_own_label("the incarnation", self.incarnation, "choose one that no earlier process had")
        if self.grace < 1:
            raise InvalidInput(
                f"the grace period must be at least 1 second, not {self.grace}: with less, a pod's room is given away"
                " while its processes run"
            )


def check_dns_label(what: str, text: str) -> None:
    """Raises InvalidInput, which names `what`."""
    if not (len(text) <= MAX_LABEL and _LABEL.fullmatch(text)):
        raise InvalidInput(
            f"{what} must be at most {MAX_LABEL} of a-z, 0-9 and -, beginning and ending with a-z or 0-9,"
            f" not {text!r:.80}"
        )


def _check_own_label(what: str, text: str, advice: str) -> None:
    """Raises InvalidInput, which names `what` and gives the advice."""
    if not (text and len(text) <= MAX_LABEL and _LABEL_VALUE.fullmatch(text)):
        raise InvalidInput(
            f"{what} must be 1 to {MAX_LABEL} letters, digits, -, _ and ., beginning and ending with a letter or digit,"
            f" not {text!r:.80}: {advice}"
        )
