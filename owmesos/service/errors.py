"""Errors of the library about launches and the framework."""

from __future__ import annotations

from owmesos.core.listings import instant
from owmesos.documents import ActivationStory, LaunchDocument
from owmesos.errors import OwmesosError
from owmesos.mesos.scheduler.launches import Unreadable
from owmesos.service.stopped import Stopped
from owmesos.storage import StoreTrouble


class NotKnown(OwmesosError):
    """No launch or task has this id, or no other object has this name."""

    def __init__(self, name: str, what: str = "launch or task") -> None:
        super().__init__(f"unknown {what} {name}")


class RecordUnreadable(NotKnown):
    """A stored launch that cannot be read and is set aside."""

    def __init__(self, unreadable: Unreadable) -> None:
        OwmesosError.__init__(
            self, f"the stored launch {unreadable.launch_id} cannot be read and is set aside: {unreadable.reason}"
        )


class NothingToExplain(NotKnown):
    """The activation has ended, or waits for something else than a container."""

    def __init__(self, story: ActivationStory) -> None:
        name = story["activation_id"]
        if story["state"] == "ended":
            text = (
                f"activation {name} has ended: `owmesos story {name}` says what happened to it,"
                f" its record has its result (`owmesos activation get {name}`, or with Kafka `wsk`'s)"
            )
        else:
            text = f"activation {name} does not wait for a container: {story['story'][-1]['text']}"
        OwmesosError.__init__(self, text)


class StateAway(OwmesosError):
    """The state cannot be written for the moment, so nothing can be launched or killed."""

    def __init__(self, trouble: StoreTrouble, what: str) -> None:
        super().__init__(f"{trouble.reason} (since {instant(trouble.since)}): {what}")


class LogMissing(OwmesosError):
    """The log does not exist yet, or no longer."""


class LogUnreadable(OwmesosError):
    """The agent that has the log does not return it."""


class LaunchFailed(OwmesosError):
    """The launch did not run; the text says why. `document` is what `owmesos launches` shows of it."""

    def __init__(self, document: LaunchDocument) -> None:
        why = document["message"] or document["reason"] or "no reason is known"
        super().__init__(f"launch {document['launch_id']} is {document['state']}: {why}")
        self.document = document


class FrameworkStopped(OwmesosError):
    """The framework has stopped, so what was waited for, or asked for, does not come. `stopped` is what `finished`
    returns.
    """

    def __init__(self, stopped: Stopped) -> None:
        super().__init__(f"the framework has stopped: {stopped.reason}")
        self.stopped = stopped
