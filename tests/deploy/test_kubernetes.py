"""deploy/kubernetes: that its parts fit together, that a real API server takes them, and that the rights suffice."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from owmesos.cli.kafka import KafkaOptions
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.core.pool.events import Dispatch, Run
from owmesos.kubernetes.leases import kept, lease_name, new_lease, taken
from owmesos.kubernetes.pod_template import check_template
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.kubernetes.wire.api_client import RIGHTS
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.kubeconfig import find_access
from owmesos.kubernetes.wire.lease_client import LeaseClient, lease_rights
from owmesos.openwhisk.store.couch_entities import Databases
from owmesos.openwhisk.whisk_config import WhiskConfig
from owmesos.service.admin_guard import OPEN
from owmesos.service.kubernetes.process import KubernetesProcess
from tests.cli.running import owmesos_process, running
from tests.servers.kubernetes.api import Api, ApiRefused
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.service.kubernetes.scene import RECIPE
from tests.waiting import eventually, eventually_async

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
SETTINGS = FOLDER.parents[1] / "docs" / "settings.md"
NAMESPACE = "openwhisk"
LEASE = lease_name("invoker0")
OBJECTS: list[dict[str, Any]] = [
    each
    for file in yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    for each in yaml.safe_load_all((FOLDER / file).read_text())
]
_PLACES = {"RoleBinding": "rolebindings", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles"}


def only(kind: str, name: str = "owmesos") -> dict[str, Any]:
    (found,) = (each for each in OBJECTS if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def container() -> dict[str, Any]:
    (found,) = only("Deployment")["spec"]["template"]["spec"]["containers"]
    return found


# -- what can be checked without a cluster


def test_the_roles_give_the_rights_that_are_asked_for_at_the_start_and_no_others() -> None:
    given = {
        (verb, group, resource, name, kind == "Role")
        for kind in ("Role", "ClusterRole")
        for rule in only(kind)["rules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for name in rule.get("resourceNames", [""])
    }
    needed = {
        (each.verb, each.group, "/".join(filter(None, (each.resource, each.subresource))), each.name, each.namespaced)
        for each in (*RIGHTS, *lease_rights(LEASE))
    }
    assert given == needed


def test_several_replicas_elect_a_leader() -> None:
    spec = only("Deployment")["spec"]
    assert spec["replicas"] > 1
    assert only("ConfigMap")["data"]["OWMESOS_HA"] == "true"
    spread = spec["template"]["spec"]["topologySpreadConstraints"][0]
    assert spread["labelSelector"] == spec["selector"]


def test_every_setting_is_an_option() -> None:
    of_run = SETTINGS.read_text().partition("\n## run\n")[2].partition("\n## ")[0]
    assert set(only("ConfigMap")["data"]) <= set(re.findall(r"`(OWMESOS_\w+)`", of_run))


def test_every_variable_of_openwhisk_is_read() -> None:
    values = {"CONFIG_whisk_couchdb_protocol": "http", "WHISK_API_HOST_PROTO": "http"}
    environment = {each["name"]: values.get(each["name"], "1") for each in container()["env"]}
    config = WhiskConfig(environment)
    settings = KafkaOptions(kafka="k:9092", instance=0).settings(FOLDER.parent / "runtimes.json", config)
    assert config.ignored() == []
    assert settings.couch.url == "http://1:1"


CHART = {
    "ConfigMap owdev-db.config": {
        "db_host": "owdev-couchdb.openwhisk.svc.cluster.local",
        "db_port": "5984",
        "db_protocol": "http",
        "db_whisk_actions": "test_whisks",
        "db_whisk_activations": "test_activations",
        "db_whisk_auths": "test_subjects",
    },
    "ConfigMap owdev-whisk.config": {
        "whisk_internal_api_host_name": "owdev-nginx.openwhisk.svc.cluster.local",
        "whisk_internal_api_host_port": "80",
        "whisk_internal_api_host_proto": "http",
    },
    "Secret owdev-db.auth": {"db_username": "whisk_admin", "db_password": "some_passw0rd"},
}
"""What openwhisk-deploy-kube 1.0.1 renders for the release `owdev` in the namespace `openwhisk`."""
CHART_KAFKA = "owdev-kafka-0.owdev-kafka.openwhisk.svc.cluster.local:9092"
CHART_TOLERATION = {"key": "openwhisk-role", "operator": "Equal", "value": "invoker", "effect": "NoSchedule"}


def test_every_name_is_one_that_the_chart_renders() -> None:
    environment = {}
    for each in container()["env"]:
        ((kind, place),) = each["valueFrom"].items()
        chart_kind = {"configMapKeyRef": "ConfigMap", "secretKeyRef": "Secret"}[kind]
        environment[each["name"]] = CHART[f"{chart_kind} {place['name']}"][place["key"]]
    settings = only("ConfigMap")["data"]
    config = WhiskConfig(environment)
    kafka = KafkaOptions(kafka=settings["OWMESOS_KAFKA"], instance=0)
    read = kafka.settings(FOLDER.parent / "runtimes.json", config)
    assert read.couch.url == "http://owdev-couchdb.openwhisk.svc.cluster.local:5984"
    assert read.couch.databases == Databases("test_whisks", "test_activations", "test_subjects")
    assert read.launches.api_host == "http://owdev-nginx.openwhisk.svc.cluster.local:80"
    assert settings["OWMESOS_KAFKA"] == CHART_KAFKA


def test_it_and_its_actions_go_where_the_chart_s_go() -> None:
    template = yaml.safe_load(only("ConfigMap", "owmesos-files")["data"]["pod-template.yaml"])
    assert only("Deployment")["spec"]["template"]["spec"]["tolerations"] == [CHART_TOLERATION]
    assert template["spec"]["tolerations"] == [CHART_TOLERATION]
    assert template["metadata"]["labels"] == {"user-action-pod": "true", "release": "owdev"}
    assert only("ConfigMap")["data"]["OWMESOS_NODE_SELECTOR"] == "openwhisk-role=invoker"
    assert only("Deployment")["spec"]["template"]["metadata"]["labels"]["name"] == "owdev-invoker"


def test_the_pod_template_may_be_merged() -> None:
    check_template(yaml.safe_load(only("ConfigMap", "owmesos-files")["data"]["pod-template.yaml"]))


def test_the_files_that_settings_name_are_mounted() -> None:
    mounts = [each["mountPath"] for each in container()["volumeMounts"]]
    for name, value in only("ConfigMap")["data"].items():
        if value.startswith("/"):
            assert any(value.startswith(f"{mount}/") for mount in mounts), name


def test_the_probes_ask_what_needs_no_token() -> None:
    for probe in ("livenessProbe", "readinessProbe"):
        *_, code, path = container()[probe]["exec"]["command"]
        assert f"/{path}" in OPEN
        assert "http://127.0.0.1:8686/" in code


def test_the_chart_s_policies_know_the_pods() -> None:
    labels = only("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["name"].endswith("-invoker")
    assert only("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()


# -- on a real Kubernetes


@pytest.fixture
def in_namespace(kubernetes_namespace: str) -> list[dict[str, Any]]:
    """The objects, for the test's own namespace; what belongs to no namespace has a name of its own."""
    text = json.dumps(OBJECTS).replace(f'"namespace": "{NAMESPACE}"', f'"namespace": "{kubernetes_namespace}"')
    objects: list[dict[str, Any]] = json.loads(text)
    for each in objects:
        if each["kind"].startswith("Cluster"):
            each["metadata"]["name"] = kubernetes_namespace
            if "roleRef" in each:
                each["roleRef"]["name"] = kubernetes_namespace
    return objects


def path_of(each: dict[str, Any]) -> str:
    version, kind, metadata = each["apiVersion"], each["kind"], each["metadata"]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
    return f"{group}{place}/{_PLACES.get(kind, kind.lower() + 's')}"


@pytest.mark.kubernetes
def test_the_api_server_takes_each(kubernetes_cluster: KubernetesCluster, in_namespace: list[dict[str, Any]]) -> None:
    with kubernetes_cluster.api() as api:
        for each in in_namespace:
            made = api.post(f"{path_of(each)}?dryRun=All&fieldValidation=Strict", each)
            assert made["metadata"]["uid"], each["kind"]


@pytest.mark.kubernetes
def test_kubectl_takes_the_whole(kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("needs kubectl")
    built = subprocess.run([kubectl, "kustomize", str(FOLDER)], capture_output=True, text=True, check=True).stdout
    command = [kubectl, "--kubeconfig", str(kubernetes_cluster.kubeconfig), "apply", "--dry-run=server", "-f", "-"]
    text = built.replace(f"namespace: {NAMESPACE}", f"namespace: {kubernetes_namespace}")
    ran = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("(server dry run)") == len(OBJECTS)


@pytest.fixture
def account(
    kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, in_namespace: list[dict[str, Any]], tmp_path: Path
) -> Iterator[Path]:
    """A kubeconfig of the service account, with a token as a pod of it gets one."""
    rbac = [each for each in in_namespace if each["kind"] not in ("ConfigMap", "Deployment")]
    with kubernetes_cluster.api() as api:
        for each in rbac:
            api.post(path_of(each), each)
        accounts = f"/api/v1/namespaces/{kubernetes_namespace}/serviceaccounts"
        token = api.post(f"{accounts}/owmesos/token", {"spec": {"expirationSeconds": 3600}})["status"]["token"]
    file = tmp_path / "kubeconfig"
    file.touch(mode=0o600)
    cluster = {"server": kubernetes_cluster.url, "certificate-authority": str(kubernetes_cluster.authority)}
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "pod",
                "contexts": [
                    {"name": "pod", "context": {"cluster": "c", "user": "u", "namespace": kubernetes_namespace}}
                ],
                "clusters": [{"name": "c", "cluster": cluster}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )
    )
    yield file
    with kubernetes_cluster.api() as api:
        for each in rbac:
            if each["kind"].startswith("Cluster"):
                api.delete(f"{path_of(each)}/{each['metadata']['name']}")


@pytest.mark.kubernetes
@pytest.mark.timeout(180)
def test_the_rights_suffice_for_an_action_and_its_log(account: Path, tmp_path: Path) -> None:
    """With the pod template of the ConfigMap."""
    template = tmp_path / "pod-template.yaml"
    template.write_text(only("ConfigMap", "owmesos-files")["data"]["pod-template.yaml"])
    action = tmp_path / "hello.py"
    action.write_text('def main(args):\n    print("seen")\n    return {"hello": args["name"]}\n')
    options = ("--cluster", "kubernetes", "--standalone", "--kubeconfig", str(account))
    flags = (*options, "--pod-template", str(template), "--state", str(tmp_path / "state"))

    async def scene() -> None:
        checked = await owmesos_process("doctor", *flags)
        assert checked.code == 0, checked.out
        async with running(*flags) as process:
            assert (await process.ask("action", "create", "hello", str(action))).code == 0
            ran = await process.ask("invoke", "hello", "--param", "name", "pod", "--result")
            assert ran.json == {"hello": "pod"}
            assert (await process.ask("activation", "logs", "--last")).out.rstrip().endswith("stdout: seen")

    asyncio.run(scene())


@pytest.mark.kubernetes
async def test_the_rights_suffice_for_its_lease_and_for_no_other(account: Path, kubernetes_namespace: str) -> None:
    access, now = find_access(account, None, {}), "2026-01-02T03:04:05.678901Z"
    async with LeaseClient(access, kubernetes_namespace, LEASE) as client:
        assert await client.read() is None
        made = await client.create(taken(new_lease(kubernetes_namespace, "invoker0"), "a", "http://a:1", 4, now))
        await client.replace(kept(made.document, "2026-01-02T03:04:06.678901Z"))
    async with LeaseClient(access, kubernetes_namespace, "another") as client:
        with pytest.raises(ApiRequestFailed, match="RBAC forbids"):
            await client.read()


@pytest.mark.kubernetes
def test_the_account_can_read_no_secret_and_change_no_pod_of_others(
    account: Path, kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str
) -> None:
    token = json.loads(account.read_text())["users"][0]["user"]["token"]
    host, port = re.findall(r"https://(.+):(\d+)", kubernetes_cluster.url)[0]
    with Api(host, int(port), token, kubernetes_cluster.authority) as api:
        assert api.get("/api/v1/pods?limit=1")["kind"] == "PodList"
        for path in (f"/api/v1/namespaces/{kubernetes_namespace}/secrets", "/api/v1/secrets"):
            with pytest.raises(ApiRefused, match="403"):
                api.get(path)
        with pytest.raises(ApiRefused, match="403"):
            api.delete("/api/v1/namespaces/default/pods/any")


# -- an API server that has too much to do

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"


@contextmanager
def one_write_at_a_time(cluster: KubernetesCluster, namespace: str) -> Iterator[None]:
    """For the service account, by API Priority and Fairness: others are not queued, but answered with 429."""
    none = {"nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0}
    limited = {**none, "limitResponse": {"type": "Reject"}}
    subject = {"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": "owmesos"}}
    writes = {"verbs": ["create", "delete"], "apiGroups": [""], "resources": ["pods"], "namespaces": [namespace]}
    schema = {
        "priorityLevelConfiguration": {"name": namespace},
        "matchingPrecedence": 50,
        "rules": [{"subjects": [subject], "resourceRules": [writes]}],
    }
    levels, schemas = f"{FLOW}/prioritylevelconfigurations", f"{FLOW}/flowschemas"
    with cluster.api() as api:
        api.post(levels, {"metadata": {"name": namespace}, "spec": {"type": "Limited", "limited": limited}})
        api.post(schemas, {"metadata": {"name": namespace}, "spec": schema})

        def is_in_force() -> bool:
            conditions = api.get(f"{schemas}/{namespace}").get("status", {}).get("conditions", [])
            return ("Dangling", "False") in [(each["type"], each["status"]) for each in conditions]

        eventually(is_in_force)
        try:
            yield
        finally:
            api.delete(f"{schemas}/{namespace}")
            api.delete(f"{levels}/{namespace}")


@pytest.mark.kubernetes
@pytest.mark.timeout(900)
async def test_starts_and_stops_wait_where_the_account_has_a_limit_and_none_is_lost_or_made_twice(
    account: Path, kubernetes_cluster: KubernetesCluster, kubernetes_namespace: str, caplog: pytest.LogCaptureFixture
) -> None:
    def living() -> list[str]:
        with kubernetes_cluster.api() as api:
            found = api.get(f"/api/v1/namespaces/{kubernetes_namespace}/pods")["items"]
        return [each["metadata"]["name"] for each in found if each["status"]["phase"] not in ("Succeeded", "Failed")]

    runs = [f"r{number}" for number in range(12)]
    settings = KubernetesSettings(namespace=kubernetes_namespace, invoker="busy")
    rejected: Counter[str] = Counter()

    async def starts_and_stops() -> None:
        caplog.clear()
        async with KubernetesProcess(find_access(account), RECIPE, settings) as process:
            given: list[str] = []
            process.host.pool_listeners.append(
                lambda event: given.append(event.run_id) if isinstance(event, Dispatch) else None
            )
            await eventually_async(lambda: process.health()["subscribed"])
            for run_id in runs:
                action = PoolAction(f"of-{run_id}", "0.0.1", ContainerShape("python:3", 128))
                process.host.observe(Run(run_id, action, "guest"))
            await eventually_async(lambda: len(given) == len(runs), 180.0)  # kubelets may have no turn
            counts = process.host.outbox.counts
            assert (sorted(given), counts["create", "ok"], len(living())) == (sorted(runs), 12, 12)
            if counts["create", "TooManyRequests"]:
                shown = process.status()["cluster"]
                assert shown["connected"]
                assert "requests for pods were rejected since" in str(shown["reason"])
            assert await process.host.stop_containers(60.0)
            assert living() == []
            now = {verb: counts[verb, "TooManyRequests"] for verb in ("create", "delete")}
        said = sum("takes no more requests for now" in record.message for record in caplog.records)
        assert said == (1 if any(now.values()) else 0)
        rejected.update(now)

    with one_write_at_a_time(kubernetes_cluster, kubernetes_namespace):
        for _ in range(5):  # on a busy machine the requests may come one after the other by chance
            await starts_and_stops()
            if min(rejected["create"], rejected["delete"]):
                return
    pytest.fail(f"nothing was rejected of what is to wait: {rejected}")
