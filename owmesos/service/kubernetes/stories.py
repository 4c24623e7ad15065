"""What happened to each container: the factory's own lines while its pod is known, and the last ones for a while."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

import msgspec

from owmesos.core.listings import instant
from owmesos.core.texts import the_one_that_begins
from owmesos.dashboard.history import Span
from owmesos.documents import LaunchExplanation, LaunchState, StoryDocument
from owmesos.kubernetes.pod_records import PodRecord, PodStep

KEPT = 1000
"""Containers that have ended, of which the story is kept."""
_STATES: Mapping[PodStep, LaunchState] = {
    PodStep.POSTED: "SUBMITTED",
    PodStep.PENDING: "SUBMITTED",
    PodStep.BOUND: "STAGING",
    PodStep.STARTED: "RUNNING",
}


class ContainerStory(msgspec.Struct):
    """Times in seconds since the epoch. `record` is the factory's, and may have been dropped there."""

    record: PodRecord
    told: int = 0  # lines that were noted
    state: LaunchState = "SUBMITTED"
    states: list[LaunchState] = []  # at each line
    started_at: float | None = None
    ended_at: float | None = None

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def document(self) -> StoryDocument:
        lines = zip(self.record.story, self.states, strict=False)
        return {
            "launch_id": self.record.id,
            "state": self.state,
            "story": [{"at": instant(line.at), "state": state, "text": line.text} for line, state in lines],
        }

    def explanation(self) -> LaunchExplanation:
        last = self.record.story[-1].text if self.record.story else "it was just decided"
        return {
            "launch_id": self.record.id,
            "state": self.state,
            "queue_position": None,
            "agents": None,
            "failed": {},
            "nearest": None,
            "summary": f"the container is not waiting: it is {self.state} ({last})",
        }

    def span(self) -> Span:
        record = self.record
        return Span(
            id=record.id,
            kind="container",
            name=record.start.shape.kind,
            state=self.state,
            waiting_at=record.posted_at,
            starting_at=record.posted_at,
            running_at=self.started_at,
            ended_at=self.ended_at,
            agent_id=record.node or record.start.slot.agent_id,
            hostname=record.node or record.start.slot.agent_id,
            failed=self.state in ("FAILED", "LOST"),
            message=record.story[-1].text if self.ended and record.story else None,
        )


class ContainerStories:
    """`noted` is called with each new line: the container, its state, the line."""

    def __init__(self, records: Mapping[str, PodRecord], noted: Callable[[str, LaunchState, str], None]) -> None:
        """`records` are the factory's, by pod name."""
        self._records = records
        self._noted = noted
        self._living: dict[str, ContainerStory] = {}  # by pod name
        self._ended: OrderedDict[str, ContainerStory] = OrderedDict()  # by container id

    def look(self, pods: Iterable[str], now: float) -> None:
        """An event was about these pods, and the factory has handled it."""
        for name in pods:
            record = self._records.get(name)
            if record is not None:
                self._look_at(name, record, now)
            elif name in self._living:
                self._end(name, now)

    def look_at_all(self, now: float) -> None:
        """Something was due."""
        for name in [*self._living, *(self._records.keys() - self._living.keys())]:
            self.look((name,), now)

    def _end(self, name: str, now: float) -> None:
        story = self._living.pop(name)
        self._tell(story, now, gone=True)
        self._ended[story.record.id] = story
        if len(self._ended) > KEPT:
            self._ended.popitem(last=False)

    def _look_at(self, name: str, record: PodRecord, now: float) -> None:
        story = self._living.get(name)
        if story is None:
            story = self._living[name] = ContainerStory(record)
        self._tell(story, now, gone=False)

    def _tell(self, story: ContainerStory, now: float, *, gone: bool) -> None:
        record = story.record
        if record.step is PodStep.STARTED and story.started_at is None:
            story.started_at = now
        if (record.step is PodStep.LEAVING or gone) and story.ended_at is None:
            story.ended_at = now
        before = story.state
        story.state = _state_of(story)
        lines = record.story[story.told :]
        story.told = len(record.story)
        story.states += [story.state] * len(lines)
        for line in lines:
            self._noted(record.id, story.state, line.text)
        if not lines and story.state != before:
            self._noted(record.id, story.state, "its pod is gone" if gone else "")

    def find(self, name: str) -> ContainerStory | None:
        """By a container's id, or a unique beginning. Raises Ambiguous."""
        stories = {story.record.id: story for story in self._living.values()}
        exact = stories.get(name) or self._ended.get(name)
        if exact is not None:
            return exact
        found = the_one_that_begins(name, [*stories, *self._ended])
        return None if found is None else stories.get(found) or self._ended[found]


def _state_of(story: ContainerStory) -> LaunchState:
    record = story.record
    if not story.ended:
        return _STATES.get(record.step, "RUNNING")
    if record.stop is not None or record.refused is not None:
        return "KILLED"
    phase = record.pod.status.phase if record.pod is not None else ""
    if phase == "Succeeded":
        return "FINISHED"
    return "FAILED" if phase == "Failed" or story.started_at is None else "LOST"
