"""`owmesos status`: a screen that somebody on call reads in ten seconds."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from typing import Any

import pytest
from rich.console import Console

from owmesos.cli.status import screen
from owmesos.mesos.listings import instant
from tests.cli.conftest import Ask
from tests.cli.running import Ran, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.terminal import Terminal
from tests.waiting import eventually_async

AGENT = "1824489b-dd67-4081-a98a-8e6605539d2f-S7"
AMOUNTS = {"cpus": 1.0, "mem": 2048.0, "disk": 0.0, "gpus": 0.0}
SERVER = {"state": "up", "since": "2026-01-01T00:00:00Z", "address": "h:1", "reason": None, "advice": None}
WELL: dict[str, Any] = {
    "version": "1.0",
    "started_at": "2026-01-01T00:00:00.000Z",
    "cluster": {
        "manager": "mesos",
        "address": "http://m:5050",
        "connected": True,
        "since": "2026-01-01T00:00:00.000Z",
        "reason": None,
    },
    "framework_id": "F-0001",
    "name": "batch",
    "roles": ["*"],
    "launches": {"RUNNING": 3},
    "unreadable": 0,
    "state_trouble": None,
    "queue": {"length": 0, "oldest": None},
    "containers": {},
    "runs": None,
    "invoker": None,
    "nodes": {
        "states": {"fresh": 2},
        "in_trouble": 0,
        "trouble": [],
        "sums": dict.fromkeys(("total", "used", "free", "reserved", "buffer", "available"), AMOUNTS),
    },
}


def shown(**changed: Any) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(screen({**WELL, **changed}))
    return captured.get()


def lines(ran: Ran) -> dict[str, str]:
    """What follows each label."""
    return {label: text.strip() for label, _, text in (line.partition(" ") for line in ran.out.splitlines())}


class TestScreen:
    def test_without_a_pool_nothing_is_said_of_activations_and_containers(self) -> None:
        text = shown()
        assert "Activations" not in text
        assert "Containers" not in text
        assert "nothing waits" in text

    def test_nodes_of_an_idle_framework_alarm_nobody(self) -> None:
        def nodes(**states: int) -> str:
            return shown(nodes={**WELL["nodes"], "states": states})

        assert "2 known, none in trouble" in nodes(stale=2)
        assert "1 fresh, 1 known, none in trouble" in nodes(fresh=1, stale=1)
        assert "1 known, 1 gone" in nodes(stale=1, gone=1)
        assert "in trouble" not in nodes(stale=1, gone=1)

    def test_what_has_waited_longest_says_why_with_short_ids(self) -> None:
        oldest = {"id": "L1", "name": "web", "since": None, "wait_s": 200.0, "reason": f"agent {AGENT} is 5 MB short"}
        text = shown(queue={"length": 4, "oldest": oldest})
        assert "4 wait, the oldest for 3m: L1 (web)" in text
        assert "agent S7 is 5 MB short" in text

    def test_an_invoker_shows_its_servers_and_why_one_is_down(self) -> None:
        down = {**SERVER, "state": "down", "reason": "connection refused", "advice": "start it"}
        invoker = {"invoker": "invoker0", "refuses": "kafka", "kafka": down, "couchdb": SERVER, "records_waiting": 7}
        runs = {"length": 0, "oldest": None, "running": 2}
        text = shown(invoker=invoker, runs=runs, containers={"warm": 1, "busy": 2})
        assert "invoker0 accepts no activations: Kafka is unavailable" in text
        assert "h:1: connection refused: start it" in text
        assert "7 waiting to be written" in text
        assert "2 running, nothing waits" in text
        assert "1 warm, 2 busy" in text

    def test_nodes_in_trouble_say_why_and_the_rest_is_counted(self) -> None:
        node = {"agent_id": AGENT, "hostname": "node7", "state": "backoff", "reason": "three starts failed"}
        nodes = {**WELL["nodes"], "in_trouble": 12, "trouble": [node] * 12}
        text = shown(nodes=nodes)
        assert text.count("node7") == 8
        assert "4 more: see `owmesos nodes`" in text

    def test_it_is_never_wider_than_the_terminal(self) -> None:
        reason = " ".join(["a long reason of many words"] * 20)
        oldest = {"id": "L1", "name": "n" * 100, "since": None, "wait_s": 1.0, "reason": reason}
        cluster = {**WELL["cluster"], "connected": False, "reason": reason}
        text = shown(queue={"length": 1, "oldest": oldest}, cluster=cluster)
        assert max(map(len, text.splitlines())) <= 80

    def test_a_silent_master_says_for_how_long(self) -> None:
        silent = instant(time.time() - 40.0)
        text = shown(cluster={**WELL["cluster"], "silent_since": silent})
        assert re.search(r"Master +connected for .*: silent for 4\ds\n", text)

    def test_a_state_that_cannot_be_written_says_since_when(self) -> None:
        away = {"reason": "ZooKeeper at zk:2181 does not answer", "since": instant(time.time() - 40.0)}
        assert "State" not in shown(state_trouble=None)
        text = " ".join(shown(state_trouble=away).split())
        assert re.search(r"State ZooKeeper at zk:2181 does not answer for 4\ds: nothing new is launched or ended", text)

    def test_control_characters_of_a_name_are_escaped(self) -> None:
        assert "\\x1b[2J" in shown(name="\x1b[2J")


async def test_it_says_what_runs_and_what_waits(ask: Ask) -> None:
    await ask("launch", "--command", "sleep 60", "--wait", "running")
    await ask("launch", "--command", "sleep 60", "--mem", "1800", "--constraint", "rack == r1", "--name", "web")
    ran = await ask("status")
    assert ran.code == 0
    assert lines(ran)["Launches"] == "1 PENDING, 1 RUNNING"
    assert re.match(r"1 waits, the oldest for \ds: web-", lines(ran)["Queue"])
    assert max(map(len, ran.out.splitlines())) <= 80


async def test_without_a_master_it_exits_with_1_and_says_since_when_and_why(
    ask: Ask, fake_cluster: FakeCluster
) -> None:
    await fake_cluster.master.stop()

    async def away() -> bool:
        return (await ask("status")).code == 1

    await eventually_async(away)
    ran = await ask("status")
    assert lines(ran)["Master"].startswith("not connected for ")
    assert (await ask("status", "-o", "json")).document["cluster"]["connected"] is False


async def test_as_a_process_without_a_framework_it_says_so_in_one_line() -> None:
    ran = await owmesos_process("status", "--admin", "127.0.0.1:1")
    assert ran.line.startswith("owmesos status: no framework answers at http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("how", "code"), [("\x03", 130), (signal.SIGTERM, 128 + signal.SIGTERM)], ids=["ctrl-c", "term"]
)
async def test_a_listing_that_watches_gives_the_terminal_back(how: str | signal.Signals, code: int) -> None:
    async with running("--master", "local") as framework:
        await framework.said("subscribed at")
        with Terminal("nodes", "--watch", "--admin", framework.url) as terminal:
            await asyncio.to_thread(terminal.shows, "127.0.0.3")
            assert not terminal.restored
            if isinstance(how, str):
                terminal.type(how)
            else:
                terminal.signal(how)
            assert await asyncio.to_thread(terminal.ended) == code
            await eventually_async(lambda: terminal.restored)
        with Terminal("nodes", "--watch", "--admin", framework.url, variables={"TERM": "dumb"}) as terminal:
            await asyncio.to_thread(terminal.shows, "127.0.0.3")
            assert "\x1b[?1049h" not in terminal.written


async def test_in_a_terminal_it_is_coloured_watches_and_ends_with_ctrl_c() -> None:
    async with running("--master", "local") as framework:
        await framework.said("subscribed at")
        with Terminal("status", "--watch", "0.1", "--admin", framework.url) as terminal:
            await asyncio.to_thread(terminal.shows, "connected for")
            assert "\x1b[32m" in terminal.written
            terminal.type("\x03")
            assert await asyncio.to_thread(terminal.ended) == 130
            await eventually_async(lambda: terminal.restored)
        with Terminal("status", "--watch", "0.1", "--admin", framework.url) as terminal:
            await asyncio.to_thread(terminal.shows, "connected for")
            terminal.signal(signal.SIGTERM)
            assert await asyncio.to_thread(terminal.ended) == 128 + signal.SIGTERM
            await eventually_async(lambda: terminal.restored)
        with Terminal("status", "--watch", "--admin", framework.url, variables={"TERM": "dumb"}) as terminal:
            await asyncio.to_thread(terminal.shows, "connected for")
            assert "\x1b[?1049h" not in terminal.written
        with Terminal("status", "--admin", framework.url, variables={"NO_COLOR": "1"}) as terminal:
            await asyncio.to_thread(terminal.shows, "AVAILABLE")
            assert await asyncio.to_thread(terminal.ended) == 0
            assert "\x1b[32m" not in terminal.written
