"""The operator's pod template: what it may add, and one line for each field that it may not have."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from owmesos.errors import InvalidInput
from owmesos.kubernetes.pod_template import check_template
from tests.kubernetes.test_pod_manifest import body

GOOD = yaml.safe_load("""
apiVersion: v1
kind: Pod
metadata:
  labels: {team: blue, app.kubernetes.io/part-of: openwhisk}
  annotations: {sidecar.istio.io/inject: "false"}
spec:
  serviceAccountName: actions
  runtimeClassName: gvisor
  tolerations: [{key: dedicated, operator: Exists}]
  securityContext: {runAsNonRoot: true}
  affinity:
    nodeAffinity:
      preferredDuringSchedulingIgnoredDuringExecution: []
    podAntiAffinity: {}
  volumes: [{name: scratch, emptyDir: {}}]
  imagePullSecrets: [{name: hub}]
  containers:
  - name: user-action
    env: [{name: ZONE, value: a}, {name: __OW_API_HOST, value: theirs}]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [SYS_CHROOT]}}
""")


class TestMerge:
    def test_what_it_adds_is_there_and_ours_comes_last(self) -> None:
        made = body(settings={"template": GOOD, "pull_secrets": ("hub", "own")}, env={"__OW_API_HOST": "ours"})
        spec = made["spec"]
        assert made["metadata"]["labels"]["team"] == "blue"
        assert made["metadata"]["labels"]["app"] == "owmesos"
        assert made["metadata"]["annotations"]["sidecar.istio.io/inject"] == "false"
        assert made["metadata"]["annotations"]["owmesos/made-by"] == "invoker0/1"
        assert spec["serviceAccountName"] == "actions"
        assert [each["key"] for each in spec["tolerations"]][:1] == ["dedicated"]
        assert len(spec["tolerations"]) == 3
        assert spec["imagePullSecrets"] == [{"name": "hub"}, {"name": "own"}]
        affinity = spec["affinity"]
        assert "requiredDuringSchedulingIgnoredDuringExecution" in affinity["nodeAffinity"]
        assert affinity["podAntiAffinity"] == {}

    def test_its_container_and_ours_are_one(self) -> None:
        made = body(settings={"template": GOOD}, env={"__OW_API_HOST": "ours"}, parameters=(("cap-drop", "NET_RAW"),))
        (container,) = made["spec"]["containers"]
        assert container["image"] == "openwhisk/action-nodejs-v20"
        assert container["volumeMounts"] == [{"name": "scratch", "mountPath": "/scratch"}]
        assert container["env"] == [{"name": "ZONE", "value": "a"}, {"name": "__OW_API_HOST", "value": "ours"}]
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["SYS_CHROOT", "NET_RAW"]}

    def test_it_is_not_changed_itself(self) -> None:
        before = yaml.safe_dump(GOOD)
        body(settings={"template": GOOD})
        assert yaml.safe_dump(GOOD) == before


class TestRejected:
    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ({"nodeName": "n1"}, "spec.nodeName: owmesos chooses the node"),
            ({"nodeSelector": {"a": "b"}}, "use --node-selector"),
            ({"restartPolicy": "Always"}, "spec.restartPolicy: it is Never"),
            ({"terminationGracePeriodSeconds": 0}, "at least 1 second"),
            ({"schedulerName": "mine"}, "kube-scheduler"),
            ({"schedulingGates": []}, "gate"),
            ({"initContainers": [{"name": "i"}]}, "room would not be counted"),
            ({"resources": {"requests": {"cpu": "1"}}}, "room would not be counted"),
            ({"hostNetwork": True}, "meet at one port"),
            ({"automountServiceAccountToken": True}, "must not speak"),
            (
                {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}},
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution: owmesos chooses",
            ),
            ({"containers": [{"name": "other"}]}, "must be named 'user-action', not 'other'"),
            ({"containers": [{"name": "user-action"}, {"name": "user-action"}]}, "2 containers"),
            ({"containers": [{"name": "user-action", "image": "x"}]}, "image"),
            ({"containers": [{"name": "user-action", "command": ["x"]}]}, "command: owmesos sets it"),
            ({"containers": [{"name": "user-action", "resources": {}}]}, "memory limit"),
            ({"containers": [{"name": "user-action", "readinessProbe": {}}]}, "delay each cold start"),
            ({"containers": "x"}, "must be a list"),
            ({"tolerations": ["x"]}, "must be a mapping"),
        ],
    )
    def test_what_would_break_the_count(self, spec: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidInput, match="pod template cannot be used") as error:
            check_template({"spec": spec})
        assert said in str(error.value)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("template", "said"),
        [
            ([], "the document: it must be a mapping"),
            ({"kind": "Deployment"}, "kind: it must be Pod"),
            ({"apiVersion": "v2"}, "apiVersion: it must be v1"),
            ({"status": {}}, "status: only apiVersion, kind, metadata, spec"),
            ({"metadata": {"name": "x"}}, "metadata.name: only annotations, labels"),
            ({"metadata": {"labels": {"app": "x"}}}, "metadata.labels.app: owmesos sets it"),
            ({"metadata": {"labels": {"owmesos/invoker": "x"}}}, "metadata.labels.owmesos/invoker"),
            ({"spec": []}, "spec"),
        ],
    )
    def test_what_is_no_template(self, template: Any, said: str) -> None:
        with pytest.raises(InvalidInput) as error:
            check_template(template)
        assert said in str(error.value)

    def test_an_empty_one_and_one_with_empty_parts_are_fine(self) -> None:
        check_template({})
        check_template({"metadata": None, "spec": None})
        check_template(GOOD)
