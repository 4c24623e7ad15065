"""How the command line gets in: tokens that it finds or is given, TLS, and what is refused beyond loopback."""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from owmesos.service.admin_tokens import ADMIN_FILE, READ_FILE
from owmesos.system import discovery
from owmesos.system.private_files import read_private, write_private
from tests.cli.running import owmesos, owmesos_process, running
from tests.fakes.cluster import FakeCluster

TOKEN = "a-token-that-the-user-made"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    write_private(file, f"{TOKEN}\n")
    return file


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of a user who has one."""
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        (tmp_path / name).mkdir(mode=0o700)
        monkeypatch.setenv(name, str(tmp_path / name))
    return tmp_path / "XDG_RUNTIME_DIR" / "owmesos"


def content(folder: Path) -> list[Path]:
    return list(folder.iterdir())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Tls:
    """A certificate for 127.0.0.1 and localhost, and who vouches for it."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        certificate.cert_chain_pems[0].write_to_path(str(self.cert))
        certificate.private_key_pem.write_to_path(str(self.key))

    @property
    def options(self) -> tuple[str, ...]:
        return "--admin-tls-cert", str(self.cert), "--admin-tls-key", str(self.key)


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    return Tls(tmp_path)


class TestTokens:
    async def test_nobody_notices_them(self, fake_cluster: FakeCluster, state: Path, own_folders: Path) -> None:
        """The file is the user's alone, and goes with the process."""
        async with running("--master", fake_cluster.master.address, "--state", str(state)) as process:
            assert (await process.ask("reservations", "-o", "json")).json == []
            local = process.url.replace("127.0.0.1", "localhost")
            assert (await owmesos_process("reservations", "-o", "json", "--admin", local)).json == []
            left = sorted(content(own_folders))
            assert [mode(each) for each in (*left, own_folders)] == [0o600, 0o600, 0o700]
            tokens = [read_private(state / name) for name in (ADMIN_FILE, READ_FILE)]
            assert [read_private(each) for each in left] == tokens
            await process.end(signal.SIGTERM)
        assert content(own_folders) == []

    async def test_a_restart_after_kill_9_has_a_new_one(self, fake_cluster: FakeCluster, state: Path) -> None:
        arguments = ("--master", fake_cluster.master.address, "--state", str(state))
        async with running(*arguments) as process:
            before = read_private(state / ADMIN_FILE)
            await process.end(signal.SIGKILL)
        async with running(*arguments) as process:
            assert read_private(state / ADMIN_FILE) != before
            assert (await process.ask("reservations", "-o", "json")).json == []

    async def test_who_cannot_find_it_is_told_what_to_do(
        self, fake_cluster: FakeCluster, state: Path, own_folders: Path
    ) -> None:
        async with running("--master", fake_cluster.master.address, "--state", str(state)) as process:
            for file in own_folders.parent.parent.rglob("admin-*"):
                file.unlink()
            assert (await process.ask("nodes")).line == (
                "owmesos nodes: the admin API needs a token, in the header `Authorization: Bearer TOKEN`: `owmesos` "
                "finds it as the user who runs `owmesos run`; others give --admin-token-file"
            )
            given = ("--admin-token-file", str(state / ADMIN_FILE))
            assert (await process.ask("reservations", "-o", "json", *given)).json == []

    async def test_a_token_of_the_users_own(self, fake_cluster: FakeCluster, state: Path, token_file: Path) -> None:
        variables = {"OWMESOS_ADMIN_TOKEN_FILE": str(token_file)}
        arguments = ("--master", fake_cluster.master.address, "--state", str(state))
        async with running(*arguments, variables=variables) as process:
            assert (await process.ask("reservations", "-o", "json")).json == []
            assert (await process.ask("reservations", "-o", "json", "--admin-token-file", str(token_file))).json == []
            wrong = token_file.with_name("wrong")
            write_private(wrong, "x" * 30)
            assert (
                "the token is not valid for this admin API"
                in (await process.ask("nodes", "--admin-token-file", str(wrong))).line
            )
        assert not (state / ADMIN_FILE).exists()

    async def test_the_read_only_token_looks_and_does_nothing(self, fake_cluster: FakeCluster, state: Path) -> None:
        async with running("--master", fake_cluster.master.address, "--state", str(state)) as process:
            reading = ("--admin-token-file", str(state / READ_FILE))
            assert (await process.ask("reservations", "-o", "json", *reading)).json == []
            refused = (await process.ask("launch", "--command", "true", *reading)).line
            assert refused == "owmesos launch: the token only allows reading: this request needs the admin token"

    def test_a_token_file_that_others_can_read_is_refused_before_anything_is_done(
        self, state: Path, token_file: Path
    ) -> None:
        token_file.chmod(0o644)
        arguments = ("--master", "h:1", "--state", str(state), "--admin", "127.0.0.1:0")
        ran = owmesos("run", *arguments, "--admin-token-file", str(token_file))
        assert (ran.code, "can be read by others: chmod 600" in ran.line) == (2, True)
        assert not state.exists()


class TestFolders:
    def test_one_that_others_may_enter_is_not_used(self, own_folders: Path) -> None:
        own_folders.parent.chmod(0o755)
        with discovery.announced("admin", "127.0.0.1", 1, TOKEN) as done:
            assert done
            assert not own_folders.exists()
            assert discovery.find("admin", "127.0.0.1", 1) == TOKEN

    def test_without_a_home_it_is_one_for_temporary_files(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
        monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
        with discovery.announced("admin", "127.0.0.1", 1, TOKEN) as done:
            assert done
            assert discovery.find("admin", "127.0.0.1", 1) == TOKEN
        last = tmp_path / f"owmesos-{os.geteuid()}"
        last.rmdir()
        last.symlink_to(tmp_path)  # whoever was there first must not get it
        with discovery.announced("admin", "127.0.0.1", 1, TOKEN) as done:
            assert not done

    def test_a_link_among_the_temporary_files_changes_no_mode(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "none"))
        monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
        monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty").chmod(0o755)
        (tmp_path / f"owmesos-{os.geteuid()}").symlink_to(tmp_path / "empty")
        with discovery.announced("admin", "127.0.0.1", 1, TOKEN) as done:
            assert not done
        assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o755

    def test_the_newest_counts(self, own_folders: Path, tmp_path: Path) -> None:
        with discovery.announced("admin", "127.0.0.1", 1, "old-one"):
            state = tmp_path / "XDG_STATE_HOME" / "owmesos" / ".running" / "admin-127.0.0.1:1"
            write_private(state, "new-one")
            os.utime(state, (2**32, 2**32))
            with state.open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX)
                assert discovery.find("admin", "127.0.0.1", 1) == "new-one"
            assert discovery.find("admin", "127.0.0.1", 1) == "old-one"
        assert state.exists()  # another's

    def test_what_a_killed_process_left_is_told_to_nobody(self, own_folders: Path) -> None:
        """Whoever listens at the address now may be a stranger."""
        announce = (
            "import time; from owmesos.system import discovery\n"
            f"with discovery.announced('admin', '127.0.0.1', 1, '{TOKEN}'): print(flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", announce], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert discovery.find("admin", "127.0.0.1", 1) == TOKEN
            process.kill()
        assert (own_folders / "admin-127.0.0.1:1").exists()
        assert discovery.find("admin", "127.0.0.1", 1) is None

    def test_one_address_is_not_another(self, own_folders: Path) -> None:
        with discovery.announced("admin", "127.0.0.2", 1, TOKEN), discovery.announced("admin", "0.0.0.0", 2, TOKEN):
            assert discovery.find("admin", "127.0.0.1", 1) is None
            assert discovery.find("admin", "localhost", 2) == TOKEN

    def test_a_link_is_not_followed(self, own_folders: Path, token_file: Path) -> None:
        own_folders.mkdir(mode=0o700)
        (own_folders / "admin-127.0.0.1:1").symlink_to(token_file)
        assert discovery.find("admin", "127.0.0.1", 1) is None


class TestBeyondLoopback:
    @pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
    def test_it_does_not_start_without_a_token_and_tls(self, state: Path, host: str) -> None:
        ran = owmesos("run", "--master", "h:1", "--state", str(state), "--admin", f"{host}:0")
        assert ran.code == 2
        assert ran.line == (
            f"owmesos run: --admin {host}:0 can be reached from other machines: give --admin-token-file and "
            "--admin-tls-cert and --admin-tls-key too, or --admin-insecure on a private network"
        )
        assert not state.exists()

    def test_a_token_alone_is_not_enough(self, state: Path, token_file: Path) -> None:
        arguments = ("--master", "h:1", "--state", str(state), "--admin", "0.0.0.0:0")
        assert owmesos("run", *arguments, "--admin-token-file", str(token_file)).code == 2

    def test_tls_alone_is_not_enough(self, state: Path, tls: Tls) -> None:
        arguments = ("--master", "h:1", "--state", str(state), "--admin", "0.0.0.0:0")
        assert "give --admin-token-file too" in owmesos("run", *arguments, *tls.options).line

    async def test_said_aloud_it_starts_and_warns(self, fake_cluster: FakeCluster, state: Path) -> None:
        arguments = ("--master", fake_cluster.master.address, "--state", str(state), "--admin-insecure")
        async with running(*arguments, "--admin", "0.0.0.0:0") as process:
            await process.said(r"WARNING .*--admin-insecure: the admin API at .* can be reached from other machines")
            url = process.url.replace("0.0.0.0", "127.0.0.1")
            assert (await owmesos_process("reservations", "-o", "json", "--admin", url)).json == []

    def test_the_command_line_sends_no_token_unencrypted(self) -> None:
        ran = owmesos("nodes", "--admin", "http://framework.example:8686")
        assert ran.code == 2
        assert "the token would go to http://framework.example:8686 unencrypted: use https://" in ran.line


class TestTls:
    async def test_with_it_the_command_line_verifies(
        self, fake_cluster: FakeCluster, state: Path, token_file: Path, tls: Tls
    ) -> None:
        token = ("--admin-token-file", str(token_file))
        arguments = ("--master", fake_cluster.master.address, "--state", str(state))
        async with running(*arguments, *token, *tls.options, "--admin", "0.0.0.0:0") as process:
            assert "--admin-insecure" not in process.log
            url = process.url.replace("0.0.0.0", "127.0.0.1")
            assert url.startswith("https://")
            ca = ("--admin-ca", str(tls.ca))
            assert (await owmesos_process("reservations", "-o", "json", "--admin", url, *token, *ca)).json == []
            assert (
                await owmesos_process("reservations", "-o", "json", "--admin", url.removeprefix("https://"), *ca)
            ).json == []
            untrusted = await owmesos_process("nodes", "--admin", url, *token)
            assert (
                f"the certificate of {url} is not trusted: unable to get local issuer certificate; give"
                in untrusted.line
            )
            plain = await owmesos_process("nodes", "--admin", url.replace("https", "http"), *token)
            assert "the connection to http" in plain.line
            assert plain.line.endswith("If it has TLS, write https://")

    async def test_on_loopback_too(self, fake_cluster: FakeCluster, state: Path, tls: Tls) -> None:
        arguments = ("--master", fake_cluster.master.address, "--state", str(state))
        async with running(*arguments, *tls.options) as process:
            assert (await process.ask("reservations", "-o", "json", "--admin-ca", str(tls.ca))).json == []

    @pytest.mark.parametrize(
        ("flags", "reason"),
        [
            (("--admin-tls-cert", "cert"), "--admin-tls-cert needs --admin-tls-key"),
            (("--admin-tls-cert", "cert", "--admin-tls-key", "key"), "cannot be used: cert: No such file"),
            (("--admin", "https://127.0.0.1:0"), "needs --admin-tls-cert and --admin-tls-key"),
        ],
    )
    def test_what_cannot_be_meant(self, state: Path, flags: tuple[str, ...], reason: str) -> None:
        ran = owmesos("run", "--master", "h:1", "--state", str(state), "--admin", "127.0.0.1:0", *flags)
        assert (ran.code, reason in ran.line) == (2, True), ran

    def test_an_authority_that_cannot_be_used(self, tmp_path: Path) -> None:
        ran = owmesos("nodes", "--admin", "https://h:1", "--admin-ca", str(tmp_path / "none"))
        assert (ran.code, "cannot be used: No such file" in ran.line) == (2, True)
