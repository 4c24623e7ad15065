"""What a pod takes of its node, by the formula of kube-scheduler."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_requests import pod_request
from owmesos.resources import MAX_MILLI, Resources
from tests.kubernetes.objects import container, pod


def room(cpus: float = 0, mem: float = 0, disk: float = 0, gpus: float = 0) -> Resources:
    return Resources.of(cpus=cpus, mem=mem, disk=disk, gpus=gpus, pods=1)


def sidecar(**requests: str) -> dict[str, Any]:
    return {**container("side", **requests), "restartPolicy": "Always"}


def init(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"initContainers": list(containers)}


class TestContainers:
    def test_every_kind_is_read(self) -> None:
        asked = {"cpu": "250m", "memory": "64Mi", "ephemeral-storage": "1Gi", "nvidia.com/gpu": "2", "amd.com/gpu": "1"}
        asks = {**asked, "hugepages-2Mi": "4Mi", "example.com/thing": "7"}
        assert pod_request(pod(containers=[container(**asks)])) == room(0.25, 64, 1024, 3)

    def test_a_pod_that_asks_for_nothing_takes_one_of_the_pods(self) -> None:
        assert pod_request(pod()) == room()

    def test_containers_add_up(self) -> None:
        both = [container("a", cpu="1", memory="10Mi"), container("b", cpu="500m")]
        assert pod_request(pod(containers=both)) == room(1.5, 10)

    def test_an_init_container_counts_only_beyond_the_others(self) -> None:
        more_memory = init(container("i", cpu="1", memory="100Mi"), container("j", cpu="2", memory="1Mi"))
        assert pod_request(pod(cpu="1500m", memory="50Mi", spec=more_memory)) == room(2, 100)

    def test_a_sidecar_runs_beside_all(self) -> None:
        assert pod_request(pod(cpu="1", spec=init(sidecar(cpu="500m")))) == room(1.5)

    def test_an_init_container_runs_beside_the_sidecars_before_it_and_not_after(self) -> None:
        before = init(sidecar(memory="10Mi"), container("i", memory="100Mi"))
        after = init(container("i", memory="100Mi"), sidecar(memory="10Mi"))
        assert pod_request(pod(memory="50Mi", spec=before)) == room(mem=110)
        assert pod_request(pod(memory="50Mi", spec=after)) == room(mem=100)

    def test_overhead_comes_on_top(self) -> None:
        assert pod_request(pod(cpu="1", spec={"overhead": {"cpu": "250m", "memory": "120Mi"}})) == room(1.25, 120)

    def test_overhead_of_a_running_pod_counts_twice_as_kube_scheduler_has_it(self) -> None:
        """Measured: 512 MB with an overhead of 3,000 left 1,680 of 8,192. Its status has sums with the overhead."""
        spec, sums = {"overhead": {"memory": "3000Mi"}}, {"memory": "3512Mi"}
        shown = {"allocatedResources": sums, "resources": {"requests": sums}}
        assert pod_request(pod(memory="512Mi", spec=spec)) == room(mem=3512)
        assert pod_request(pod(memory="512Mi", spec=spec, status=shown)) == room(mem=6512)

    def test_what_cannot_be_read_counts_as_all_there_is(self) -> None:
        assert pod_request(pod(memory="-5Mi")).milli_mem == MAX_MILLI


class TestPodLevel:
    def test_it_takes_the_place_of_cpus_and_memory(self) -> None:
        whole = {"resources": {"requests": {"cpu": "1", "memory": "100Mi", "ephemeral-storage": "5Mi"}}}
        given = pod(cpu="3", memory="10Mi", **{"ephemeral-storage": "7Mi"}, spec=whole)
        assert pod_request(given) == room(1, 100, 7)

    def test_what_it_leaves_out_is_summed(self) -> None:
        assert pod_request(pod(cpu="3", memory="10Mi", spec={"resources": {"requests": {"cpu": "1"}}})) == room(1, 10)

    def test_limits_alone_change_nothing(self) -> None:
        assert pod_request(pod(cpu="3", spec={"resources": {"limits": {"cpu": "9"}}})) == room(3)

    def test_a_resize_counts_the_most_of_wish_and_allocation(self) -> None:
        whole = {"resources": {"requests": {"memory": "100Mi"}}}
        assert pod_request(pod(spec=whole, status={"allocatedResources": {"memory": "150Mi"}})) == room(mem=150)
        shown = {"resources": {"requests": {"memory": "50Mi"}}}
        assert pod_request(pod(spec=whole, status=shown)) == room(mem=100)


def resized(wish: str, allocated: str | None, in_effect: str | None, *conditions: dict[str, str]) -> Pod:
    shown: dict[str, Any] = {"name": "c"}
    if allocated is not None:
        shown["allocatedResources"] = {"memory": allocated}
    if in_effect is not None:
        shown["resources"] = {"requests": {"memory": in_effect}}
    return pod(memory=wish, status={"containerStatuses": [shown], "conditions": list(conditions)})


INFEASIBLE = {"type": "PodResizePending", "status": "True", "reason": "Infeasible"}
DEFERRED = {"type": "PodResizePending", "status": "True", "reason": "Deferred"}


class TestResize:
    @pytest.mark.parametrize(
        ("given", "mem"),
        [
            (resized("100Mi", "100Mi", "100Mi"), 100),
            (resized("200Mi", "100Mi", "100Mi"), 200),
            (resized("50Mi", "100Mi", "100Mi"), 100),
            (resized("50Mi", "50Mi", "100Mi"), 100),
            (resized("50Mi", None, "100Mi"), 100),
            (resized("50Mi", "100Mi", None), 100),
            (resized("200Mi", "100Mi", "100Mi", DEFERRED), 200),
            (resized("200Mi", "100Mi", "100Mi", INFEASIBLE), 100),
        ],
    )
    def test_the_most_counts_but_a_wish_that_is_infeasible(self, given: Pod, mem: float) -> None:
        assert pod_request(given) == room(mem=mem)

    def test_sidecars_are_resized_too(self) -> None:
        shown = {"initContainerStatuses": [{"name": "side", "allocatedResources": {"memory": "30Mi"}}]}
        assert pod_request(pod(memory="1Mi", spec=init(sidecar(memory="10Mi")), status=shown)) == room(mem=31)
