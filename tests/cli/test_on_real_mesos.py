"""The command line on Apache Mesos: what the README promises."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from owmesos.local.build import Build
from tests.cli.running import Running, owmesos_process, running, started
from tests.fixtures.real_mesos import ClusterFactory
from tests.waiting import eventually_async, in_time

pytestmark = pytest.mark.real_mesos
SLEEP = ("launch", "--cpus", "0.1", "--mem", "64", "--command", "sleep 60")
LARGE = ("launch", "--cpus", "0.1", "--mem", "750", "--command", "sleep 60")


def left_in(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def launches(framework: Running) -> list[dict[str, Any]]:
    return (await framework.ask("launches", "-o", "json")).json  # type: ignore[no-any-return]


@pytest.mark.parametrize("driver", ["http", "pymesos"])
async def test_from_an_offer_to_containers_and_through_a_kill_9(
    mesos_cluster: ClusterFactory, tmp_path: Path, driver: str
) -> None:
    if driver == "pymesos":
        pytest.importorskip("pymesos", reason="pymesos is not installed: pip install ./compat/http-parser pymesos")
    cluster = mesos_cluster(agents=3)
    options = ("--master", cluster.master, "--state", str(tmp_path / "state"), "--driver", driver)
    async with running(*options) as framework:
        first = (await framework.ask(*SLEEP, "--count", "5", "--wait", "running", "-o", "json")).json
        assert [launch["state"] for launch in first] == ["RUNNING"] * 5
        assert (await framework.ask("reservations", "-o", "json")).json == []
        nodes = (await framework.ask("nodes", "-o", "json")).json
        assert sum(node["used"]["mem"] for node in nodes) == 5 * 64
        assert await used_at(cluster.master, 5 * 64)
        second = (await framework.ask(*LARGE, "--count", "3", "-o", "json")).json
        ids = [launch["launch_id"] for launch in second]
        # One whose ACCEPT is just being sent would be LOST: nobody could say whether it was.
        await eventually_async(lambda: the_only_pending(framework, ids), timeout=30)
        await framework.end(signal.SIGKILL)
    async with running(*options) as framework:
        waiting = await eventually_async(lambda: the_only_pending(framework, ids), timeout=30)
        lacks = r"of 3 agents, 3 lack memory; nearest: agent \S+ \(127.0.0.\d\) is [\d.]+ MB short"

        async def explained() -> bool:
            return re.search(lacks, (await framework.ask("explain", waiting)).out) is not None

        await eventually_async(explained, timeout=30)  # offers come a moment after the process has begun
        assert (await framework.ask("kill", *(launch["launch_id"] for launch in first))).code == 0
        await eventually_async(lambda: all_run(framework, ids), timeout=30)
        assert len(await launches(framework)) == 8
        # No launch has two tasks: the master knows of what three of them need.
        await eventually_async(lambda: used_at(cluster.master, 3 * 750))
        told = (await framework.ask("story", waiting, "-o", "json")).json
        assert "taken up again after a restart" in {line["text"] for line in told["story"]}
        assert (await framework.ask("teardown")).code == 0
        assert (await framework.ended()).code == 0


async def the_only_pending(framework: Running, ids: Sequence[str]) -> str | None:
    """Of launches that all others of run."""
    states = {row["launch_id"]: row["state"] for row in await launches(framework) if row["launch_id"] in ids}
    if sorted(states.values()) != ["PENDING", *["RUNNING"] * (len(ids) - 1)]:
        return None
    return next(launch_id for launch_id, state in states.items() if state == "PENDING")


async def all_run(framework: Running, ids: Sequence[str]) -> bool:
    return all(row["state"] == "RUNNING" for row in await launches(framework) if row["launch_id"] in ids)


async def used_at(master: str, mem: float) -> bool:
    seen = (await owmesos_process("nodes", "--master", master, "-o", "json")).json
    return sum(node["used"]["mem"] for node in seen) == mem


async def test_an_embedded_cluster_of_its_own(mesos_build: Build, tmp_path: Path) -> None:
    """`run --master local`: cluster, tasks and folder end with it."""
    variables = {"TMPDIR": str(tmp_path)}
    async with running("--master", "local", variables=variables) as framework:
        ran = await framework.ask(*SLEEP, "--wait", "running", "-o", "json")
        assert ran.json[0]["state"] == "RUNNING"
        assert (await framework.end()).code == 0
    assert left_in(tmp_path) == []


async def test_the_demo_of_plain_containers_leaves_nothing(mesos_build: Build, tmp_path: Path) -> None:
    began = time.monotonic()
    ran = await owmesos_process(
        "demo", "--launches", "--engine", "mesos", variables={"TMPDIR": str(tmp_path)}, timeout=60
    )
    assert ran.code == 0, ran.err
    assert time.monotonic() - began < 40
    assert ran.err == ""
    assert "waits: of 3 agents" in ran.out
    assert ran.out.splitlines()[-1].startswith("20 containers ran on 3 agents in ")
    assert ran.out.count("FINISHED") == 20
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("engine", ["simulator", "mesos"])
async def test_the_demo_of_actions_leaves_nothing(mesos_build: Build, tmp_path: Path, engine: str) -> None:
    ran = await owmesos_process("demo", "--engine", engine, variables={"TMPDIR": str(tmp_path)}, timeout=120)
    assert ran.code == 0, ran.err
    assert ran.err == ""
    assert "Three actions are invoked 300 times at once" in ran.out
    assert max(map(len, ran.out.splitlines())) <= 120
    assert "agent3 is gone" in ran.out
    assert "agent3 is back" in ran.out
    results, starts, _, placed, end = ran.out.splitlines()[-5:]
    said = re.fullmatch(
        r"(\d+) of 300 results are right, and (\d+) (?:was|were) running on the agent that was lost; .* s", results
    )
    assert said is not None
    assert int(said[1]) + int(said[2]) == 300
    assert int(said[2]) < 20
    assert re.match(r"starts: \d+ warm, \d+ prewarmed, [1-9]\d* cold; [1-9]\d* containers were stopped", starts)
    assert placed.startswith("over-provisioned: 0;")
    assert end.endswith("is torn down")
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("more", "seen"), [((), b"run"), (("--launches",), b"RUNNING")])
async def test_the_demo_is_interrupted(
    mesos_build: Build, tmp_path: Path, number: signal.Signals, more: tuple[str, ...], seen: bytes
) -> None:
    process = await started("demo", *more, variables={"TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    while seen not in await in_time(process.stdout.readline()):
        pass
    process.send_signal(number)
    _, err = await in_time(process.communicate())
    code = 130 if number == signal.SIGINT else 1
    assert (process.returncode, err) == (code, b"owmesos demo: interrupted; the framework is torn down\n")
    assert left_in(tmp_path) == []


async def test_the_demo_on_a_given_cluster(mesos_cluster: ClusterFactory) -> None:
    cluster = mesos_cluster(agents=3)
    ran = await owmesos_process("demo", "--master", cluster.master, timeout=60)
    assert ran.code == 0, ran.err
    assert await used_at(cluster.master, 0)


async def test_the_demo_says_when_its_containers_cannot_run(mesos_cluster: ClusterFactory) -> None:
    cluster = mesos_cluster(agents=1, resources="cpus:2;mem:300;ports:[{ports}]")
    ran = await owmesos_process("demo", "--master", cluster.master, timeout=90)
    assert ran.code == 1
    assert "did not finish: " in ran.err
    assert "larger than any agent" in ran.err
    assert "Traceback" not in ran.err
