"""How long the parts of a cluster take, in seconds: as measured of Kubernetes 1.37 where no comment says otherwise."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ControlPlaneSettings:
    """The defaults are those of the measured cluster, and of Kubernetes."""

    watch_takes: float = 0.001  # from a change to its event at a watch
    answer_takes: float = 0.004  # from a request to its answer: about 200 POSTs a second with one in flight
    schedule_takes: float = 0.003  # of kube-scheduler for each pod, one after the other
    bind_takes: float = 0.007  # from its decision to the bound pod
    requeue_takes: float = 0.005  # from the end of a pod to the next attempt of one that waits: bound 15 ms after
    admit_takes: float = 0.009  # from a bound pod to the kubelet's verdict: OutOfcpu after 13 ms
    start_takes: float = 0.035  # from there to Running: 54 ms after the POST; 0.25 with a full kubelet
    exit_seen_after: float = 0.5  # from a container's end to `terminated`, when it ends by itself
    phase_after: float = 1.0  # from there to the terminal phase
    stop_seen_after: float = 0.03  # from a container's end to the terminal phase, when the pod is deleted
    deleted_after: tuple[float, float] = (0.65, 1.0)  # from the terminal phase to DELETED
    force_kill_after: float = 2.2  # from a DELETE with a grace of 0 to the end of its process
    restart_backoff: tuple[float, float] = (10.0, 300.0)  # of a container that ended, doubled from first to most
    image_backoff: float = 10.0  # from ErrImagePull to ImagePullBackOff
    node_monitor_grace: float = 50.0  # from the last word of a kubelet to NotReady
    default_toleration: int = 300  # seconds; of not-ready and unreachable, for pods that name none
    taint_takes: float = 0.1  # from a taint to the deletion of pods that do not tolerate it
    node_back_takes: float = 1.0  # from a kubelet's start to Ready
    gc_period: float = 20.0  # of the controller that removes pods of nodes that are gone
    gc_quarantine: float = 40.0  # from a node's end to its pods'
    bookmark_every: float = 60.0
    history: int = 10_000  # changes that a watch can be resumed from; older ones are Expired
    watch_buffer: int = 1_000  # events that may wait for a slow reader before its watch is cut
