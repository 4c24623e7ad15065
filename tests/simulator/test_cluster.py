"""A simulated cluster from outside: its verbs, its tasks' files, its masters."""

from __future__ import annotations

import http.client
import json
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from owmesos.errors import InvalidInput
from owmesos.local.proc import with_variable
from owmesos.simulator import SimulatedCluster, SimulatorError
from tests.local.plain_scheduler import Json, PlainScheduler, agents, operator
from tests.simulator.raw import post
from tests.waiting import eventually


def get(offer: Json, path: str) -> tuple[int, object]:
    """From the agent of an offer."""
    address = offer["url"]["address"]
    connection = http.client.HTTPConnection(address["hostname"], address["port"], timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, json.loads(body) if answer.status == 200 and "json" in answer.headers[
        "Content-Type"
    ] else body


class TestVerbs:
    def test_up_status_down(self) -> None:
        cluster = SimulatedCluster(agents=2)
        cluster.up()
        assert [(each.name, each.alive) for each in cluster.status()] == [
            ("master", True),
            ("agent1", True),
            ("agent2", True),
        ]
        master = cluster.master
        assert set(agents(master)) == {"127.0.0.1", "127.0.0.2"}
        cluster.down()
        cluster.down()
        with pytest.raises(ConnectionRefusedError):
            agents(master)

    def test_an_agent_that_is_killed_answers_no_more_and_its_task_lives_on(self) -> None:
        with SimulatedCluster(agents=1) as cluster, PlainScheduler(cluster.master) as scheduler:
            offer = scheduler.launch("t1", {"value": "exec sleep 600"})
            scheduler.states("TASK_RUNNING")
            cluster.kill("agent1")
            with pytest.raises(ConnectionRefusedError):
                get(offer, "/health")
            assert len(with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id)) == 1
            cluster.start("agent1")
            cluster.wait_registered()
            scheduler.kill("t1")
            assert scheduler.update()["state"] == "TASK_KILLED"

    def test_what_is_not_there(self, cluster: SimulatedCluster) -> None:
        for verb in (cluster.kill, cluster.start, cluster.work_folder):
            with pytest.raises(SimulatorError, match="unknown daemon 'agent9': use one of master, agent1"):
                verb("agent9")
        with pytest.raises(SimulatorError, match="is already running"):
            cluster.start("agent1")

    @pytest.mark.parametrize(
        "settings",
        [
            {"agents": -1},
            {"resources": "cpus=1"},
            {"resources": "widgets:1"},
            {"resources": ["cpus:1"]},
            {"attributes": "rack"},
            {"master_flags": {"no_such_flag": "1"}},
            {"master_flags": {"allocation_interval": "soon"}},
            {"agent_flags": {"no_such_flag": "1"}},
        ],
    )
    def test_wrong_settings(self, settings: dict[str, object]) -> None:
        with pytest.raises(InvalidInput):
            SimulatedCluster(**settings)  # type: ignore[arg-type]

    def test_no_task_survives_the_end(self) -> None:
        with SimulatedCluster(agents=1) as cluster, PlainScheduler(cluster.master) as scheduler:
            scheduler.launch("t1", {"value": "trap '' TERM; sleep 600"})
            scheduler.states("TASK_RUNNING")
        eventually(lambda: not with_variable("MESOS_FRAMEWORK_ID", scheduler.framework_id), what="no task is left")


class TestMasters:
    def test_a_standby_redirects_to_the_leader_and_takes_over(self) -> None:
        with SimulatedCluster(agents=1, masters=2) as cluster:
            first, second = cluster.masters.split(",")
            status, _, headers = post(second, {"type": "GET_AGENTS"}, path="/api/v1")
            assert (status, headers["Location"]) == (307, f"//{first}/api/v1")
            known = agents(first)["127.0.0.1"]["agent_info"]["id"]
            cluster.kill("master")
            eventually(
                lambda: agents(second)["127.0.0.1"]["agent_info"]["id"] == known,
                retry_on=(KeyError, OSError),
                what="the agent is back, as the one that it was",
            )

    def test_a_master_that_recovers_says_so(self) -> None:
        with SimulatedCluster(agents=1) as cluster:
            cluster.kill("master")
            cluster.start("master")
            assert post(cluster.master, {"type": "GET_AGENTS"}, path="/api/v1")[:2] == (
                503,
                "Master has not finished recovery",
            )
            eventually(lambda: agents(cluster.master), retry_on=(OSError,))

    def test_who_is_not_known_is_401(self, tmp_path: Path) -> None:
        file = tmp_path / "credentials"
        file.write_text(json.dumps({"credentials": [{"principal": "me", "secret": "xyzzy"}]}))
        flags = {"credentials": str(file), "authenticate_http_frameworks": "true"}
        with SimulatedCluster(agents=0, master_flags=flags) as cluster:
            status, text, headers = post(cluster.master, {"type": "REVIVE"})
            assert (status, text) == (401, "401 Unauthorized.")
            assert headers["WWW-Authenticate"].startswith("Basic realm=")


class TestFiles:
    """The paths are those of a real agent."""

    def test_a_tasks_output_is_served(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        offer = scheduler.launch("t1", {"value": "echo hello; echo oh >&2; pwd"})
        scheduler.states("TASK_FINISHED")
        folder = f"/frameworks/{scheduler.framework_id}/executors/t1/runs/latest"
        _, found = get(offer, f"/files/read?path={quote(folder)}/stdout&offset=0")
        assert isinstance(found, dict)
        assert found["data"].startswith("hello\n")
        real = found["data"].splitlines()[1]
        assert get(offer, f"/files/download?path={quote(real)}/stderr") == (200, b"oh\n")
        _, listed = get(offer, f"/files/browse?path={quote(folder)}")
        assert isinstance(listed, list)
        assert [Path(each["path"]).name for each in listed] == ["stderr", "stdout"]
        assert get(offer, f"/files/read?path={quote(folder)}/stdout&offset=-1") == (
            200,
            {"data": "", "offset": len(found["data"])},
        )

    @pytest.mark.parametrize("name", ["code.tgz", "code.tar", "code.zip"])
    def test_archives_are_unpacked_into_the_sandbox(self, name: str, scheduler: PlainScheduler, tmp_path: Path) -> None:
        (tmp_path / "code").mkdir()
        (tmp_path / "code" / "file").write_text("there")
        kind = {"code.tgz": "gztar", "code.tar": "tar", "code.zip": "zip"}[name]
        made = shutil.make_archive(str(tmp_path / "made"), kind, tmp_path, "code")
        archive = Path(made).rename(tmp_path / name)
        command = f'test "$(cat code/file)" = there -a -f {name}'
        scheduler.launch("t1", {"value": command, "uris": [{"value": str(archive)}]})
        assert "TASK_FINISHED" in scheduler.states("TASK_FINISHED")

    @pytest.mark.parametrize("name", ["code.tgz", "code.zip"])
    def test_a_broken_archive_fails_its_task(self, name: str, scheduler: PlainScheduler, tmp_path: Path) -> None:
        (tmp_path / name).write_bytes(b"no archive")
        scheduler.launch("t1", {"value": "true", "uris": [{"value": str(tmp_path / name)}]})
        assert "TASK_FAILED" in scheduler.states("TASK_FAILED")

    @pytest.mark.parametrize("path", ["/etc/passwd", "/frameworks/../../../../etc/passwd", "/nonsense", "\0"])
    def test_nothing_else_of_this_machine_is(
        self, cluster: SimulatedCluster, scheduler: PlainScheduler, path: str
    ) -> None:
        offer = scheduler.launch("t1", {"value": "true"})
        scheduler.states("TASK_FINISHED")
        for verb in ("read", "browse", "download"):
            assert get(offer, f"/files/{verb}?path={quote(path)}")[0] == 404

    def test_read_file_gives_64_kib_at_most(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        offer = scheduler.launch("t1", {"value": "head -c 100000 /dev/zero"})
        scheduler.states("TASK_FINISHED")
        address = "{hostname}:{port}".format(**offer["url"]["address"])
        path = f"/frameworks/{scheduler.framework_id}/executors/t1/runs/latest/stdout"
        call = {"type": "READ_FILE", "read_file": {"path": path, "offset": 0, "length": 10**7}}
        status, text, _ = post(address, call, path="/api/v1")
        answer = json.loads(text)["read_file"]
        assert (status, answer["size"], len(answer["data"]) * 3 // 4 // 1024) == (200, 100_000, 64)
        call["read_file"] = {"path": path}
        assert post(address, call, path="/api/v1")[:2] == (
            400,
            "Failed to convert JSON into Call protobuf: Missing required fields: read_file.offset",
        )

    def test_an_agent_tells_its_containers(self, cluster: SimulatedCluster, scheduler: PlainScheduler) -> None:
        offer = scheduler.launch("t1", {"value": "exec sleep 600"})
        scheduler.states("TASK_RUNNING")
        address = "{hostname}:{port}".format(**offer["url"]["address"])
        (container,) = operator(address, "GET_CONTAINERS")["containers"]
        assert container["executor_id"] == {"value": "t1"}
        assert container["resource_statistics"]["cpus_limit"] == pytest.approx(0.2)
        assert container["resource_statistics"]["mem_limit_bytes"] == 64 * 1024 * 1024
