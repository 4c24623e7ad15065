"""SIGHUP: certificates and tokens are read again while the process runs."""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import signal
import socket
import ssl
import sys
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from owmesos.cli.connection import MasterAccess
from owmesos.cli.drivers import driver_named
from owmesos.cli.process_log import ProcessLog
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import FrameworkInfo, Subscribe
from owmesos.mesos.wire.access import Access, Tls
from owmesos.mesos.wire.address import Credentials
from owmesos.system.private_files import write_private
from tests.cli.running import COMMAND, ROOT, environment, running
from tests.fakes.cluster import FakeCluster
from tests.fakes.pki import Pki
from tests.waiting import eventually, eventually_async


def certificate(url: str) -> bytes:
    """That which the admin API shows now."""
    host, port = url.removeprefix("https://").split(":")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain) as secure:
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return shown


def issue(pki: Pki, folder: Path, not_after: datetime | None = None) -> tuple[Path, Path]:
    """A new certificate of a server into the same files."""
    cert, key = folder / "server.pem", folder / "server-key.pem"
    made = pki.authority.issue_cert("127.0.0.1", "localhost", not_after=not_after)
    made.cert_chain_pems[0].write_to_path(cert)
    made.private_key_pem.write_to_path(key)
    return cert, key


@asynccontextmanager
async def database() -> AsyncIterator[tuple[str, list[str]]]:
    """Its URL, and with whose passwords it is asked. It answers as one that is unwell, and so is asked each second."""
    passwords: list[str] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        passwords.append(b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode())
        return web.Response(status=503)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}", passwords
    await runner.cleanup()


async def asked(invoker: str, password: str) -> int:
    """The status of a request to an invoker's own HTTP interface."""
    login = {"Authorization": f"Basic {b64encode(f'operator:{password}'.encode()).decode()}"}
    async with aiohttp.ClientSession(headers=login) as session, session.get(f"{invoker}/isEnabled") as response:
        return response.status


class TestTheProcess:
    async def test_the_admin_apis_certificate_and_tokens(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        pki, token = Pki(tmp_path), tmp_path / "token"
        write_private(token, "the-first-token-of-the-user\n")
        cert, key = issue(pki, tmp_path)
        options = ("--admin-tls-cert", str(cert), "--admin-tls-key", str(key), "--admin-token-file", str(token))
        arguments = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"), *options)
        async with running(*arguments) as process:
            ask = ("reservations", "-o", "json", "--admin-ca", str(pki.ca))
            first = certificate(process.url)
            assert (await process.ask(*ask)).json == []

            issue(pki, tmp_path)
            old = tmp_path / "old"
            write_private(old, "the-first-token-of-the-user\n")
            write_private(token, "the-second-token-of-the-user\n")
            await process.hang_up(r"renewed: the admin API's certificate(?s:.*)renewed: the admin API's tokens")
            second = certificate(process.url)
            assert second != first
            assert (await process.ask(*ask)).json == []  # it finds the new token by itself
            assert "the token is not valid" in (await process.ask(*ask, "--admin-token-file", str(old))).line

            issue(pki, tmp_path, not_after=datetime(2020, 1, 1, tzinfo=timezone.utc))
            await process.hang_up(r"renewed: the admin API's certificate")
            await process.said(r"WARNING .*certificate \S+ expired at 2020-01-01 00:00 UTC: no command trusts it")
            assert "not trusted: certificate has expired; renew it" in (await process.ask(*ask)).line
            issue(pki, tmp_path)
            await process.hang_up(r"renewed: the admin API's certificate")
            second = certificate(process.url)

            cert.write_text("no certificate")
            write_private(token, "short\n")
            await process.hang_up(
                r"not renewed: the admin API's certificate: .*server.pem: it has no certificate in PEM"
            )
            await process.said(r"not renewed: the admin API's tokens: the token file .* must hold one token")
            assert certificate(process.url) == second
            assert (await process.ask(*ask)).json == []
            assert (await process.end()).code == 0

    async def test_the_log_level_of_the_configuration_file(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        config = tmp_path / "owmesos.toml"
        config.write_text('log-level = "info"\n')
        arguments = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"))
        async with running(*arguments, "--config", str(config)) as process:
            config.write_text('log-level = "debug"\n')
            await process.hang_up("renewed: the log level")
            config.write_text('log-level = "loud"\n')
            await process.hang_up("not renewed: the log level: .*'loud' is not one of")
            config.write_text("")
            await process.hang_up("renewed: the log level")
            assert (await process.end()).code == 0

    async def test_a_log_level_on_the_command_line_stays(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        config = tmp_path / "owmesos.toml"
        config.write_text('log-level = "debug"\n')
        arguments = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"))
        async with running(*arguments, "--config", str(config), "--log-level", "info") as process:
            process.process.send_signal(signal.SIGHUP)
            assert (await process.ask("reservations", "-o", "json")).json == []
            assert "renewed" not in process.log
            assert (await process.end()).code == 0

    async def test_the_secret_for_the_master(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        secret = tmp_path / "secret"
        write_private(secret, "first\n")
        arguments = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"))
        async with running(*arguments, "--principal", "me", "--secret-file", str(secret)) as process:
            await process.said("subscribed at")
            write_private(secret, "second\n")
            await process.hang_up("renewed: the secret for the master")
            secret.unlink()
            await process.hang_up("not renewed: the secret for the master: ")
            assert (await process.end()).code == 0

    async def test_an_invokers_passwords_and_keys(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        """Nothing is at Kafka's address; tests/invoker/test_renewal.py renews what a real one asks for."""
        couch, http, keys = (tmp_path / name for name in ("couch", "http", "keys.toml"))
        write_private(couch, "first\n")
        write_private(http, "operator:first\n")
        write_private(keys, "# none yet\n")
        async with database() as (url, passwords):
            arguments = (
                *("--master", fake_cluster.master.address, "--state", str(tmp_path / "state")),
                *("--kafka", "127.0.0.1:1", "--id", "0", "--couchdb", url),
                *("--couchdb-user", "me", "--couchdb-password-file", str(couch)),
                *("--invoker-http", "127.0.0.1:0", "--invoker-credentials-file", str(http)),
                *("--parameter-keys-file", str(keys)),
            )
            async with running(*arguments) as process:
                own = (await process.said(r"HTTP interface is at (http://\S+)"))[1]
                await eventually_async(lambda: passwords[-1:] == ["me:first"])
                assert await asked(own, "first") == 200

                write_private(couch, "second\n")
                write_private(http, "operator:second\n")
                write_private(keys, 'aes-128 = "YSBrZXkgb2YgMTYgYnl0ZQ=="\n')
                await process.hang_up("renewed: CouchDB's password(?s:.*)renewed: the cred(?s:.*)renewed: the keys")
                await eventually_async(lambda: passwords[-1:] == ["me:second"])
                assert [await asked(own, "first"), await asked(own, "second")] == [401, 200]

                couch.chmod(0o644)
                write_private(http, "operator\n")
                write_private(keys, 'aes-128 = "short"\n')
                await process.hang_up("not renewed: CouchDB's password .* can be read by others: chmod 600 .* is kept")
                await process.said("not renewed: the credentials of the invoker's HTTP interface: .*USER:PASSWORD")
                await process.said("not renewed: the keys of parameters: the key for aes-128 is not valid base64")
                assert await asked(own, "second") == 200
                assert (await process.end()).code == 0

    async def test_one_without_any_goes_on(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        arguments = ("--master", fake_cluster.master.address, "--state", str(tmp_path / "state"))
        async with running(*arguments) as process:
            process.process.send_signal(signal.SIGHUP)
            assert (await process.ask("reservations", "-o", "json")).json == []
            assert (await process.end()).code == 0

    def test_a_terminal_that_closes_ends_it(self, tmp_path: Path) -> None:
        """As without any handler of ours."""
        arguments = [*COMMAND, "run", "--master", "local", "--admin", "127.0.0.1:0", "--state", str(tmp_path / "state")]
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, arguments, environment())
        said = b""
        while b"the admin API is at" not in said:
            said += os.read(terminal, 4096)
        os.close(terminal)
        ended: tuple[int, int] = eventually(lambda: (found := os.waitpid(child, os.WNOHANG))[0] and found)
        assert ended[0] == child


class TestTheMastersCertificates:
    def test_a_new_client_certificate_is_shown(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        access = Access(tls=Tls(pki.ca, pki.cert, pki.key))
        server = pki.server("localhost", asks_client=True)
        first = shown_to(server, access.ssl_context)
        assert access.renew()
        assert shown_to(server, access.ssl_context) == first
        pki.issue_client()
        assert access.renew()
        assert shown_to(server, access.ssl_context) != first

    def test_a_new_authority_is_trusted(self, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        ours, other = Pki(tmp_path), Pki(tmp_path / "other")
        access = Access(tls=Tls(ours.ca))
        with pytest.raises(ssl.SSLError):
            shown_to(other.server("localhost"), access.ssl_context)
        ours.ca.write_bytes(other.ca.read_bytes())
        access.renew()
        shown_to(other.server("localhost"), access.ssl_context)

    def test_one_that_cannot_be_used_changes_nothing(self, tmp_path: Path) -> None:
        pki = Pki(tmp_path)
        access = Access(tls=Tls(pki.ca, pki.cert, pki.key))
        server = pki.server("localhost", asks_client=True)
        first = shown_to(server, access.ssl_context)
        pki.key.write_text("no key")
        with pytest.raises(InvalidInput, match="the TLS certificate cannot be used"):
            access.renew()
        assert shown_to(server, access.ssl_context) == first

    def test_without_any_there_is_nothing_to_renew(self) -> None:
        assert not Access().renew()


def test_the_log_has_what_its_level_lets_through(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("owmesos.tests")
    before = logging.getLogger("owmesos").level
    log = ProcessLog("warning")
    handler = log.handler
    try:
        logger.parent.addHandler(handler)  # type: ignore[union-attr]
        for level in ("warning", "info", "debug", "error"):
            log.set(level)
            logger.debug("debug says agent 0123-S7")
            logger.info("info at %s", level)
    finally:
        logger.parent.removeHandler(handler)  # type: ignore[union-attr]
        logging.getLogger("owmesos").setLevel(before)
    said = [line.partition("owmesos.tests: ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ["info at info", "debug says agent 0123-S7", "info at debug"]


class TestTheMastersSecret:
    def test_new_and_lasting_sessions_have_it_and_a_subscriptions_keeps_its_own(self) -> None:
        async def sessions() -> list[str]:
            access = Access(Credentials("me", "first"))
            subscribed = access.session(secure=False)
            lasting = access.session(secure=False, lasting=True)
            assert access.renew_secret("second")
            made = [subscribed, lasting, access.session(secure=False)]
            for each in made:
                await each.close()
            return [b64decode(each.headers["Authorization"].removeprefix("Basic ")).decode() for each in made]

        assert asyncio.run(sessions()) == ["me:first", "me:second", "me:second"]

    def test_pymesos_has_it_too(self, tmp_path: Path) -> None:
        pytest.importorskip("pymesos")
        file = tmp_path / "secret"
        write_private(file, "second\n")
        build, renewed = driver_named("pymesos", "127.0.0.1:1", MasterAccess("me", file), "first")
        assert build is not None
        driver: Any = build(Subscribe(FrameworkInfo(user="", name="n")))
        before = driver._access.headers["Authorization"]
        (renew,) = renewed.values()
        assert renew()
        after = driver._access.headers["Authorization"]
        assert [b64decode(each.split()[1]).decode() for each in (before, after)] == ["me:first", "me:second"]

    def test_without_credentials_there_is_nothing_to_renew(self) -> None:
        assert not Access().renew_secret("second")


def shown_to(server: ssl.SSLContext, client: ssl.SSLContext) -> bytes | None:
    """The client's certificate, as the server sees it. Raises SSLError if either does not trust the other."""
    towards_server, towards_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(towards_client, towards_server, server_hostname="localhost")
    theirs = server.wrap_bio(towards_server, towards_client, server_side=True)
    for _ in range(4):
        for end in (ours, theirs):
            with suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return theirs.getpeercert(binary_form=True)
