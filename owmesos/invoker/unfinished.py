"""Documents of activations that have not ended, and the story of every activation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from owmesos.core.listings import instant
from owmesos.core.pool.pool import Pool
from owmesos.documents import ActivationStory, ActivationStoryEntry
from owmesos.invoker.ended import EndedActivation
from owmesos.invoker.in_flight import InFlight, InFlightState
from owmesos.openwhisk.activation import DEFAULT_VERSION
from owmesos.openwhisk.documents import UnfinishedActivation

_MOST_LOOKS = 10_000
"""At nodes, for the reasons of one listing: 24 µs each."""
_RUNS = (InFlightState.DISPATCHED, InFlightState.RUNNING, InFlightState.ANSWERED)


def unfinished(runs: Iterable[InFlight], pool: Pool) -> list[UnfinishedActivation]:
    """Documents of `runs`. Only so many have a reason why they wait that the event loop is not held up."""
    explained = max(1, _MOST_LOOKS // max(1, len(pool.state.capacity.ledger.agents)))
    rows = []
    for run in runs:
        state = _state(run)
        summary = None
        if state == "waiting" and explained:
            explained -= 1
            found = pool.explain(run.run_id)
            summary = found.summary if found is not None else None
        rows.append(_row(run, state, _container(run, pool), summary))
    return rows


def _row(
    run: InFlight, state: Literal["waiting", "running"], container_id: str | None, summary: str | None
) -> UnfinishedActivation:
    message = run.message
    return {
        "namespace": message.user.namespace.name,
        "name": message.action.name,
        "version": message.action.version or DEFAULT_VERSION,
        "activationId": run.run_id,
        "start": round(run.received_at * 1000),
        "end": None,
        "duration": None,
        "statusCode": None,
        "annotations": [{"key": "kind", "value": run.order.executable.kind}] if run.order is not None else [],
        "publish": False,
        "state": state,
        "containerId": container_id,
        "summary": summary,
    }


def is_running(run: InFlight) -> bool:
    """A container has it."""
    return run.state in _RUNS


def _state(run: InFlight) -> Literal["waiting", "running"]:
    return "running" if is_running(run) else "waiting"


def _container(run: InFlight, pool: Pool) -> str | None:
    """The container of the run, or the one that is starting for it."""
    waiting = pool.state.buffer.by_id.get(run.run_id)
    return waiting.covered_by if waiting is not None else run.container_id


class _Moment(NamedTuple):
    """`at` in seconds since the epoch."""

    at: float
    state: str
    text: str

    @property
    def entry(self) -> ActivationStoryEntry:
        return {"at": instant(self.at), "state": self.state, "text": self.text}


def story_of_run(run: InFlight, pool: Pool, now: float) -> ActivationStory:
    """The story of an activation that has not ended; `now` in seconds since the epoch."""
    message, container_id = run.message, _container(run, pool)
    moments = [_Moment(run.received_at, "received", f"received for {message.action.document_id}")]
    found = pool.explain(run.run_id)
    if run.dispatched_at is not None:
        moments.append(_Moment(run.dispatched_at, "running", f"given to container {container_id}"))
    elif found is not None:
        moments.append(_Moment(now, "waiting", found.summary))
    if run.state is InFlightState.ANSWERED:
        moments.append(_Moment(now, "running", "its result is known, and its log is collected"))
    return _story(run.run_id, _state(run), container_id, moments)


def story_of_ended(ended: EndedActivation) -> ActivationStory:
    """The story of an activation that has ended."""
    start, end, received = ended.start / 1000, ended.end / 1000, f"received for {ended.action}"
    moments = []
    if ended.wait is not None:
        moments.append(_Moment(start - ended.wait / 1000, "received", received))
        moments.append(_Moment(start, "running", f"begun after {ended.wait} ms"))
    if ended.init is not None:
        moments.append(
            _Moment(start + ended.init / 1000, "running", f"its container was initialized in {ended.init} ms")
        )
    if ended.wait is None and ended.duration == 0 and start < end:  # it was cancelled
        moments.append(_Moment(start, "received", received))
        moments.append(_Moment(end, "waiting", f"waited {ended.end - ended.start} ms for a container, and got none"))
    took = f" after {ended.duration} ms" if ended.duration else ""
    moments.append(_Moment(end, "ended", f"success{took}" if ended.error is None else f"failed{took}: {ended.error}"))
    return _story(ended.activation_id, "ended", None, moments)


def _story(
    activation_id: str,
    state: Literal["waiting", "running", "ended"],
    container_id: str | None,
    moments: Iterable[_Moment],
) -> ActivationStory:
    return {
        "activation_id": activation_id,
        "state": state,
        "container_id": container_id,
        "story": [moment.entry for moment in moments],
    }
