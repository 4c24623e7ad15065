"""The Pod that a container is."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from owmesos.core.container_factory import ContainerSpec, HealthCheckSettings
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import StartContainer
from owmesos.errors import InvalidInput
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_manifest import grace_of, is_of_this_incarnation, is_ours, label_value, pod_body, pod_name
from owmesos.kubernetes.pod_requests import pod_request
from owmesos.openwhisk.container_specs import Launching, LaunchSettings
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.resources import Ask, Resources
from tests.kubernetes.factories import SETTINGS

ASK = Ask.of(cpus=0.064, mem=256, pods=1)
SPEC = ContainerSpec(name="wsk_run", ask=ASK, image="openwhisk/action-nodejs-v20", port=8080, deadline=60.0)
COMMAND = ContainerSpec(name="wsk_run", ask=ASK, command="exec python -m serve --port $PORT", deadline=60.0)
START = StartContainer("3fa9c1de-7", ContainerShape("nodejs:20", 256), Slot("node-1", "*"), ASK, (), False)


def body(spec: ContainerSpec = SPEC, settings: Any = None, **fields: Any) -> dict[str, Any]:
    changed = msgspec.structs.replace(spec, **fields)
    return pod_body(START, changed, msgspec.structs.replace(SETTINGS, **(settings or {})))


def container(*args: Any, **fields: Any) -> dict[str, Any]:
    (one,) = body(*args, **fields)["spec"]["containers"]
    return dict(one)


class TestPod:
    def test_it_is_pinned_and_left_to_kube_scheduler(self) -> None:
        spec = body()["spec"]
        assert "nodeName" not in spec
        (term,) = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
            "nodeSelectorTerms"
        ]
        assert term == {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["node-1"]}]}

    def test_its_name_is_the_containers_id_and_its_labels_say_whose_it_is(self) -> None:
        metadata = body(labels={"kind": "nodejs:20"})["metadata"]
        assert (metadata["name"], metadata["namespace"]) == ("3fa9c1de-7", "actions")
        assert metadata["labels"] == {
            "app": "owmesos",
            "owmesos/invoker": "invoker0",
            "owmesos/incarnation": "1",
            "owmesos/kind": "nodejs-20",
            "owmesos/purpose": "run",
        }

    def test_it_ends_once_and_speaks_for_nobody(self) -> None:
        spec = body()["spec"]
        assert spec["restartPolicy"] == "Never"
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False

    def test_it_leaves_a_lost_node_soon(self) -> None:
        keys = {each["key"]: each["tolerationSeconds"] for each in body()["spec"]["tolerations"]}
        assert keys == {"node.kubernetes.io/not-ready": 10, "node.kubernetes.io/unreachable": 10}

    @pytest.mark.parametrize(("asked", "given"), [(None, 2), (0.0, 1), (0.2, 1), (2.0, 2), (2.5, 3)])
    def test_its_grace_period_is_at_least_a_second(self, asked: float | None, given: int) -> None:
        assert body(kill_grace=asked)["spec"]["terminationGracePeriodSeconds"] == given
        assert grace_of(msgspec.structs.replace(SPEC, kill_grace=asked), SETTINGS) == given

    def test_settings_are_carried_over(self) -> None:
        given = {"node_selector": {"role": "invoker"}, "priority_class": "high", "pull_secrets": ("hub", "own")}
        spec = body(settings=given)["spec"]
        assert spec["nodeSelector"] == {"role": "invoker"}
        assert spec["priorityClassName"] == "high"
        assert spec["imagePullSecrets"] == [{"name": "hub"}, {"name": "own"}]

    def test_it_is_recognised_as_ours(self) -> None:
        shown = msgspec.convert(body(), Pod)
        assert is_ours(shown, SETTINGS)
        assert is_of_this_incarnation(shown, SETTINGS)
        later = msgspec.structs.replace(SETTINGS, incarnation="2")
        assert is_ours(shown, later)
        assert not is_of_this_incarnation(shown, later)
        assert not is_ours(shown, msgspec.structs.replace(SETTINGS, invoker="invoker1"))
        assert not is_ours(shown, msgspec.structs.replace(SETTINGS, namespace="other"))

    def test_it_takes_exactly_what_the_pool_has_reserved(self) -> None:
        assert pod_request(msgspec.convert(body(), Pod)) == Resources.of(cpus=0.064, mem=256, pods=1)


class TestContainer:
    def test_memory_is_limited_to_what_is_requested_and_cpus_are_not(self) -> None:
        resources = container()["resources"]
        assert resources == {"requests": {"cpu": "64m", "memory": "256Mi"}, "limits": {"memory": "256Mi"}}

    def test_the_image_is_pulled_if_it_is_not_there_or_always(self) -> None:
        assert container()["imagePullPolicy"] == "IfNotPresent"
        assert container(force_pull=True)["imagePullPolicy"] == "Always"

    def test_it_listens_where_the_spec_says(self) -> None:
        assert container(port=9000)["ports"] == [{"name": "action", "containerPort": 9000}]

    def test_a_command_runs_in_the_image_of_the_settings_and_is_told_where_to_listen(self) -> None:
        one = container(COMMAND, settings={"command_image": "python:3.13"}, env={"A": "1"})
        assert one["image"] == "python:3.13"
        assert one["command"] == ["/bin/sh", "-c", "exec python -m serve --port $PORT"]
        assert one["env"] == [
            {"name": "A", "value": "1"},
            {"name": "PORT", "value": "8080"},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ]

    def test_a_health_check_is_a_liveness_probe_and_nothing_delays_the_start(self) -> None:
        one = container(health_check=HealthCheckSettings(interval=2.5, timeout=0.5))
        assert one["livenessProbe"] == {
            "tcpSocket": {"port": 8080},
            "initialDelaySeconds": 25,
            "periodSeconds": 3,
            "timeoutSeconds": 1,
            "failureThreshold": 3,
        }
        assert "readinessProbe" not in one


class TestParameters:
    def test_what_openwhisk_gives_docker_is_carried_over(self) -> None:
        settings = LaunchSettings(dns_servers=("10.0.0.10",), dns_search=("svc",), dns_options=("ndots:2", "rotate"))
        spec = Launching(settings, embedded_manifest()).samples()[0]
        made = body(spec)["spec"]
        security = made["containers"][0]["securityContext"]
        assert security["capabilities"] == {"drop": ["NET_RAW", "NET_ADMIN"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert made["dnsConfig"] == {
            "nameservers": ["10.0.0.10"],
            "searches": ["svc"],
            "options": [{"name": "ndots", "value": "2"}, {"name": "rotate"}],
        }

    def test_further_ones(self) -> None:
        given = (("cap-drop", "CAP_SYS_CHROOT"), ("cap-add", "CHOWN"), ("read-only", "true"), ("env", "X=a=b"))
        one = container(parameters=given, user="1000", env={"X": "spec"})
        assert one["securityContext"] == {
            "seccompProfile": {"type": "RuntimeDefault"},
            "capabilities": {"drop": ["SYS_CHROOT"], "add": ["CHOWN"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": 1000,
        }
        assert one["env"] == [{"name": "X", "value": "a=b"}]

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"parameters": (("privileged", "true"),)}, "'privileged' has no equivalent"),
            ({"network": "host"}, "pod network, not in 'host': set network to bridge"),
            ({"user": "nobody"}, "must be a number, not 'nobody': give its uid"),
            ({"role": "web"}, "cannot have a role, as it is 'web': .* --node-selector"),
            ({"uris": ("http://host/file",)}, "files to fetch .* as .'http://host/file',.: put them into its image"),
        ],
    )
    def test_what_no_pod_can_have_is_rejected(self, fields: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            body(**fields)


class TestNames:
    @pytest.mark.parametrize("name", ["a", "3fa9c1de-7", "a" * 63])
    def test_a_dns_label_stays_as_it_is(self, name: str) -> None:
        assert pod_name(name) == name

    @pytest.mark.parametrize("name", ["A_b", "-a", "a-", "a" * 64, "ä", "", "Wsk_3fa9", "a.b"])
    def test_another_becomes_one(self, name: str) -> None:
        made = pod_name(name)
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", made)
        assert made == pod_name(name)

    def test_two_that_look_alike_stay_apart(self) -> None:
        assert pod_name("a_b") != pod_name("a.b")

    @pytest.mark.parametrize(
        ("text", "value"), [("nodejs:20", "nodejs-20"), (":x:", "x"), ("a" * 70, "a" * 63), ("", "")]
    )
    def test_label_values(self, text: str, value: str) -> None:
        assert label_value(text) == value
