"""Secrets and TLS files that cannot be used are one clear line."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trustme
from aiohttp import web
from aiohttp.test_utils import RawTestServer

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.access import Access, Tls, read_secret
from owmesos.mesos.wire.address import Credentials


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("xyzzy\n")
    file.chmod(0o600)
    return file


class TestSecret:
    def test_from_a_file_without_its_line_feed(self, secret_file: Path) -> None:
        assert read_secret(secret_file, {}) == "xyzzy"

    def test_from_the_environment(self) -> None:
        assert read_secret(None, {"OWMESOS_SECRET": "xyzzy"}) == "xyzzy"

    def test_the_file_goes_before_the_environment(self, secret_file: Path) -> None:
        assert read_secret(secret_file, {"OWMESOS_SECRET": "other"}) == "xyzzy"

    def test_there_need_be_none(self) -> None:
        assert read_secret(None, {}) is None

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="cannot be read: No such file"):
            read_secret(tmp_path / "none", {})

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o602])
    def test_a_file_that_others_can_read(self, secret_file: Path, mode: int) -> None:
        secret_file.chmod(mode)
        with pytest.raises(InvalidInput, match="can be read by others: chmod 600"):
            read_secret(secret_file, {})

    def test_an_empty_file(self, secret_file: Path) -> None:
        secret_file.write_text("\n")
        with pytest.raises(InvalidInput, match="is empty"):
            read_secret(secret_file, {})

    def test_no_text(self, secret_file: Path) -> None:
        secret_file.write_bytes(b"\xff\xfe")
        with pytest.raises(InvalidInput, match="not valid UTF-8"):
            read_secret(secret_file, {})

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput):
            read_secret(tmp_path, {})


class TestTls:
    def test_a_missing_authority(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match=r"authority .* No such file"):
            Tls(ca=tmp_path / "none").context()

    def test_an_authority_that_is_no_certificate(self, secret_file: Path) -> None:
        with pytest.raises(InvalidInput, match="authority"):
            Tls(ca=secret_file).context()

    def test_a_missing_certificate(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="certificate cannot be used"):
            Tls(cert=tmp_path / "none").context()

    def test_a_key_that_is_not_the_certificates(self, tmp_path: Path) -> None:
        authority = trustme.CA()
        one, other = authority.issue_cert("a"), authority.issue_cert("b")
        one.cert_chain_pems[0].write_to_path(tmp_path / "cert")
        other.private_key_pem.write_to_path(tmp_path / "key")
        with pytest.raises(InvalidInput, match="certificate cannot be used"):
            Tls(cert=tmp_path / "cert", key=tmp_path / "key").context()

    def test_a_key_alone(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidInput, match="needs its certificate"):
            Tls(key=tmp_path / "key").context()


def test_the_content_type_has_no_charset() -> None:
    assert Access().headers["Content-Type"] == "application/json"


def test_basic_authentication() -> None:
    assert Access(Credentials("me", "xyzzy")).headers["Authorization"] == "Basic bWU6eHl6enk="


@pytest.mark.parametrize(("pause", "connections"), [(3.5, 1), (4.5, 2)])
async def test_a_connection_that_lay_idle_is_used_again_for_four_seconds(
    monkeypatch: pytest.MonkeyPatch, pause: float, connections: int
) -> None:
    """A proxy before the master or an agent may close it after five, and a call that breaks is not repeated."""
    peers = set()

    async def handle(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with RawTestServer(handle) as server, Access().session(secure=False) as session:
        await session.post(server.make_url("/"))
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: time.monotonic() + pause)
        await session.post(server.make_url("/"))
    assert len(peers) == connections
