"""The real Kubernetes of the tests: how it is built, that it is as real as it says, and that it ends."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.local.proc import started_at
from owmesos.system.file_lock import FileLock
from tests.fixtures.kubernetes import KubernetesFactory
from tests.servers.kubernetes import build as building
from tests.servers.kubernetes.api import Api, ApiRefused, Json
from tests.servers.kubernetes.build import Build, BuildFailed, build, expected_build
from tests.servers.kubernetes.cluster import KubernetesCluster
from tests.servers.kubernetes.parts import API_PORT
from tests.servers.process import ServerMissing
from tests.waiting import eventually

GO = """\
#!/bin/sh
case $1 in
env) echo {version} ;;
build)
  echo go build "$@" >&2
  {build}
  while [ "$1" != -o ]; do shift; done
  printf '#!/bin/sh\\necho "kind: Stage"\\n' > "$2"
  chmod +x "$2" ;;
esac
"""


class TestBuild:
    """With a program `go` that only pretends."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
        (tmp_path / "bin").mkdir()
        return tmp_path

    def go(self, folder: Path, version: str = "go1.26.1", build: str = "true") -> None:
        program = folder / "bin" / "go"
        program.write_text(GO.format(version=version, build=build))
        program.chmod(0o755)

    def test_it_is_made_once(self, folder: Path) -> None:
        self.go(folder, build=f"echo >> {folder / 'builds'}")
        first, second = build(lambda _: None, folder), build(lambda _: None, folder)
        assert first == second == expected_build(folder)
        assert first.stages.read_text() == "kind: Stage\n"
        assert (folder / "builds").read_text() == "\n"

    def test_a_build_that_fails_leaves_nothing_and_says_why(self, folder: Path) -> None:
        self.go(folder, build="echo 'main.go:1: syntax error' >&2; exit 1")
        with pytest.raises(BuildFailed, match="syntax error"):
            build(lambda _: None, folder)
        assert not expected_build(folder).exists
        assert not list(expected_build(folder).folder.parent.glob("unfinished-*"))

    def test_two_at_once_wait_for_each_other(self, folder: Path) -> None:
        self.go(folder, build=f"echo >> {folder / 'builds'}")
        home = expected_build(folder).folder.parent
        home.mkdir(parents=True)
        other = FileLock(home / "lock")
        assert other.acquire(0)
        waits = threading.Event()
        made: list[Build] = []
        thread = threading.Thread(target=lambda: made.append(build(lambda _: waits.set(), folder)))
        thread.start()
        assert waits.wait(30)
        assert not (folder / "builds").exists()
        other.release()
        thread.join(30)
        assert made == [expected_build(folder)]

    def test_other_sources_are_another_build(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sources = folder / "program"
        sources.mkdir()
        for file in building.SOURCES.iterdir():
            (sources / file.name).write_bytes(file.read_bytes())
        before = expected_build(folder)
        monkeypatch.setattr(building, "SOURCES", sources)
        assert expected_build(folder) == before
        (sources / "node.go").write_text("package main\n")
        assert expected_build(folder) != before

    def test_an_older_go_is_named(self, folder: Path) -> None:
        self.go(folder, version="go1.25.4")
        with pytest.raises(ServerMissing, match=r"needs Go 1\.26 or newer: .*go is go1\.25\.4"):
            build(lambda _: None, folder)

    def test_without_go_it_says_where_to_get_it(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr(building, "USUAL_PLACE", folder / "none")
        with pytest.raises(ServerMissing, match=r"needs Go 1\.26 or newer: no go on the PATH, .*go\.dev/dl"):
            build(lambda _: None, folder)


def pod(name: str, *command: str, image: str = "any", memory: str = "64Mi") -> Json:
    room = {"cpu": "100m", "memory": memory}
    container = {"name": "main", "image": image, "resources": {"requests": room, "limits": room}}
    if command:
        container["command"] = list(command)
    spec = {"containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"metadata": {"name": name}, "spec": spec}


@pytest.mark.kubernetes
class TestCluster:
    @pytest.fixture
    def api(self, kubernetes_cluster: KubernetesCluster) -> Iterator[Api]:
        with kubernetes_cluster.api() as api:
            yield api

    @pytest.fixture
    def pods(self, kubernetes_namespace: str) -> str:
        return f"/api/v1/namespaces/{kubernetes_namespace}/pods"

    def becomes(self, api: Api, path: str, phase: str) -> Json:
        return (
            eventually(
                lambda: found if (found := api.get(path))["status"]["phase"] == phase else None,
                what=f"{path} is {phase}",
            )
            or {}
        )

    def test_a_pod_is_a_process_at_an_address_of_its_own(self, api: Api, pods: str) -> None:
        serve = f"exec {sys.executable} -u -m http.server 8080 --bind $HOST"
        api.post(pods, pod("serves", "sh", "-c", serve))
        address = self.becomes(api, f"{pods}/serves", "Running")["status"]["podIP"]
        log = f"{pods}/serves/log"
        eventually(lambda: f"Serving HTTP on {address}" in api.text("GET", log), what="the log says where it serves")

    def test_an_image_of_an_invalid_registry_cannot_be_pulled(self, api: Api, pods: str) -> None:
        api.post(pods, pod("lacks", image="registry.invalid/no:1"))
        path = f"{pods}/lacks"

        def reason() -> str:
            statuses = api.get(path)["status"].get("containerStatuses", [{"state": {}}])
            return str(statuses[0]["state"].get("waiting", {}).get("reason"))

        eventually(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"), what="the image cannot be pulled")

    def test_a_container_that_exceeds_its_memory_is_killed(self, api: Api, pods: str) -> None:
        api.post(pods, pod("greedy", sys.executable, "-c", "x = 'x' * 200_000_000; input()"))
        status = self.becomes(api, f"{pods}/greedy", "Failed")["status"]["containerStatuses"][0]
        ended = status["state"]["terminated"]
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)

    def test_who_has_no_role_may_do_nothing(self, api: Api, pods: str, kubernetes_cluster: KubernetesCluster) -> None:
        account = pods.replace("/pods", "/serviceaccounts/default/token")
        token = api.post(account, {"spec": {}})["status"]["token"]
        place = kubernetes_cluster.place
        with (
            Api(place.control, API_PORT, token, place.authority) as stranger,
            pytest.raises(ApiRefused, match="cannot list resource") as refused,
        ):
            stranger.get(pods)
        assert refused.value.status == 403

    def test_only_its_user_may_read_its_secrets(self, kubernetes_cluster: KubernetesCluster) -> None:
        folder = kubernetes_cluster.place.folder
        files = [
            kubernetes_cluster.kubeconfig,
            *(folder / name for name in ("token", "tokens.csv", "service-accounts.key")),
        ]
        assert [stat.S_IMODE(each.stat().st_mode) for each in files] == [0o600] * 4

    def test_it_ends_with_the_process_that_started_it(self, kubernetes_build: Build, tmp_path: Path) -> None:
        program = (
            "import json, sys\nfrom pathlib import Path\n"
            "from tests.fixtures.kubernetes import running_kubernetes\n"
            "from tests.servers.kubernetes.build import Build\n"
            "folder, build = map(Path, sys.argv[1:])\n"
            "with running_kubernetes(folder, Build(build), nodes=1) as cluster:\n"
            "    print(json.dumps(cluster.status()), flush=True)\n    input()\n"
        )
        command = [sys.executable, "-c", program, str(tmp_path), str(kubernetes_build.folder)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, env=environment) as owner:
            assert owner.stdout is not None
            pids = json.loads(owner.stdout.readline()).values()
            assert len(pids) == 5
            owner.kill()
            eventually(lambda: not any(map(started_at, pids)), what="all of it has ended")


@pytest.mark.kubernetes
class TestFaults:
    def test_nodes_and_the_api_server_come_and_go(self, kubernetes_clusters: KubernetesFactory) -> None:
        cluster = kubernetes_clusters(nodes=1, kwok=20)
        with cluster.api() as api:
            api.post("/api/v1/namespaces/default/pods", pod("first"))
            assert len(api.get("/api/v1/nodes")["items"]) == 21
        cluster.kill_api_server()
        cluster.start_api_server()
        added = cluster.add_node()
        cluster.kill_node(added)
        cluster.start_node(added)
        with cluster.api() as api:
            assert api.get("/api/v1/namespaces/default/pods/first")["metadata"]["name"] == "first"
            assert len(api.get("/api/v1/nodes")["items"]) == 22
