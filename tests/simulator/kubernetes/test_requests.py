"""Quantities, and what a pod requests by Kubernetes's rules."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.simulator.kubernetes.requests import WrongQuantity, pod_requests, thousandths


class TestQuantities:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("1", 1_000),
            ("100m", 100),
            ("0.5", 500),
            (".5", 500),
            ("1e3", 1_000_000),
            ("1E3", 1_000_000),
            ("1E", 10**21),
            ("1k", 1_000_000),
            ("1Ki", 1_024_000),
            ("0.5Ki", 512_000),
            ("1Gi", 2**30 * 1_000),
            ("1n", 1),
            ("-1", -1_000),
        ],
    )
    def test_are_read_in_every_form(self, text: str, expected: int) -> None:
        assert thousandths(text) == expected

    @pytest.mark.parametrize("text", ["", "1 Gi", "Gi", "1gi", "1e", "0x10", "1Mb", "٣"])
    def test_others_are_named(self, text: str) -> None:
        with pytest.raises(WrongQuantity, match="not a quantity"):
            assert thousandths(text) is None


def container(name: str, cpu: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "resources": {"requests": {"cpu": cpu}}, **more}


def cpu_of(spec: dict[str, Any], status: dict[str, Any] | None = None) -> int:
    return pod_requests({"spec": spec, "status": status or {}})["cpu"]


class TestPods:
    def test_containers_add_up(self) -> None:
        assert cpu_of({"containers": [container("a", "1"), container("b", "500m")]}) == 1_500

    def test_init_containers_run_one_by_one_before(self) -> None:
        spec = {"containers": [container("a", "1")], "initContainers": [container("i", "2"), container("j", "3")]}
        assert cpu_of(spec) == 3_000

    def test_sidecars_add_to_all_that_begins_after_them(self) -> None:
        sidecar = container("s", "1", restartPolicy="Always")
        late = {"containers": [container("a", "1")], "initContainers": [container("i", "3"), sidecar]}
        early = {"containers": [container("a", "1")], "initContainers": [sidecar, container("i", "3")]}
        assert cpu_of(late) == 3_000
        assert cpu_of(early) == 4_000

    def test_a_limit_is_the_request_where_none_is_given(self) -> None:
        assert cpu_of({"containers": [{"name": "a", "resources": {"limits": {"cpu": "2"}}}]}) == 2_000

    def test_pod_level_resources_take_their_place_and_overhead_is_added(self) -> None:
        spec = {
            "containers": [container("a", "1")],
            "resources": {"requests": {"cpu": "4"}},
            "overhead": {"cpu": "250m"},
        }
        assert cpu_of(spec) == 4_250

    def test_while_it_is_resized_the_larger_counts(self) -> None:
        status = {"containerStatuses": [{"name": "a", "allocatedResources": {"cpu": "2"}}]}
        assert cpu_of({"containers": [container("a", "1")]}, status) == 2_000

    def test_the_sums_of_its_status_contain_the_overhead_that_is_added_once_more(self) -> None:
        spec = {"containers": [container("a", "1")], "overhead": {"cpu": "250m"}}
        status = {"allocatedResources": {"cpu": "1250m"}, "resources": {"requests": {"cpu": "1250m"}}}
        whole = {**spec, "resources": {"requests": {"cpu": "1"}}}
        assert cpu_of(spec, status) == cpu_of(whole, status) == 1_500
        assert pod_requests({"spec": spec, "status": status}, by_sums=False)["cpu"] == 1_250

    def test_it_is_one_of_the_pods(self) -> None:
        assert pod_requests({"spec": {"containers": [container("a", "1")]}})["pods"] == 1_000
