"""Who may come in: tokens, what each may do, and where they are kept."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from owmesos.errors import InvalidInput
from owmesos.service.admin import AdminServer
from owmesos.service.admin_tokens import ADMIN_FILE, READ_FILE, TokenRole, Tokens, read_token, tokens
from owmesos.service.framework import Framework
from owmesos.system.private_files import write_private
from tests.fixtures.admin import AUTHORIZED, READING, TOKENS

PATHS = [
    ("GET", "/api/v1/nodes"),
    ("GET", "/api/v1/launches"),
    ("GET", "/api/v1/nothing"),
    ("POST", "/api/v1/launches"),
    ("POST", "/api/v1/kill"),
    ("POST", "/api/v1/teardown"),
    ("PUT", "/api/v1/actions/hello"),
    ("DELETE", "/api/v1/actions/hello"),
    ("OPTIONS", "/api/v1/launches"),
    ("GET", "/api/v1/status"),
    ("GET", "/api/v1/events"),
    ("GET", "/metrics"),
    ("GET", "/no-such-page"),
]


@pytest.fixture
def url(admin_server: AdminServer) -> str:
    return admin_server.url


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0",
        "Bearer wrong",
        f"Basic {TOKENS.admin}",
        TOKENS.admin,
        f"Bearer {TOKENS.admin}x",
        f"Bearer {TOKENS.admin[:-1]}",
        "Bearer \udcff\udcfe",
    ],
)
async def test_a_stranger_gets_nothing(
    url: str, session: aiohttp.ClientSession, method: str, path: str, given: str | None
) -> None:
    headers = {"Content-Type": "application/json"}
    if given is not None:
        headers["Authorization"] = given.encode("utf-8", "surrogateescape").decode("latin-1")
    async with session.request(method, url + path, headers=headers, data=b"{}") as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="owmesos"')
        said = await response.json()
        assert "token" in said["error"]
        assert TOKENS.admin not in said["error"]


async def test_a_stranger_may_ask_whether_it_is_well(url: str, session: aiohttp.ClientSession) -> None:
    async with session.get(f"{url}/healthz") as response:
        assert (response.status, (await response.json())["subscribed"]) == (200, True)


@pytest.mark.parametrize(("method", "path"), PATHS)
async def test_the_read_only_token_is_for_looking(
    url: str, session: aiohttp.ClientSession, method: str, path: str
) -> None:
    headers = {**READING, "Content-Type": "application/json"}
    async with session.request(method, url + path, headers=headers, data=b"{}") as response:
        if method == "GET":
            assert response.status in (200, 404)
        else:
            assert response.status == 403
            assert "read" in (await response.json())["error"]


async def test_the_name_of_the_scheme_has_no_case(url: str, session: aiohttp.ClientSession) -> None:
    headers = {"Authorization": AUTHORIZED["Authorization"].replace("Bearer", "bEARER")}
    async with session.get(f"{url}/api/v1/nodes", headers=headers) as response:
        assert response.status == 200


async def test_a_framework_without_a_read_only_token_knows_one_token(framework: Framework) -> None:
    alone = Tokens(TOKENS.admin)
    assert alone.role("Bearer 0") is None
    assert alone.role("Bearer ") is None
    assert alone.role(f"Bearer {TOKENS.admin}") is TokenRole.ADMIN


class TestFiles:
    def test_tokens_are_made_new_at_each_start(self, tmp_path: Path) -> None:
        before = os.umask(0)
        try:
            first, second = tokens(tmp_path / "state"), tokens(tmp_path / "state")
        finally:
            os.umask(before)
        assert len({*first, *second}) == 4
        for name, token in ((ADMIN_FILE, second.admin), (READ_FILE, second.read)):
            file = tmp_path / "state" / name
            assert file.stat().st_mode & 0o777 == 0o600
            assert read_token(file) == token
        assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700

    def test_those_that_are_given_stay(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        write_private(file, "x" * 40 + "\n")
        found = tokens(tmp_path / "state", admin_file=file)
        assert found.admin == "x" * 40
        assert found.read == read_token(tmp_path / "state" / READ_FILE)
        assert not (tmp_path / "state" / ADMIN_FILE).exists()

    def test_one_file_cannot_be_both(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        write_private(file, "x" * 40)
        with pytest.raises(InvalidInput, match="must be another"):
            tokens(tmp_path, admin_file=file, read_file=file)

    @pytest.mark.parametrize("content", ["short", "with a space in the middle", "x" * 30 + "\ny", "ü" * 30])
    def test_what_is_not_a_token(self, tmp_path: Path, content: str) -> None:
        file = tmp_path / "token"
        write_private(file, content)
        with pytest.raises(InvalidInput, match="must hold one token of at least 20"):
            read_token(file)

    def test_one_that_others_can_read_is_none(self, tmp_path: Path) -> None:
        file = tmp_path / "token"
        write_private(file, "x" * 40)
        file.chmod(0o640)
        with pytest.raises(InvalidInput, match="can be read by others: chmod 600"):
            read_token(file)
