"""What a pod takes of its node: the sum by which kube-scheduler and the kubelet judge whether another one fits.

Source: k8s.io/component-helpers v0.37, resource/helpers.go, `PodRequests` with the status of an in-place resize. Where
a status is there, the most of what is wished for, allocated and in effect counts; a wish that is infeasible does not.
Resources that come from claims (dynamic resource allocation) are not counted: they are not requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import msgspec

from owmesos.errors import InvalidInput
from owmesos.kubernetes.messages import Pod, PodContainer, PodContainerStatus, PodStatus
from owmesos.kubernetes.quantities import milli_mb_up, milli_up
from owmesos.resources import MAX_MILLI, NO_PORTS, Ask, Resources

GPUS = frozenset({"nvidia.com/gpu", "amd.com/gpu", "gpu.intel.com/i915", "gpu.intel.com/xe"})
"""The extended resources that are counted as GPUs."""

Amount = tuple[int, int, int, int]
"""Thousandths of cpus, MB, MB of disk, GPUs."""

_NOTHING: Amount = (0, 0, 0, 0)
_ALL: Amount = (MAX_MILLI,) * 4
_INFEASIBLE = "Infeasible"


def pod_request(pod: Pod) -> Resources:
    """With one pod. What cannot be read counts as all there is."""
    try:
        return _shared(_request(pod))
    except InvalidInput:
        return _shared(_ALL)


def added_to(body: Mapping[str, Any], pod: Pod) -> Ask:
    """What the pod takes beside what its containers were posted with in `body`. Less counts as nothing."""
    try:
        posted = _total(amount_of(each["resources"]["requests"]) for each in body["spec"]["containers"])
        taken = _request(msgspec.structs.replace(pod, status=PodStatus()))  # with it, overhead counts twice
        return Ask(*(max(0, each - asked) for each, asked in zip(taken, posted, strict=True)))
    except InvalidInput:
        return Ask()


def amount_of(quantities: Mapping[str, str]) -> Amount:
    """Raises InvalidInput."""
    cpus = mem = disk = gpus = 0
    for name, text in quantities.items():
        if name == "cpu":
            cpus = milli_up(text)
        elif name == "memory":
            mem = milli_mb_up(text)
        elif name == "ephemeral-storage":
            disk = milli_mb_up(text)
        elif name in GPUS:
            gpus += milli_up(text)
    return cpus, mem, disk, gpus


_known: dict[Amount, Resources] = {}
_MOST_KNOWN = 10_000


def _shared(amount: Amount) -> Resources:
    """One object for all pods with the same request: clusters have many pods of few sizes."""
    found = _known.get(amount)
    if found is None:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        found = _known[amount] = Resources(*amount, NO_PORTS, 1)
    return found


def _request(pod: Pod) -> Amount:
    spec, status = pod.spec, pod.status
    statuses = {
        each.name: each
        for each in (*status.container_statuses, *status.init_container_statuses)
        if each.allocated_resources or each.resources is not None
    }
    amount = _of_containers(pod, _wished)
    if status.allocated_resources and status.resources is not None and status.resources.requests:
        # Sums of a whole pod. They contain its overhead, and kube-scheduler 1.37 adds that once more (measured).
        most = _most(amount_of(status.allocated_resources), amount_of(status.resources.requests))
        amount = most if _is_infeasible(pod) else _most(amount, most)
    elif statuses:
        most = _most(
            _of_containers(pod, partial(_allocated, statuses)), _of_containers(pod, partial(_in_effect, statuses))
        )
        amount = most if _is_infeasible(pod) else _most(amount, most)
    if spec.resources is not None and spec.resources.requests:
        amount = _with_pod_level(amount, pod, spec.resources.requests)
    return _sum(amount, amount_of(spec.overhead)) if spec.overhead else amount


def _of_containers(pod: Pod, request_of: Callable[[PodContainer], Amount]) -> Amount:
    """Those that run side by side, sidecars too; or what the start needs, if that is more: an init container runs
    beside the sidecars that were started before it."""
    spec = pod.spec
    if len(spec.containers) == 1 and not spec.init_containers:
        return request_of(spec.containers[0])
    running = _total(map(request_of, spec.containers))
    sidecars = starting = _NOTHING
    for container in spec.init_containers:
        request = request_of(container)
        if container.restart_policy == "Always":
            running, sidecars = _sum(running, request), _sum(sidecars, request)
            starting = _most(starting, sidecars)
        else:
            starting = _most(starting, _sum(request, sidecars))
    return _most(running, starting)


def _wished(container: PodContainer) -> Amount:
    return amount_of(container.resources.requests)


def _allocated(statuses: Mapping[str, PodContainerStatus], container: PodContainer) -> Amount:
    """What the kubelet has set aside for it."""
    status = statuses.get(container.name)
    if status is not None and status.allocated_resources:
        return amount_of(status.allocated_resources)
    return _wished(container)


def _in_effect(statuses: Mapping[str, PodContainerStatus], container: PodContainer) -> Amount:
    """What it runs with."""
    status = statuses.get(container.name)
    if status is not None and status.resources is not None and status.resources.requests:
        return amount_of(status.resources.requests)
    return _allocated(statuses, container)


def _with_pod_level(amount: Amount, pod: Pod, requests: Mapping[str, str]) -> Amount:
    """Cpus and memory of the pod as a whole take the place of its containers' sums."""
    status = pod.status
    given = [requests] if not _is_infeasible(pod) else []
    given.append(status.allocated_resources)
    if status.resources is not None:
        given.append(status.resources.requests)
    most = _NOTHING
    for each in given:
        most = _most(most, amount_of(each))
    cpus, mem, disk, gpus = amount
    return most[0] if "cpu" in requests else cpus, most[1] if "memory" in requests else mem, disk, gpus


def _is_infeasible(pod: Pod) -> bool:
    return any(each.type == "PodResizePending" and each.reason == _INFEASIBLE for each in pod.status.conditions)


def _sum(one: Amount, other: Amount) -> Amount:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _most(one: Amount, other: Amount) -> Amount:
    return max(one[0], other[0]), max(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def _total(amounts: Iterable[Amount]) -> Amount:
    result = _NOTHING
    for amount in amounts:
        result = _sum(result, amount)
    return result
