"""Feeds the outcome of starts to the back-off, and closes nodes that it finds at fault.

A container that could not start may be its image's fault or the node's, see `owmesos.core.backoff`. A pod that the node
itself lost or did not admit says nothing of the image. One for which there was no room is nobody's fault.
"""

from __future__ import annotations

from collections.abc import Iterable

from owmesos.core.start_faults import Fault
from owmesos.kubernetes.pod_records import PodRecord
from owmesos.kubernetes.state import FactoryState, KubernetesTimer


class PodBlame:
    """Reports starts to the state's `backoff`, and applies the faults of nodes. Those of images are the pool's."""

    def __init__(self, state: FactoryState) -> None:
        self._state = state

    def ran(self, record: PodRecord, node: str, now: float) -> None:
        """Its container started."""
        state = self._state
        self._apply(state.backoff.ran(node, record.start.shape.start_key, now))
        state.timers.cancel((KubernetesTimer.BACKOFF, node))
        state.judge(node)

    def failed(self, record: PodRecord, node: str, why: str, now: float) -> None:
        """Its container was placed and did not start."""
        faults = self._state.backoff.failed(node, record.start.shape.start_key, record.posted_at, now, why)
        for fault in faults:
            record.add_to_story(now, fault.reason)
        self._apply(faults)

    def outage(self, record: PodRecord, node: str, why: str, now: float) -> None:
        """The node dropped its pod before it started, whatever was in it."""
        self._apply(self._state.backoff.outage(node, record.posted_at, now, why))

    def unusable(self, record: PodRecord, why: str, now: float) -> None:
        """Its container runs and cannot be used."""
        if record.node is not None:
            self._apply(self._state.backoff.unusable(record.node, now, why))

    def usable(self, record: PodRecord, now: float) -> None:
        if record.node is not None:
            self._state.backoff.usable(record.node, now)

    def pause_over(self, node: str) -> None:
        self._state.backoff.pause_over(node)
        self._state.judge(node)

    def _apply(self, faults: Iterable[Fault]) -> None:
        state = self._state
        for fault in faults:
            if fault.agent_id is not None:
                state.note("warning", fault.text)
                state.timers.set((KubernetesTimer.BACKOFF, fault.agent_id), fault.until)
                state.judge(fault.agent_id)
