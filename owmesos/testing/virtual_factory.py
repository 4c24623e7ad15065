"""Drives owmesos's Kubernetes factory on a simulated cluster: the wire and the shell of virtual time.

As on the real wire, lists and watches of nodes and pods become events, requests take a while and may be answered before
or after the watch shows what they did, a watch that ends is resumed, one that cannot be resumed is listed anew, and an
API server that is not reached for a while is told as Disconnected.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from owmesos.kubernetes import effects, events
from owmesos.kubernetes.messages import Node, Pod
from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.kubernetes.admission import ApiAnswer
from owmesos.simulator.kubernetes.store import Kind, ObjectChange, Watch
from owmesos.simulator.kubernetes.world import KubernetesWorld
from owmesos.simulator.world import Fate
from owmesos.testing.virtual_process import Decisions, VirtualProcess

_PATIENCE = 5.0  # seconds without an API server, until its clients are told
_PAUSE = 0.1  # seconds before a watch is resumed
_KINDS: tuple[Kind, ...] = ("Node", "Pod")


class _Watcher:
    """Lists one kind, watches from there, and resumes."""

    def __init__(self, owner: VirtualFactory, kind: Kind) -> None:
        self._owner = owner
        self._kind = kind
        self._watch: Watch | None = None
        self._version = ""
        self._next: AgendaEntry | None = None

    def begin(self) -> None:
        self.stop()
        self._after(self._owner.takes(), self._list)

    def stop(self) -> None:
        cancel(self._next)
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    @property
    def watch(self) -> Watch | None:
        """The one that is open, for faults."""
        return self._watch

    def _after(self, seconds: float, action: Callable[..., None], *args: Any) -> None:
        cancel(self._next)
        self._next = self._owner.world.agenda.after(seconds, action, *args)

    def _list(self) -> None:
        if not self._owner.reachable or self._owner.pause:
            self._after(max(_PAUSE, self._owner.pause), self._list)
            return
        body = self._owner.world.api.list(self._kind).body
        self._after(self._owner.takes(), self._listed, body["items"], body["metadata"]["resourceVersion"])

    def _listed(self, items: Sequence[Any], version: str) -> None:
        """What was true when the API server answered: since then some may have changed."""
        self._version = version
        self._resume()
        if self._kind == "Node":
            self._owner.handle(events.NodesListed(msgspec.convert(items, tuple[Node, ...])))
        else:
            self._owner.handle(events.PodsListed(msgspec.convert(items, tuple[Pod, ...]), version))

    def _resume(self) -> None:
        if not self._owner.reachable or self._owner.pause:
            self._after(max(_PAUSE, self._owner.pause), self._resume)
            return
        self._watch = self._owner.world.api.watch(self._kind, self._take, self._version)

    def _take(self, change: ObjectChange | None) -> None:
        if change is None:
            self._watch = None
            self._after(_PAUSE, self._resume)
        elif change.type == "ERROR":
            self.begin()
        else:
            self._version = change.object["metadata"]["resourceVersion"]
            event = event_of(change)
            if event is not None:
                self._owner.handle(event)


def event_of(change: ObjectChange) -> events.KubernetesEvent | None:
    """None for a bookmark."""
    if change.type == "BOOKMARK":
        return None
    if change.kind == "Node":
        if change.type == "DELETED":
            return events.NodeDeleted(change.object["metadata"]["name"])
        return events.NodeSeen(msgspec.convert(change.object, Node))
    pod = msgspec.convert(change.object, Pod)
    return events.PodDeleted(pod) if change.type == "DELETED" else events.PodSeen(pod)


class VirtualFactory(VirtualProcess):
    """One process. `make` gives its decisions, again for each incarnation of it; nothing is stored.

    Effects that are not the factory's own go to `on_effect`. `fate_of` decides what becomes of a request (`post`,
    `delete`). `requests` counts them.
    """

    def __init__(
        self,
        world: KubernetesWorld,
        make: Callable[[], Decisions],
        *,
        namespace: str = "default",
        on_effect: Callable[[Any], None] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(world.agenda, events.KubernetesTick())
        self.world = world
        self.make = make
        self.namespace = namespace
        self.reachable = True
        self.fate_of: Callable[[str], Fate] = lambda request: Fate.TAKEN
        self._throttled_until = 0.0
        self._retry_after = 0.0
        self.slow_answers = 0.0  # seconds that answers to requests come later than they do usually
        self.watch_effects: list[Callable[[Any], None]] = []
        """Told of each effect before it is carried out."""
        self.notes: deque[effects.LogNote] = deque(maxlen=200)
        self.requests: dict[str, int] = {}
        self.on_effect = on_effect
        self._chance = random.Random(seed)
        self._lost: AgendaEntry | None = None
        self._incarnation = 0
        self.decisions = make()
        self._watchers = [_Watcher(self, kind) for kind in _KINDS]
        self._begin()

    def _begin(self) -> None:
        for watcher in self._watchers:
            watcher.begin()
        self._set_timer()

    def crash(self) -> None:
        """kill -9, and a new process at once. What was asked for and is under way arrives yet."""
        self._incarnation += 1
        self._inbox.clear()
        cancel(self._lost)
        self.reachable = True
        self.decisions = self.make()
        self._begin()

    # -- faults

    @property
    def open_watches(self) -> list[Watch]:
        return [each.watch for each in self._watchers if each.watch is not None]

    def lose_api_server(self) -> None:
        """It is not reached any more: watches end, requests fail."""
        if self.reachable:
            self.reachable = False
            for watch in self.open_watches:
                watch.cut()
            self._lost = self.world.agenda.after(_PATIENCE, self._give_up)

    def throttle(self, seconds: float, retry_after: float) -> None:
        """API Priority and Fairness, or a limit of its account: its requests are answered with 429 meanwhile."""
        self._throttled_until = self.world.agenda.now + seconds
        self._retry_after = retry_after

    @property
    def pause(self) -> float:
        """Seconds that the API server wants it to wait before it asks again."""
        return self._retry_after if self.world.agenda.now < self._throttled_until else 0.0

    def find_api_server(self) -> None:
        self.reachable = True
        cancel(self._lost)

    def _give_up(self) -> None:
        for watcher in self._watchers:
            watcher.begin()
        self.handle(events.ApiDisconnected("the API server is not reached"))

    def takes(self) -> float:
        """Seconds that a message takes to the API server, or back."""
        return self._chance.uniform(0.25, 0.75) * self.world.settings.answer_takes

    # -- effects

    def _carry_out(self, effect: object) -> None:
        for watch in self.watch_effects:
            watch(effect)
        if isinstance(effect, effects.PostPod):
            self._request("post", partial(self._post, effect), partial(self._post_answered, effect))
        elif isinstance(effect, effects.DeletePod):
            self._request("delete", partial(self._delete, effect), partial(self._delete_answered, effect))
        elif isinstance(effect, effects.Relist):
            for watcher in self._watchers:
                watcher.begin()
        elif isinstance(effect, effects.LogNote):
            self.notes.append(effect)
        elif self.on_effect is not None and not isinstance(effect, effects.KubernetesEffect):
            self.on_effect(effect)

    # -- requests

    def _request(
        self, what: str, act: Callable[[], ApiAnswer], answered: Callable[[ApiAnswer | events.ApiFailure], None]
    ) -> None:
        self.requests[what] = self.requests.get(what, 0) + 1
        if not self.reachable:
            failure = events.ApiFailure(0, "Unreachable", "the API server is not reached", certain=True)
            self._answer(self.takes(), answered, failure)
            return
        if self.pause:
            failure = events.ApiFailure(429, "TooManyRequests", "later", certain=True, retry_after=self.pause)
            self._answer(2 * self.takes(), answered, failure)
            return
        fate = self.fate_of(what)
        if fate is Fate.LOST:
            self._answer(1.0, answered, events.ApiFailure(0, "NoAnswer", "no answer came", certain=False))
            return
        self.world.agenda.after(self.takes(), self._arrive, fate, act, answered, self._incarnation)

    def _arrive(
        self,
        fate: Fate,
        act: Callable[[], ApiAnswer],
        answered: Callable[[ApiAnswer | events.ApiFailure], None],
        incarnation: int,
    ) -> None:
        answer = act()
        if fate is Fate.UNANSWERED:
            failure = events.ApiFailure(0, "NoAnswer", "no answer came", certain=False)
            self._answer(1.0, answered, failure, incarnation)
        else:
            self._answer(self.takes() + self.slow_answers, answered, answer, incarnation)

    def _answer(
        self,
        seconds: float,
        answered: Callable[[ApiAnswer | events.ApiFailure], None],
        answer: ApiAnswer | events.ApiFailure,
        incarnation: int | None = None,
    ) -> None:
        """One of a former incarnation is heard by nobody."""
        incarnation = self._incarnation if incarnation is None else incarnation
        self.world.agenda.after(seconds, lambda: answered(answer) if incarnation == self._incarnation else None)

    def _post(self, effect: effects.PostPod) -> ApiAnswer:
        return self.world.api.post_pod(self.namespace, msgspec.to_builtins(effect.body))

    def _post_answered(self, effect: effects.PostPod, answer: ApiAnswer | events.ApiFailure) -> None:
        if isinstance(answer, ApiAnswer) and answer.done:
            self.handle(events.PodCreated(msgspec.convert(answer.body, Pod), effect.name))
        else:
            self.handle(events.PostRejected(effect.name, _failure(answer)))

    def _delete(self, effect: effects.DeletePod) -> ApiAnswer:
        return self.world.api.delete_pod(self.namespace, effect.name, uid=effect.uid, grace=effect.grace)

    def _delete_answered(self, effect: effects.DeletePod, answer: ApiAnswer | events.ApiFailure) -> None:
        if not isinstance(answer, ApiAnswer) or not answer.done:
            self.handle(events.DeleteRejected(effect.name, _failure(answer)))


def _failure(answer: ApiAnswer | events.ApiFailure) -> events.ApiFailure:
    if isinstance(answer, events.ApiFailure):
        return answer
    body = answer.body
    return events.ApiFailure(answer.status, body["reason"], body["message"], True, answer.retry_after)
