"""`owmesos run` as a process, on a fake cluster: its life, its state, and why it would not start."""

from __future__ import annotations

import base64
import os
import signal
import socket
from pathlib import Path

import pytest

from owmesos.cli.run import run
from owmesos.core.ledger import SHARE
from owmesos.storage import SQLiteStore
from tests.cli.running import SLEEP, options, owmesos, owmesos_process, running
from tests.fakes.cluster import FakeCluster
from tests.fakes.master import FRAMEWORK_ID, FakeMaster, plain
from tests.waiting import eventually_async

# -- its life


async def test_it_runs_until_a_signal_and_takes_its_tasks_up_again(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as first:
        launches = (await first.ask(*SLEEP, "--count", "5", "--wait", "running", "-o", "json")).json
        assert (await first.ask("reservations", "-o", "json")).json == []
        assert sum(node["used"]["mem"] for node in (await first.ask("nodes", "-o", "json")).json) == 5 * 64
        ended = await first.end(signal.SIGTERM)
        assert (ended.code, ended.out) == (0, "")
        assert "Traceback" not in ended.err
    assert len(fake_cluster.running()) == 5
    assert all(call["type"] not in ("TEARDOWN", "KILL") for call in fake_cluster.master.calls)
    async with running(*options(fake_cluster, state)) as second:
        await eventually_async(lambda: len(fake_cluster.master.subscribes) == 2)
        subscribe = fake_cluster.master.subscribes[1]
        assert subscribe["subscribe"]["framework_info"]["id"] == {"value": FRAMEWORK_ID}
        again = (await second.ask("launches", "-o", "json")).json
        assert {launch["launch_id"] for launch in again} == {launch["launch_id"] for launch in launches}
        assert {launch["state"] for launch in again} == {"RUNNING"}
        assert (await second.end(signal.SIGINT)).code == 0


async def test_a_kill_9_loses_and_repeats_nothing(fake_cluster: FakeCluster, state: Path) -> None:
    """The fake cluster fails the test when a task id is launched twice; here each launch has one task.

    Of an ACCEPT that was on its way nobody knows whether it arrived, so launches that must run ask to be started again.
    """
    again = (*SLEEP, "--retry", "lost")
    asked: list[str] = []
    for _ in range(3):
        async with running(*options(fake_cluster, state)) as process:
            for _ in range(3):
                asked += [row["launch_id"] for row in (await process.ask(*again, "--count", "3", "-o", "json")).json]
            await process.end(signal.SIGKILL)
    async with running(*options(fake_cluster, state)) as process:
        assert (await process.ask("launches", "-o", "json")).json
        await eventually_async(lambda: len(fake_cluster.running()) == len(asked))
        rows = (await process.ask("launches", "-o", "json")).json
    assert {row["launch_id"] for row in rows} == set(asked)
    assert sorted(task_id.rpartition(".")[0] for task_id in fake_cluster.tasks) == sorted(asked)


async def test_teardown_ends_it_and_forgets_the_id(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as process:
        await process.ask(*SLEEP, "--wait", "running")
        assert (await process.ask("teardown", "-o", "json")).json == {"framework_id": FRAMEWORK_ID}
        assert (await process.ended()).code == 0
    assert "TEARDOWN" in [call["type"] for call in fake_cluster.master.calls]  # an ACKNOWLEDGE may overtake it
    store = SQLiteStore(state)
    assert store.load()[:3] == (None, [], [])
    store.close()


async def test_new_framework_forgets_the_id(fake_cluster: FakeCluster, state: Path) -> None:
    for more in ((), ("--new-framework",)):
        async with running(*options(fake_cluster, state), *more) as process:
            await process.said("subscribed at")
            await process.end()
    assert "id" not in fake_cluster.master.subscribes[1]["subscribe"]["framework_info"]


async def test_what_it_says_of_itself(fake_cluster: FakeCluster, state: Path) -> None:
    more = ("--name", "batch", "--role", "a", "--role", "b", "--user", "nobody", "--gpus")
    async with running(*options(fake_cluster, state), *more) as process:
        await process.said("subscribed at")
    info = fake_cluster.master.subscribes[0]["subscribe"]["framework_info"]
    assert (info["name"], info["roles"], info["user"]) == ("batch", ["a", "b"], "nobody")
    assert {"type": "GPU_RESOURCES"} in info["capabilities"]


async def test_buffers_and_strategy(fake_cluster: FakeCluster, state: Path) -> None:
    more = ("--buffer-mem", "100", "--buffer-cpus", "0.5", "--buffer-share", "0.1", "--strategy", "spread")
    async with running(*options(fake_cluster, state), *more) as process:
        (launch,) = (await process.ask(*SLEEP, "--wait", "running", "-o", "json")).json
        first, second = (await process.ask("nodes", "-o", "json")).json
    assert launch["hostname"] == "node2"
    assert (first["buffer"]["cpus"], first["buffer"]["mem"]) == (0.5, 100 + 102.4)
    assert second["buffer"]["mem"] == 100 + 204.8


async def test_a_launch_larger_than_any_agent_may_wait(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state), "--no-refuse-oversized") as process:
        (launch,) = (await process.ask(*SLEEP, "--mem", "100000", "-o", "json")).json
        explained = (await process.ask("explain", launch["launch_id"], "-o", "json")).json
        assert explained["state"] == "PENDING"
        await eventually_async(
            lambda: "lack memory" in owmesos("explain", launch["launch_id"], "--admin", process.url).out
        )


async def test_the_secret_of_a_principal(fake_cluster: FakeCluster, state: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("from the file\n", encoding="utf-8")
    ways = ((("--secret-file", str(secret)), {}), ((), {"OWMESOS_SECRET": "from the variable"}))
    for flags, variables in ways:
        async with running(*options(fake_cluster, state), "--principal", "me", *flags, variables=variables) as process:
            await process.said("subscribed at")
            assert "from the" not in process.log
    sent = {headers["Authorization"] for headers in fake_cluster.master.headers}
    wanted = ("me:from the file", "me:from the variable")
    assert sent == {f"Basic {base64.b64encode(text.encode()).decode()}" for text in wanted}


async def test_its_state_is_by_name_in_the_users_state_folder(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    variables = {"XDG_STATE_HOME": str(tmp_path)}
    async with running("--master", fake_cluster.master.address, "--name", "../batch", variables=variables) as process:
        await process.said("subscribed at")
    assert {path.name for path in (tmp_path / "owmesos").iterdir()} == {"..%2Fbatch", ".running"}


# -- it is told to end by the master


async def test_another_process_has_our_id(fake_cluster: FakeCluster, state: Path) -> None:
    async with running(*options(fake_cluster, state)) as process:
        await process.said("subscribed at")
        await fake_cluster.master.send({"type": "ERROR", "error": {"message": "Framework failed over"}})
        ended = await process.ended()
    assert ended.code == 1
    assert ended.err.endswith("owmesos run: another process has subscribed with our framework id: this one stops\n")


async def test_a_master_that_refuses_at_the_start(fake_cluster: FakeCluster, state: Path) -> None:
    fake_cluster.master.on_subscribe = plain(401, "who are you?")
    ran = await owmesos_process("run", *options(fake_cluster, state), "--admin", "127.0.0.1:0")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.splitlines()[-1].startswith("owmesos run: the master refuses to subscribe us (401)")
    assert "who are you? (give the principal and the secret that the master expects)" in ran.err
    assert "Traceback" not in ran.err


async def test_a_master_that_is_still_starting(fake_cluster: FakeCluster, state: Path) -> None:
    """A real one answers 404 for up to half a second."""
    right, fake_cluster.master.on_subscribe = fake_cluster.master.on_subscribe, plain(404)
    async with running(*options(fake_cluster, state)) as process:
        await process.said("answers SUBSCRIBE with 404: an empty answer")
        fake_cluster.master.on_subscribe = right
        await process.said("subscribed at")
        assert (await process.ask(*SLEEP, "--wait", "running", "-o", "json")).json[0]["state"] == "RUNNING"


def test_the_help_says_for_what_the_connect_timeout_counts() -> None:
    text = " ".join(owmesos("run", "--help").out.split())
    assert "retry an address that answers 404 or is not Mesos, or an absent Kubernetes API server" in text
    assert "An absent Mesos master is waited for without limit." in text


async def test_a_web_page_in_the_masters_place(state: Path) -> None:
    master = await FakeMaster().start()
    page = plain(200, "<html><title>My router</title></html>", "text/html")
    master.on_subscribe = page
    master.operator["*"] = page
    flags = ("--master", master.address, "--state", str(state), "--admin", "127.0.0.1:0", "--connect-timeout", "1.2")
    ran = await owmesos_process("run", *flags)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        f"owmesos run: no Mesos master has answered for 1.2 s: http://{master.address} answers SUBSCRIBE with 200: "
        "an HTML page (My router): is that a Mesos master?"
    )
    assert len([line for line in ran.err.splitlines() if "not subscribed" in line]) == 1
    assert len(master.subscribes) > 1
    assert "Traceback" not in ran.err
    ran = await owmesos_process("nodes", "--master", master.address)
    assert ran.code == 1
    assert "an HTML page (My router): is that a Mesos master?" in ran.line
    ran = await owmesos_process("launches", "--admin", master.address)
    assert "is not an owmesos admin API" in ran.line
    await master.stop()


# -- it does not start: one line, and the master hears nothing


def test_the_admin_port_is_in_use(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ran = owmesos("run", "--master", "127.0.0.1:1", "--state", str(state), "--admin", f"127.0.0.1:{port}")
    assert ran.code == 1
    assert f"owmesos run: the admin API cannot listen on 127.0.0.1:{port}: address already in use" in ran.line
    assert not state.exists()


def test_another_process_owns_the_state(state: Path) -> None:
    store = SQLiteStore(state)
    ran = owmesos("run", "--master", "127.0.0.1:1", "--state", str(state), "--admin", "127.0.0.1:0")
    store.close()
    assert ran.code == 1
    assert ran.line.startswith(f"owmesos run: process {os.getpid()} uses the state in {state}: ")


def test_the_state_is_damaged(state: Path) -> None:
    state.mkdir()
    (state / "owmesos.sqlite").write_bytes(b"no database" * 1000)
    ran = owmesos("run", "--master", "127.0.0.1:1", "--state", str(state), "--admin", "127.0.0.1:0")
    assert ran.code == 1
    assert f"the state in {state / 'owmesos.sqlite'} is damaged" in ran.line


@pytest.mark.parametrize(
    ("mode", "text", "reason"),
    [
        (None, "", "cannot be read: No such file or directory"),
        (0o644, "secret", "can be read by others: chmod 600"),
        (0o600, "", "is empty"),
    ],
)
def test_a_secret_file_that_cannot_be_used(tmp_path: Path, mode: int | None, text: str, reason: str) -> None:
    file = tmp_path / "secret"
    if mode is not None:
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)
    ran = owmesos("run", "--master", "h:1", "--principal", "me", "--secret-file", str(file))
    assert ran.code == 2
    assert f"the secret file {file} {reason}" in ran.line


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--master", ""], "is not a master"),
        (["--master", "http://h:1/path"], "is not a master"),
        (["--master", "ftp://h:1"], "is not a master"),
        (["--master", "h:99999"], "99999 is not a valid port"),
        (["--master", "h:1", "--drain", "x"], "Invalid value for '--drain': 'x' is not a valid float (see"),
        (["--master", "zk://h:1"], "lacks the path in ZooKeeper"),
        (
            ["--master", "h:1", "--state", "zk://u:p@h:1/x"],
            "credentials in the state's URL are taken only from OWMESOS_STATE",
        ),
        (["--master", "h:1", "--state", "zk://h:1"], "lacks the path in ZooKeeper: write zk://host:2181/owmesos"),
        (["--master", "h:1", "--state", "ftp://h/x"], "is not a place for the state"),
        (["--master", "h:1", "--state", "x", "--local-folder", "y"], "--local-folder y needs --state zk://"),
        (["--master", "h:1", "--local-folder", "y"], "--local-folder y needs --state zk://"),
        (["--master", "h:1", "--principal", "me"], "principal me needs a secret: give --secret-file or OWMESOS_SECRET"),
        (["--master", "h:1", "--secret-file", "x"], "--secret-file needs --principal"),
        (["--master", "h:1", "--tls-ca", "/nothing"], "the TLS authority /nothing cannot be used"),
        (["--master", "h:1", "--tls-key", "/nothing"], "the TLS key /nothing needs its certificate"),
        (["--master", "h:1", "--buffer-share", "1"], "the buffer's share must be at least 0 and below 1"),
        (["--master", "h:1", "--buffer-mem", "-1"], "buffer-mem must be 0 to 9007199254740, not -1"),
        (["--master", "h:1", "--buffer-cpus", "inf"], "buffer-cpus must be a finite number"),
        (["--master", "h:1", "--connect-timeout", "-1"], "the connect timeout must be from 0 to 86400 seconds, not -1"),
        (["--master", "h:1", "--connect-timeout", "nan"], "the connect timeout must be from 0 to 86400 seconds"),
        (["--master", "h:1", "--strategy", "best"], "Invalid value for '--strategy'"),
        (["--master", "h:1", "--admin", "8686"], "'8686' is not an address of an admin API"),
        ([], "Missing option '--master'"),
    ],
)
def test_what_cannot_be_meant(flags: list[str], reason: str) -> None:
    ran = owmesos("run", *flags)
    assert ran.code == 2
    assert reason in ran.line
    assert "u:p" not in ran.line


def test_roles_that_cannot_be_meant(state: Path) -> None:
    flags = ("--role", "a", "--role", "a", "--admin", "127.0.0.1:0", "--state", str(state))
    ran = owmesos("run", "--master", "h:1", *flags)
    assert (ran.code, "each role once" in ran.line) == (2, True)


def test_the_share_that_stays_free_is_the_librarys() -> None:
    """It is written in the command too, which would otherwise start more slowly."""
    (option,) = (each for each in run.params if each.name == "buffer_share")
    assert option.default == SHARE
