"""A kubelet: it admits the pods that are bound to its node, runs them, and tells the API server what became of them.

While it is cut off (`connected` False) it goes on with what it knows, and what it says comes later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.kubernetes import pod_status
from owmesos.simulator.kubernetes.api_server import ApiServer
from owmesos.simulator.kubernetes.behaviours import PodBehaviour
from owmesos.simulator.kubernetes.node_fit import allocatable, matches
from owmesos.simulator.kubernetes.objects import (
    Document,
    PodKey,
    changed,
    is_deleted,
    is_over,
    key_of,
    timestamp,
    uid_of,
    with_conditions,
)
from owmesos.simulator.kubernetes.requests import Amounts, add, lacking, pod_requests
from owmesos.simulator.kubernetes.settings import ControlPlaneSettings

PodBehaviours = Callable[[Document], PodBehaviour]


@dataclass(slots=True, eq=False)
class PodWork:
    """A pod on its node. `asked` is for its processes; `held` is taken from the node's room while it is `counted`."""

    key: PodKey
    pod: Document  # as it was last seen
    asked: Amounts
    held: Amounts
    behaviour: PodBehaviour
    counted: bool = False
    lives: bool = False  # a process of it is there, whatever the API server says
    finished: bool = False  # its phase is terminal
    stop_due: float | None = None  # when its grace is over
    ended: tuple[int, str] | None = None  # with which code, and why, before anybody asked for it
    since: str = ""  # when its containers began
    lines: list[tuple[float, str]] = field(default_factory=list)  # of its log, with their times
    restarts: int = 0
    status: Document = field(default_factory=dict)
    step: AgendaEntry | None = None  # what it does next by itself
    ending: AgendaEntry | None = None  # the end of its grace

    @property
    def uid(self) -> str:
        return uid_of(self.pod)


class Kubelet:
    """`works` by uid."""

    def __init__(
        self,
        name: str,
        api: ApiServer,
        settings: ControlPlaneSettings,
        chance: random.Random,
        behaviour_of: PodBehaviours,
        net: str,
    ) -> None:
        """`net`: how the addresses of its pods begin, as in `10.1.2.`."""
        self.name = name
        self.connected = True
        self.works: dict[str, PodWork] = {}
        self._used: Amounts = {}
        self._api = api
        self._agenda = api.store.agenda
        self._settings = settings
        self._chance = chance
        self._behaviour_of = behaviour_of
        self._net = net
        self._addresses = 0

    # -- what it hears

    def hear(self, pod: Document, *, deleted: bool) -> None:
        """A pod that is bound here, as the API server has it now, or had it."""
        if not self.connected:
            return
        work = self.works.get(uid_of(pod))
        if work is None:
            if not deleted and not is_over(pod):
                self._take(pod)
            return
        if deleted:
            self._gone(work)
            return
        before, work.pod = work.pod, pod
        self._hold(work, pod_requests(pod))
        if not is_deleted(pod):
            return
        if not work.finished:
            self._stop(work)
        elif not is_deleted(before):  # it ended while it was being deleted
            self._remove_soon(work)

    def reconnect(self) -> None:
        """It compares what it has with what there is, and says what became of its pods."""
        self.connected = True
        there = {uid_of(pod): pod for pod in self._api.pods.values() if pod["spec"].get("nodeName") == self.name}
        for work in list(self.works.values()):
            pod = there.get(work.uid)
            if pod is None:
                self._gone(work)
            else:
                self._publish(work, {})
                if work.finished and is_deleted(pod):
                    self._remove_soon(work)
        for pod in there.values():
            self.hear(pod, deleted=False)

    def power_off(self) -> None:
        """All processes are gone, and so is what the kubelet knew, but for the pods it had begun with."""
        self.connected = False
        for work in list(self.works.values()):
            cancel(work.step, work.ending)
            began = work.lives or work.restarts or "containerStatuses" in work.status
            work.lives = False
            if began and work.pod["spec"]["restartPolicy"] == "Never" and not work.finished:
                self._finish(work, pod_status.SIGKILLED, "ContainerStatusUnknown", "the machine was switched off")
            elif not work.finished:
                self._uncount(work)
                del self.works[work.uid]

    # -- admission

    def _take(self, pod: Document) -> None:
        asked = pod_requests(pod, by_sums=False)
        work = PodWork(key_of(pod), pod, asked, pod_requests(pod), self._behaviour_of(pod))
        self.works[work.uid] = work
        work.step = self._agenda.after(self._settings.admit_takes, self._admit, work)

    def _admit(self, work: PodWork) -> None:
        node = self._api.node(self.name)
        if node is None:
            return
        if is_deleted(work.pod):
            self._finish(work, pod_status.SIGKILLED, "ContainerStatusUnknown")
            return
        free = allocatable(node)
        add(free, self._used, -1)
        short = lacking(work.held, free)
        if short or not matches(work.pod, node):
            self._reject(work, f"OutOf{short[0]}" if short else "NodeAffinity")
            return
        add(self._used, work.held)
        work.counted = True
        self._publish(work, pod_status.admitted(work.asked))
        if work.behaviour.image_error is None:
            work.step = self._agenda.after(self._settings.start_takes + work.behaviour.starts_after, self._run, work)
        else:
            work.step = self._agenda.after(self._settings.start_takes, self._no_image, work, "ErrImagePull")

    def _reject(self, work: PodWork, reason: str) -> None:
        work.finished = True
        what = reason.removeprefix("OutOf")
        why = f"Node didn't have enough resource: {what}" if reason != what else "Predicate NodeAffinity failed"
        self._publish(work, {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {why}"})

    def _no_image(self, work: PodWork, reason: str) -> None:
        """Tried again and again: it ends only when somebody deletes it."""
        assert work.behaviour.image_error is not None
        self._publish(work, pod_status.waiting(work.pod, reason, work.behaviour.image_error))
        if reason == "ErrImagePull":
            work.step = self._agenda.after(self._settings.image_backoff, self._no_image, work, "ImagePullBackOff")

    # -- containers

    def _run(self, work: PodWork) -> None:
        behaviour = work.behaviour
        work.lives, work.ended, work.since = True, None, timestamp(self._agenda.now)
        work.lines += [(self._agenda.now, line) for line in behaviour.lines]
        self._say_running(work, ready=not behaviour.ready_after)
        if behaviour.ready_after and (behaviour.duration is None or behaviour.ready_after < behaviour.duration):
            work.step = self._agenda.after(behaviour.ready_after, self._become_ready, work)
        elif behaviour.duration is not None:
            work.step = self._agenda.after(behaviour.duration, self._exit, work)

    def _become_ready(self, work: PodWork) -> None:
        behaviour = work.behaviour
        self._say_running(work, ready=True)
        if behaviour.duration is not None:
            work.step = self._agenda.after(behaviour.duration - behaviour.ready_after, self._exit, work)

    def _say_running(self, work: PodWork, *, ready: bool) -> None:
        if "podIP" not in work.status:
            self._addresses = self._addresses % 254 + 1
        ip = work.status.get("podIP", f"{self._net}{self._addresses}")
        self._publish(work, pod_status.running(work.pod, ready=ready, since=work.since, ip=ip, restarts=work.restarts))

    def _exit(self, work: PodWork) -> None:
        self.end(work, work.behaviour.code, oom=work.behaviour.oom)

    def end(self, work: PodWork, code: int, *, oom: bool = False) -> None:
        """Its containers end by themselves, or are killed by whom the kubelet does not know."""
        if not work.lives or work.stop_due is not None:
            return
        cancel(work.step)
        work.lives, work.ended = False, (code, pod_status.reason_of(code, oom=oom))
        work.step = self._agenda.after(self._settings.exit_seen_after, self._exit_seen, work, *work.ended)

    def _exit_seen(self, work: PodWork, code: int, reason: str) -> None:
        policy = work.pod["spec"]["restartPolicy"]
        if policy == "Always" or (policy == "OnFailure" and code):
            self._restart(work, code)
            return
        self._publish(work, pod_status.terminated(work.pod, code, reason, restarts=work.restarts))
        work.step = self._agenda.after(self._settings.phase_after, self._finish, work, code, reason)

    def _restart(self, work: PodWork, code: int) -> None:
        """At once the first time."""
        first, most = self._settings.restart_backoff
        pause = min(most, first * 2 ** (work.restarts - 1)) if work.restarts else 0.0
        work.restarts += 1
        if pause:
            told = f"back-off {pause:g}s restarting failed container, exit code {code}"
            self._publish(work, pod_status.waiting(work.pod, "CrashLoopBackOff", told, restarts=work.restarts))
        work.step = self._agenda.after(pause + self._settings.start_takes, self._run, work)

    def evict(self, work: PodWork, message: str) -> None:
        """Its node is short of something: the kubelet ends it."""
        if work.finished or work.stop_due is not None:
            return
        cancel(work.step)
        work.lives = False
        self._finish(work, pod_status.SIGKILLED, "Error", told={"reason": "Evicted", "message": message})

    # -- ends

    def _stop(self, work: PodWork) -> None:
        """SIGTERM, and SIGKILL when the grace is over. A shorter grace counts from now."""
        grace = work.pod["metadata"]["deletionGracePeriodSeconds"]
        due = self._agenda.now + grace
        if work.stop_due is not None and due >= work.stop_due:
            return
        if not work.counted:
            return  # its admission sees to it
        first = work.stop_due is None
        work.stop_due = due
        cancel(work.step if first else None, work.ending)
        obeys = work.behaviour.obeys_after
        if not work.lives:
            self._stopped(work, *(work.ended or (pod_status.SIGKILLED, "ContainerStatusUnknown")))
        elif obeys is not None and obeys <= grace:
            work.ending = self._agenda.after(obeys, self._stopped, work, work.behaviour.stop_code, "Error")
        else:
            work.ending = self._agenda.after(grace, self._stopped, work, pod_status.SIGKILLED, "Error")

    def _stopped(self, work: PodWork, code: int, reason: str) -> None:
        work.lives = False
        work.ending = self._agenda.after(self._settings.stop_seen_after, self._finish, work, code, reason)

    def _finish(
        self, work: PodWork, code: int, reason: str, message: str = "", *, told: Document | None = None
    ) -> None:
        """The terminal phase: its room is free."""
        work.finished = True
        self._uncount(work)
        status = pod_status.terminated(work.pod, code, reason, message, restarts=work.restarts)
        self._publish(work, {**status, "phase": "Failed" if code else "Succeeded", **(told or {})})
        if is_deleted(work.pod):
            self._remove_soon(work)

    def _remove_soon(self, work: PodWork) -> None:
        cancel(work.step, work.ending)
        work.step = self._agenda.after(self._chance.uniform(*self._settings.deleted_after), self._remove, work)

    def _remove(self, work: PodWork) -> None:
        if self.connected and self._api.pod(work.key, work.uid) is not None:
            self._api.delete_pod(*work.key, uid=work.uid, grace=0)

    def _gone(self, work: PodWork) -> None:
        """The API server has it no more. If nobody waited for its end, its process lives on for a while."""
        del self.works[work.uid]
        self._uncount(work)
        cancel(work.step, work.ending)
        if work.lives:
            self.works[f"{work.uid} unseen"] = work
            work.step = self._agenda.after(self._settings.force_kill_after, self._kill_unseen, work)

    def _kill_unseen(self, work: PodWork) -> None:
        work.lives = False
        self.works.pop(f"{work.uid} unseen", None)

    def _uncount(self, work: PodWork) -> None:
        if work.counted:
            work.counted = False
            add(self._used, work.held, -1)

    def _hold(self, work: PodWork, held: Amounts) -> None:
        """Its overhead counts twice once its status has been read back."""
        if work.counted:
            add(self._used, work.held, -1)
            add(self._used, held)
        work.held = held

    # -- what it says

    def _publish(self, work: PodWork, status: Document) -> None:
        work.status = {**work.status, **status}
        pod = self._api.pod(work.key, work.uid)
        if not self.connected or pod is None or not work.status:
            return
        told = dict(work.status)
        if "conditions" in told:
            told["conditions"] = with_conditions(pod, *told["conditions"])
        if changed(pod, **told) != pod:
            self._api.change_pod(pod, **told)

    # -- the truth

    def living(self) -> Amounts:
        """What pods whose processes are there request together."""
        total: Amounts = {}
        for work in self.works.values():
            if work.lives:
                add(total, work.asked)
        return total
