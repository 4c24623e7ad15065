"""`scripts/kubernetes`: what a newcomer sees of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from owmesos.local.proc import started_at
from tests.servers.kubernetes import __main__ as command
from tests.servers.kubernetes import build as building
from tests.servers.kubernetes.api import Api
from tests.servers.kubernetes.build import Build, build
from tests.servers.kubernetes.parts import API_PORT

SCRIPT = Path(__file__).parents[2] / "scripts" / "kubernetes"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OWMESOS_PYTHON": sys.executable}
    words = [str(SCRIPT), *map(str, arguments)]
    return subprocess.run(words, env=environment, capture_output=True, text=True, timeout=240, check=False)


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letter").write_text("")
    said = run("up", tmp_path)
    assert said.returncode == 2
    assert said.stderr == (
        f"kubernetes: {tmp_path} holds other files, and `down` would remove them: choose an empty FOLDER\n"
    )
    assert [each.name for each in tmp_path.iterdir()] == ["letter"]


@pytest.mark.parametrize("word", ["down", "status"])
def test_where_there_is_no_cluster_it_says_how_to_begin(word: str, tmp_path: Path) -> None:
    said = run(word, tmp_path)
    assert said.returncode == 2
    assert said.stderr == (f"kubernetes: no cluster was brought up in {tmp_path}: begin with `scripts/kubernetes up`\n")
    assert tmp_path.exists()


@pytest.mark.parametrize("text", ["-1", "many", "101"])
def test_a_wrong_number_of_nodes_is_named(text: str, tmp_path: Path) -> None:
    said = run("up", f"--nodes={text}", tmp_path)
    assert said.returncode == 2
    assert f"argument --nodes: a number from 0 to 100 is needed, not '{text}'" in said.stderr


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    said = run("status", tmp_path)
    assert said.returncode == 2
    assert f"{tmp_path / 'cluster.json'} is damaged" in said.stderr


def test_without_go_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_go(progress: building.Progress) -> Build:
        return build(progress, tmp_path / "cache")

    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(building, "USUAL_PLACE", tmp_path / "none")
    monkeypatch.setattr(command, "build", no_go)
    assert command.main(["build"]) == 3
    assert "needs Go 1.26 or newer" in capsys.readouterr().err


@pytest.mark.kubernetes
def test_it_runs_until_down(kubernetes_build: Build, tmp_path: Path) -> None:
    assert kubernetes_build.exists
    folder = tmp_path / "cluster"
    try:
        first = run("up", "--nodes", "1", "--kwok", "2", folder)
        assert first.returncode == 0, first.stderr
        export, following = first.stdout.splitlines()
        assert export == f"export KUBECONFIG={folder / 'kubeconfig'}"
        assert following.endswith("owmesos run --cluster kubernetes --standalone")
        status = run("status", folder)
        pids = dict(line.split() for line in status.stdout.splitlines())
        assert status.returncode == 0
        assert {*pids} == {
            *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "node-1"),
        }
        os.kill(int(pids["node-1"]), 9)
        assert run("status", folder).returncode == 1
        other = run("up", "--nodes", "2", folder)
        assert (other.returncode, "was brought up with --nodes 1 --kwok 2" in other.stderr) == (2, True)
        again = run("up", folder)
        assert (again.returncode, again.stdout) == (0, first.stdout)
        assert run("status", folder).returncode == 0
        assert nodes(folder) == 3
    finally:
        down = run("down", folder)
    assert down.returncode == 0
    assert not folder.exists()
    assert not any(started_at(int(pid)) for pid in pids.values())


def nodes(folder: Path) -> int:
    server = next(line for line in (folder / "kubeconfig").read_text().splitlines() if "server:" in line)
    host = server.split("https://")[1].split(":")[0]
    authority = folder / "kube-apiserver" / "certs" / "apiserver.crt"
    with Api(host, API_PORT, (folder / "token").read_text(), authority) as api:
        return len(api.get("/api/v1/nodes")["items"])
