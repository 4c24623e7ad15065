"""`owmesos doctor`: what it finds, what it says to do, and that nothing makes it hang."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from owmesos.cli import machine_checks
from owmesos.cli.admin_options import AdminOptions
from owmesos.cli.connection import MasterAccess
from owmesos.cli.findings import Check, Finding, findings
from owmesos.cli.kafka import KafkaOptions
from owmesos.cli.kubernetes import KubernetesOptions
from owmesos.cli.run import RunOptions, SchedulerOptions
from owmesos.cli.server_checks import skew_of
from owmesos.errors import InvalidInput
from owmesos.storage import SaveLaunch, SQLiteStore
from tests.cli.running import ROOT, Ran, owmesos_process, running
from tests.fakes.pki import Pki

FREE = ("--admin", "127.0.0.1:0")


def options(tmp_path: Path, **more: Any) -> RunOptions:
    given = {
        "master": "127.0.0.1:1",
        "state": str(tmp_path / "state"),
        "admin": AdminOptions("127.0.0.1:0"),
        "scheduler": SchedulerOptions(),
        "kafka": KafkaOptions(),
        "kubernetes": KubernetesOptions(),
        "access": MasterAccess(),
    }
    return RunOptions(**{**given, **more})


def found(checked: RunOptions, name: str) -> list[Finding]:
    """Of one check on this machine."""
    return findings([each for each in machine_checks.checks(checked) if each.name == name])


async def doctor(*arguments: str, **variables: str) -> Ran:
    return await owmesos_process("doctor", *arguments, variables=variables)


def states(ran: Ran) -> dict[str, str]:
    """Of `-o tsv`: the worst state of each check."""
    order = ["ok", "warn", "fail"]
    worst: dict[str, str] = {}
    for line in ran.out.splitlines()[1:]:
        check, state, *_ = line.split("\t")
        worst[check] = max(worst.get(check, "ok"), state, key=order.index)
    return worst


class TestRunner:
    def test_a_check_that_hangs_fails_in_time_and_the_others_are_there(self) -> None:
        forever = threading.Event()

        def hangs() -> list[Finding]:
            forever.wait()
            return []

        begun = time.monotonic()
        hung, fine = findings(
            [Check("one", hangs, "mend it"), Check("two", lambda: [Finding("two", "ok", "well")], "")], limit=0.2
        )
        forever.set()
        assert time.monotonic() - begun < 10
        assert hung == Finding("one", "fail", "it took more than 0.2 s", "mend it")
        assert fine == Finding("two", "ok", "well")

    @pytest.mark.parametrize(
        ("error", "said"), [(InvalidInput("wrong"), "wrong"), (ZeroDivisionError("by 0"), "ZeroDivisionError: by 0")]
    )
    def test_an_error_in_a_check_is_its_failure(self, error: Exception, said: str) -> None:
        def breaks() -> list[Finding]:
            raise error

        assert findings([Check("one", breaks, "mend it")]) == [Finding("one", "fail", said, "mend it")]


class TestState:
    def test_a_folder_that_is_not_there_will_be_made(self, tmp_path: Path) -> None:
        (one,) = found(options(tmp_path), "state")
        assert (one.state, one.message) == ("ok", f"{tmp_path}/state will be created")
        assert not (tmp_path / "state").exists()

    def test_records_that_are_set_aside_are_named(self, tmp_path: Path) -> None:
        store = SQLiteStore(tmp_path / "state")
        store.commit([SaveLaunch("L1", b"{}")])
        store.close()
        fine, aside = found(options(tmp_path), "state")
        assert fine.state == "ok"
        assert (aside.check, aside.state) == ("set aside", "warn")
        assert aside.message.startswith("1 stored launches are set aside; the first is L1: ")

    def test_one_that_is_in_use_says_by_whom(self, tmp_path: Path) -> None:
        with closing(SQLiteStore(tmp_path / "state")):
            (one,) = found(options(tmp_path), "state")
        assert one.state == "ok"
        assert "is used by process" in one.message

    def test_others_that_may_read_it_are_warned_of(self, tmp_path: Path) -> None:
        SQLiteStore(tmp_path / "state").close()
        (tmp_path / "state").chmod(0o755)
        (tmp_path / "state" / "owmesos.sqlite").chmod(0o644)
        warned = [each for each in found(options(tmp_path), "state") if each.state == "warn"]
        assert [each.mend for each in warned] == [
            f"chmod 700 {tmp_path}/state",
            f"chmod 600 {tmp_path}/state/owmesos.sqlite",
        ]

    def test_a_damaged_file_fails(self, tmp_path: Path) -> None:
        SQLiteStore(tmp_path / "state").close()
        (tmp_path / "state" / "owmesos.sqlite").write_bytes(b"no database" * 1000)
        (one,) = found(options(tmp_path), "state")
        assert one.state == "fail"
        assert "cannot be read" in one.message

    def test_with_zookeeper_it_is_there_and_no_file_is_missed_in_the_folder(self, tmp_path: Path) -> None:
        folder = tmp_path / "local"
        folder.mkdir(mode=0o700)
        checked = options(tmp_path, state="zk://127.0.0.1:1/a", local_folder=folder)
        (settings,) = found(checked, "settings")
        assert settings.message.endswith(f"state in zk://127.0.0.1:1/a, the rest in {folder}")
        (place,) = machine_checks._folder(folder, launches=False)
        assert (place.state, place.message) == ("ok", f"{folder} is not in use")

    def test_a_file_in_the_place_of_the_folder_fails(self, tmp_path: Path) -> None:
        (tmp_path / "state").touch()
        (one,) = found(options(tmp_path), "state")
        assert (one.state, one.message) == ("fail", f"{tmp_path}/state is not a folder")


class TestMachine:
    def test_a_port_that_another_process_has_names_it(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            admin = AdminOptions(f"127.0.0.1:{taken.getsockname()[1]}")
            (one,) = found(options(tmp_path, admin=admin), "admin port")
        assert one.state == "fail"
        assert f"cannot listen on {admin.admin}: address already in use by process {os.getpid()} (" in one.message

    def test_a_port_of_the_process_that_holds_the_state_is_all_right(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken, closing(SQLiteStore(tmp_path / "state")):
            admin = AdminOptions(f"127.0.0.1:{taken.getsockname()[1]}")
            (one,) = found(options(tmp_path, admin=admin), "admin port")
        assert one.state == "ok"
        assert one.message.endswith("): it runs already, with this state")

    def test_few_descriptors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for limit, standalone, state in ((100, False, "fail"), (512, False, "warn"), (1024, True, "warn")):
            monkeypatch.setattr(machine_checks.resource, "getrlimit", lambda which, limit=limit: (limit, 5000))
            (one,) = found(options(tmp_path, standalone=standalone), "descriptors")
            assert (one.state, "ulimit" in (one.mend or "")) == (state, True)

    def test_little_disk(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for free, state in ((10 * 2**20, "fail"), (500 * 2**20, "warn"), (2**40, "ok")):
            monkeypatch.setattr("shutil.disk_usage", lambda folder, free=free: SimpleNamespace(free=free))
            assert [each.state for each in found(options(tmp_path), "disk")] == [state]

    def test_packages_that_kafka_needs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        kafka = KafkaOptions(kafka="127.0.0.1:1", instance=0)
        for missing, state in (({"kafka"}, "fail"), ({"lz4"}, "warn"), (set(), "ok")):
            monkeypatch.setattr(
                machine_checks, "find_spec", lambda name, missing=missing: None if name in missing else name
            )
            assert [each.state for each in found(options(tmp_path, kafka=kafka), "packages")] == [state]


@pytest.mark.parametrize(
    ("said", "skew"),
    [(1000.0, 0.0), (1001.0, 0.0), (999.0, 0.0), (1100.0, 98.0), (900.0, -99.0)],
)
def test_how_far_a_clock_is_from_ours(said: float, skew: float) -> None:
    """A Date has whole seconds; ours were 1000 and 1002 when it was asked for and came."""
    assert skew_of(formatdate(said, usegmt=True), 1000.0, 1002.0) == skew


def test_a_server_without_a_clock() -> None:
    assert skew_of(None, 1.0, 2.0) is None
    assert skew_of("nonsense", 1.0, 2.0) is None


@asynccontextmanager
async def serving(
    answer: Callable[[web.Request], web.StreamResponse], tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """`HOST:PORT` of a server that gives this answer to all."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    server = TestServer(app)
    await server.start_server(ssl=tls)
    yield f"127.0.0.1:{server.port}"
    await server.close()


async def test_where_all_is_well_it_exits_with_0(tmp_path: Path) -> None:
    async with running("--master", "local", "--state", str(tmp_path / "state")) as framework:
        await framework.said("subscribed at")
        master = (await framework.said(r"embedded cluster is at (\S+)"))[1]
        address = framework.url.removeprefix("http://")
        ran = await doctor("--master", master, "--admin", address, "--state", str(tmp_path / "state"))
        another = await doctor("--master", master, "--admin", address, "--state", str(tmp_path / "another"))
    assert another.code == 1
    said = f"the admin API cannot listen on {address}: address already in use by process "
    assert f"fail admin port {said}" in " ".join(another.out.split())
    assert (ran.code, ran.err) == (0, "")
    assert "Apache Mesos 1.11.0" in ran.out
    assert "accepts principal owmesos" in ran.out
    assert "it runs already" in " ".join(ran.out.split())


async def test_it_knows_owmesos_run_in_a_folder_with_a_long_path(tmp_path: Path) -> None:
    script = tmp_path / ("long" * 30) / "owmesos"
    script.parent.mkdir()
    script.write_text(
        "import socket, sys\nfrom pathlib import Path\nfrom owmesos.storage.sqlite import own_folder\n"
        "lock, server = own_folder(Path(sys.argv[2])), socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\nserver.accept()\n"
    )
    listener = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), "run", str(tmp_path / "state")),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        assert listener.stdout is not None
        port = (await listener.stdout.readline()).decode().strip()
        ran = await doctor("--master", "local", "--admin", f"127.0.0.1:{port}", "--state", str(tmp_path / "state"))
    finally:
        listener.kill()
        await listener.wait()
    assert f"{port} is in use by process {listener.pid}" in " ".join(ran.out.split())
    assert "it runs already" in " ".join(ran.out.split())
    assert max(map(len, ran.out.splitlines())) <= 80


async def test_a_failure_says_what_to_do_and_exits_with_1() -> None:
    ran = await doctor("--master", "127.0.0.1:1", *FREE)
    assert ran.code == 1
    text = " ".join(ran.out.split())
    assert "fail master cannot connect to the master at http://127.0.0.1:1: Connection refused" in text
    assert "→ start the master, or give another --master" in text


async def test_wrong_credentials_are_told_from_a_master_that_is_away() -> None:
    async with running("--master", "local") as framework:
        master = (await framework.said(r"embedded cluster is at (\S+)"))[1]
        ran = await doctor("--master", master, "--principal", "x", "-o", "tsv", *FREE, OWMESOS_SECRET="wrong")
    assert ran.code == 1
    assert states(ran)["credentials"] == "fail"
    assert states(ran)["master"] == "warn"


async def test_it_takes_the_settings_of_run_from_variables_and_the_file(tmp_path: Path) -> None:
    config = tmp_path / "owmesos.toml"
    config.write_text('master = "127.0.0.1:1"\nname = "of-the-file"\n')
    ran = await doctor("--config", str(config), "-o", "json", OWMESOS_ADMIN="127.0.0.1:0", OWMESOS_RUN_ROLE="web")
    assert "framework of-the-file, role web" in ran.out
    assert '"check": "admin port", "state": "ok"' in ran.out


async def test_a_master_whose_certificate_is_not_trusted(tmp_path: Path) -> None:
    async with serving(lambda _: web.Response(), Pki(tmp_path).server("127.0.0.1")) as master:
        ran = await doctor("--master", f"https://{master}", *FREE)
    text = " ".join(ran.out.split())
    assert "its certificate is not trusted: unable to get local issuer certificate; give the authority" in text
    assert "→ check the scheme of --master, --tls-ca and the master's certificate" in text
    assert "start the master" not in text


async def test_the_admin_apis_certificate_that_expires(tmp_path: Path) -> None:
    pki, now = Pki(tmp_path), datetime.now(timezone.utc)
    files = ("--admin-tls-cert", str(pki.cert), "--admin-tls-key", str(pki.key), "-o", "tsv")
    for days, state in ((-1, "fail"), (3, "warn"), (90, "ok")):
        pki.issue_client(not_after=now + timedelta(days=days))
        ran = await doctor("--master", "127.0.0.1:1", *FREE, *files)
        assert states(ran)["certificate"] == state, ran.out


async def test_a_clock_that_is_wrong() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.Response(status=400, headers={"Date": formatdate(time.time() - 600, usegmt=True)})

    async with serving(answer) as master:
        ran = await doctor("--master", master, "-o", "tsv", *FREE)
    assert states(ran)["master's clock"] == "fail"
    assert "behind this machine's" in ran.out


async def test_couchdb_without_a_database_and_kafka_that_is_away() -> None:
    def answer(request: web.Request) -> web.Response:
        return web.json_response({}, status=404 if request.path.startswith("/subjects") else 200)

    async with serving(answer) as couch:
        flags = ("--kafka", "127.0.0.1:1", "--id", "0", "--couchdb", f"http://{couch}")
        ran = await doctor("--master", "local", *flags, "-o", "tsv", *FREE)
    assert states(ran) | {"kafka": "fail", "couchdb": "fail", "master": "ok"} == states(ran)
    assert "there is no database subjects" in ran.out


async def test_a_server_that_takes_connections_and_says_nothing_does_not_make_it_hang() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        flags = ("--kafka", address, "--id", "0", "--couchdb", f"http://{address}")
        begun = time.monotonic()
        ran = await doctor("--master", address, *flags, "-o", "tsv", *FREE)
        assert time.monotonic() - begun < 50
    assert states(ran) | {"kafka": "fail", "couchdb": "fail", "master": "fail"} == states(ran)


async def test_a_password_in_the_command_line_is_refused() -> None:
    ran = await doctor("--master", "me:secret@127.0.0.1:1", *FREE)
    assert "every user can read a command line" in ran.line


async def test_a_secret_that_others_may_read_is_a_matter_of_the_settings_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    secret.chmod(0o644)
    flags = ("--principal", "me", "--secret-file", str(secret), "-o", "tsv")
    found = states(await doctor("--master", "127.0.0.1:1", *flags, *FREE))
    assert [check for check, state in found.items() if state == "fail"] == ["settings"]
