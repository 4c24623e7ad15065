"""What is known of each container of ours: the start that the pool decided, and the pod that carries it out."""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from owmesos.core.pool.events import StartContainer
from owmesos.errors import InvariantBroken
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_status import has_ended

_MOST_LINES = 50


class PodStep(str, Enum):
    """How far a container has come. A stop that the pool asked for is a field of its own."""

    POSTED = "posted"  # nothing was seen of it
    PENDING = "pending"  # it exists; its start is reserved
    BOUND = "bound"  # its node's sum contains it; its start is cut
    STARTED = "started"  # Ready, and the pool knows
    LEAVING = "leaving"  # the pool knows that it ended; its pod may still hold room


STEPS: dict[PodStep, tuple[PodStep, ...]] = {
    PodStep.POSTED: (PodStep.PENDING, PodStep.LEAVING),
    PodStep.PENDING: (PodStep.BOUND, PodStep.LEAVING),
    PodStep.BOUND: (PodStep.STARTED, PodStep.LEAVING),
    PodStep.STARTED: (PodStep.LEAVING,),
    PodStep.LEAVING: (),
}


class PodStoryLine(msgspec.Struct, frozen=True):
    """`at` in seconds."""

    at: float
    text: str


class PodRecord(msgspec.Struct, eq=False):
    """One container. Times in seconds."""

    id: str  # the container's
    name: str  # the pod's
    start: StartContainer
    body: dict[str, Any]
    grace: int
    posted_at: float
    deadline_at: float
    port: int
    step: PodStep = PodStep.POSTED
    uid: str | None = None
    version: int = 0  # the resourceVersion of `pod`
    pod: Pod | None = None  # as it was last seen
    node: str | None = None  # whose sum contains it, or contained it
    posts: int = 1  # requests to create it
    asked: bool = True  # one of these may be under way
    may_exist: bool = False  # one of these got no answer that says whether it had its effect
    looked_for: bool = False  # a pod of this name exists or may exist, and was not seen yet: a list will tell
    rejection: ApiFailure | None = None  # the last answer, which does not say whether an earlier request had its effect
    deletes: int = 0  # requests to delete it
    stop: str | None = None  # why the pool wants it stopped
    refused: str | None = None  # why its start is taken back, once it is gone
    story: list[PodStoryLine] = []

    def to(self, step: PodStep) -> None:
        """Raises InvariantBroken for a step that cannot follow."""
        if step not in STEPS[self.step]:
            raise InvariantBroken(f"container {self.id} is {self.step.value} and cannot become {step.value}")
        self.step = step

    def add_to_story(self, now: float, text: str) -> None:
        """Add a line to its story."""
        if len(self.story) < _MOST_LINES:
            self.story.append(PodStoryLine(now, text))

    @property
    def holds_room(self) -> bool:
        """Its node's sum contains it."""
        return self.pod is not None and bool(self.pod.spec.node_name) and not has_ended(self.pod)
