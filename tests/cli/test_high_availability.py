"""`owmesos run --ha`: processes of one group on a real ZooKeeper, and how one takes over from another."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from kazoo.client import KazooClient

from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.system.private_files import write_private
from tests.cli.running import Running, owmesos, running
from tests.fakes.cluster import FakeCluster
from tests.fakes.master import FakeMaster, record
from tests.fixtures.admin import TOKENS
from tests.servers.zookeeper import ZooKeeper
from tests.waiting import eventually_async

SLEEP = ("launch", "--command", "sleep 60", "--retry", "lost")
LEADS = "this process leads now"
_numbers = count()


@pytest.fixture
def address(zookeeper: ZooKeeper) -> Iterator[ZooKeeperPath]:
    return ZooKeeperPath(zookeeper.address, f"/groups/{next(_numbers)}")


class Group:
    """Starts processes of one group."""

    def __init__(self, cluster: FakeCluster, address: ZooKeeperPath, folder: Path) -> None:
        self._cluster = cluster
        self._address = address
        self._folder = folder
        self._numbers = count()
        self.token = folder / "token"
        write_private(self.token, TOKENS.admin)

    @asynccontextmanager
    async def process(self, *state: str) -> AsyncIterator[Running]:
        options = (
            *("--ha", "--master", self._cluster.master.address),
            *(state or ("--state", str(self._address))),
            *("--local-folder", str(self._folder / f"local{next(self._numbers)}")),
            *("--admin-token-file", str(self.token), "--connect-timeout", "60"),
        )
        async with running(*options) as process:
            yield process

    @asynccontextmanager
    async def leader_and_standby(self) -> AsyncIterator[tuple[Running, Running]]:
        """With one launch that runs."""
        async with self.process() as leader:
            await leader.said(LEADS + r"[\s\S]*the admin API is at")
            await leader.said("subscribed at")
            async with self.process() as standby:
                await standby.said(
                    rf"standby: process {leader.process.pid} on \S+ leads, its admin API is at {leader.url}"
                )
                ran = await leader.ask(*SLEEP, "--wait", "running", "--admin-token-file", str(self.token))
                assert ran.code == 0, ran
                yield leader, standby

    async def takes_over(self, standby: Running) -> None:
        """It leads, and both the launch before and one after run."""
        await standby.said(LEADS + r"[\s\S]*the admin API is at")
        await standby.said("subscribed at")
        token = ("--admin-token-file", str(self.token))
        ran = await standby.ask(*SLEEP, "--wait", "running", *token)
        assert ran.code == 0, ran
        rows = (await standby.ask("launches", "-o", "json", *token)).json
        assert sorted(row["state"] for row in rows) == ["RUNNING", "RUNNING"]
        assert len(self._cluster.tasks) == 2


@pytest.fixture
def group(fake_cluster: FakeCluster, address: ZooKeeperPath, tmp_path: Path) -> Group:
    return Group(fake_cluster, address, tmp_path)


async def falls_silent(master: FakeMaster) -> None:
    """Until nothing is asked of it for half a second."""
    asked, since = -1, time.monotonic()

    def silent() -> bool:
        nonlocal asked, since
        if len(master.headers) != asked:
            asked, since = len(master.headers), time.monotonic()
        return time.monotonic() - since > 0.5

    await eventually_async(silent)


def answer_of(url: str, path: str, *, token: str | None = None) -> tuple[int, Any, str | None]:
    """Status, document and Location, which is not followed."""

    class NotFollowed(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None

    request = urllib.request.Request(url + path)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    opener = urllib.request.build_opener(NotFollowed)
    try:
        with opener.open(request, timeout=30) as response:
            return response.status, json.loads(response.read()), None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers["Location"]


@pytest.mark.zookeeper
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_standby_takes_over_from_a_leader_that_ended(group: Group, number: signal.Signals) -> None:
    async with group.leader_and_standby() as (leader, standby):
        ended = await leader.end(number)
        assert ended.code == (0 if number == signal.SIGTERM else -9)
        await group.takes_over(standby)
        assert (await standby.end(signal.SIGTERM)).code == 0


@pytest.mark.zookeeper
@pytest.mark.parametrize("master_tells", [False, True])
async def test_a_leader_that_was_frozen_does_nothing_when_it_wakes_up(
    group: Group, fake_cluster: FakeCluster, master_tells: bool
) -> None:
    """Whoever is the first to tell it, ZooKeeper or the master, which ends the stream of whom another follows."""
    master = fake_cluster.master
    async with group.leader_and_standby() as (leader, standby):
        await falls_silent(master)  # or it is frozen while it sends, and the rest follows when it wakes up
        leader.process.send_signal(signal.SIGSTOP)
        await group.takes_over(standby)
        if master_tells:
            await master.streams[-2].write(record({"type": "ERROR", "error": {"message": "Framework failed over"}}))
        calls, subscribes = len(master.headers), len(master.subscribes)
        leader.process.send_signal(signal.SIGCONT)
        ended = await leader.ended()
        assert ended.code == 1
        assert "this process has lost the lead, and ends at once" in ended.err
        assert len(master.subscribes) == subscribes
        newest = f"stream-{subscribes}"
        assert {each.get("Mesos-Stream-Id", newest) for each in master.headers[calls:]} <= {newest}
        assert standby.process.returncode is None


@pytest.mark.zookeeper
async def test_what_a_standby_answers(group: Group) -> None:
    async with group.leader_and_standby() as (leader, standby):
        assert answer_of(standby.url, "/healthz") == (200, {"standby": True, "leader": leader.url}, None)
        assert answer_of(standby.url, "/healthz?leader")[0] == 503
        assert answer_of(leader.url, "/healthz?leader")[0] == 200
        assert answer_of(standby.url, "/livez")[0] == 200
        path = "/api/v1/launches?id=a%2Fb"
        status, document, location = answer_of(standby.url, path, token=TOKENS.admin)
        assert (status, location) == (307, leader.url + path)
        assert document == {"standby": True, "leader": leader.url}
        assert answer_of(standby.url, path)[0] == 401
        token = ("--admin-token-file", str(group.token))
        assert len((await standby.ask("launches", "-o", "json", *token)).json) == 1
        await leader.end(signal.SIGKILL)
        await standby.said("subscribed at")
        await eventually_async(lambda: answer_of(standby.url, "/healthz?leader")[0] == 200)
        assert answer_of(standby.url, "/healthz")[1]["subscribed"] is True


@pytest.mark.zookeeper
async def test_a_standby_ends_at_a_signal(group: Group) -> None:
    async with group.leader_and_standby() as (leader, standby):
        ended = await standby.end(signal.SIGTERM)
        assert ended.code == 0
        assert "this process does not lead" in ended.err.splitlines()[-1]
        assert leader.process.returncode is None


@pytest.mark.zookeeper
async def test_after_zookeeper_was_away_one_of_them_leads(
    group: Group, zookeeper: ZooKeeper, fake_cluster: FakeCluster
) -> None:
    """The same one, if its session lives on: where ZooKeeper is back and heard of it within its time-out."""
    async with group.leader_and_standby() as (leader, standby):
        zookeeper.stop()
        await leader.said("the connection to ZooKeeper at")
        zookeeper.start()
        both = ("--admin", f"{leader.url},{standby.url}", "--admin-token-file", str(group.token))

        async def launched() -> bool:
            return (await asyncio.to_thread(owmesos, *SLEEP, "--wait", "running", *both)).code == 0

        await eventually_async(launched)
        await standby.said(r"owmesos.election: the connection to ZooKeeper at \S+ is back, after \d+ s")
        ended = leader.process.returncode is not None
        assert ("this process has lost the lead" in leader.log) is ended
        assert (LEADS in standby.log) is ended
        assert len(fake_cluster.running()) >= 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), "--ha needs --state zk://host:port[,...]/path"),
        (("--state", "/tmp/folder"), "--ha needs --state zk://"),
        (("--state", "zk://h:1/a", "--new-framework"), "--ha cannot be combined with --new-framework: each process"),
        (("--state", "zk://h:1/a", "--standalone"), "--ha cannot be combined with --standalone: it keeps actions"),
        (("--standalone",), "--ha cannot be combined with --standalone"),  # not: give a --state, which would not help
        (("--state", "zk://h:1/a", "--driver", "pymesos"), "--ha cannot be combined with --driver pymesos"),
        (("--state", "zk://h:1/a", "--ha-admin", "nonsense"), "'nonsense' is not an address of an admin API"),
    ],
)
def test_settings_that_cannot_be_had(options: tuple[str, ...], expected: str) -> None:
    ran = owmesos("run", "--ha", "--master", "127.0.0.1:1", *options)
    assert ran.code == 2
    assert expected in ran.line


def test_a_local_cluster_is_rejected() -> None:
    state = ("--state", "zk://h:1/a")
    assert "--master local: that cluster ends" in owmesos("run", "--ha", "--master", "local", *state).line
    assert "needs --ha" in owmesos("run", "--ha-admin", "h:1", "--master", "h:1").line


@pytest.mark.zookeeper
@pytest.mark.parametrize(
    "leader",
    [
        {"holder": "process 1 on another-machine", "admin": "http://127.0.0.1:8686"},
        {"holder": "process 1 on another-machine", "admin": "http://[::1]:8686"},
        {"holder": f"process 1 on {socket.gethostname()}", "admin": "javascript:alert(1)//"},
        {"holder": "process 1\n\x1b[31m", "admin": "http://h:1\r\nX: y"},
    ],
)
async def test_a_standby_sends_nobody_to_where_another_may_listen(
    group: Group, address: ZooKeeperPath, leader: dict[str, str]
) -> None:
    client = KazooClient(address.hosts)
    client.start()
    try:
        node = f"{address.path}/election/other-0000000000"
        client.create(node, json.dumps(leader).encode(), ephemeral=True, makepath=True)
        async with group.process() as standby:
            await standby.said("leads, and cannot be reached at .*: give it --ha-admin")
            assert answer_of(standby.url, "/healthz") == (200, {"standby": True, "leader": None}, None)
            assert answer_of(standby.url, "/api/v1/nodes", token=TOKENS.admin)[0] == 503
            assert "\x1b" not in standby.log
    finally:
        client.stop()
        client.close()


@pytest.mark.zookeeper
async def test_an_election_that_everybody_may_change_is_not_used_with_credentials(
    group: Group, address: ZooKeeperPath, tmp_path: Path
) -> None:
    client = KazooClient(address.hosts)
    client.start()
    try:
        client.ensure_path(f"{address.path}/election")
        config = tmp_path / "config"
        write_private(config, f'state = "zk://me:secret@{address.hosts}{address.path}"\n')
        async with group.process("--config", str(config)) as process:
            ended = await process.ended()
        assert ended.code == 1
        assert "everybody may change its node, which was made without these credentials" in ended.err.splitlines()[-1]
    finally:
        client.stop()
        client.close()
