"""Requests with a key: done once, and answered the same when they are repeated, by the library and the admin API."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.scheduler.launch import Launch
from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.service.idempotency import KeyBook, KeyReused, digest, key_of
from owmesos.storage import Answer, Write
from owmesos.storage.sqlite import FILE
from tests.fakes.cluster import FakeCluster
from tests.fixtures.admin import AUTHORIZED, TOKENS
from tests.waiting import eventually_async

SMALL = {"command": "sleep 60", "cpus": 0.1, "mem": 64}
LAUNCH = Launch(command="sleep 60", cpus=0.1, mem=64)


class Request(NamedTuple):
    key: str
    request: bytes = b"a"
    taken_at: float = 0.0
    weight: int = 0


class TestBook:
    def test_a_request_is_found_by_its_key(self) -> None:
        book: KeyBook[Request] = KeyBook()
        assert book.add(Request("one"), now=0.0) == []
        assert book.find("one", b"a", 1.0) == Request("one")
        assert book.find("two", b"a", 1.0) is None

    def test_a_key_is_for_one_request(self) -> None:
        book: KeyBook[Request] = KeyBook()
        book.add(Request("one"), now=0.0)
        with pytest.raises(KeyReused, match="'one' was used for another request"):
            book.find("one", b"b", 1.0)

    def test_the_oldest_are_forgotten_when_there_are_too_many(self) -> None:
        book: KeyBook[Request] = KeyBook(count=2)
        assert [book.add(Request(key), now=0.0) for key in "abc"] == [[], [], ["a"]]
        assert len(book) == 2

    def test_the_oldest_are_forgotten_when_they_are_too_large(self) -> None:
        book: KeyBook[Request] = KeyBook(size=10)
        assert [book.add(Request(key, weight=4), now=0.0) for key in "abc"] == [[], [], ["a"]]
        assert book.add(Request("d", weight=11), now=0.0) == ["b", "c", "d"]
        assert len(book) == 0

    def test_an_old_one_is_forgotten(self) -> None:
        book: KeyBook[Request] = KeyBook(age=10)
        book.add(Request("a"), Request("b", taken_at=5.0), now=5.0)
        assert book.find("a", b"b", 10.5) is None
        assert book.add(Request("c", taken_at=10.5), now=10.5) == ["a"]

    def test_a_key_that_is_taken_anew_counts_once(self) -> None:
        book: KeyBook[Request] = KeyBook(size=10)
        for _ in range(5):
            assert book.add(Request("a", weight=4), now=0.0) == []

    def test_a_digest_is_of_the_parts_and_not_of_their_sum(self) -> None:
        assert digest([b"ab", b"c"]) != digest([b"a", b"bc"])
        assert digest([b"ab", b"c"]) == digest([b"ab", b"c"])


class TestHeader:
    @pytest.mark.parametrize(
        ("header", "key"),
        [
            ('"8e03978e-40d5"', "8e03978e-40d5"),
            ("8e03978e", "8e03978e"),
            (r'"a \"b\" \\"', r'a "b" \ '.strip()),
            (' "a" ', "a"),
        ],
    )
    def test_a_key(self, header: str, key: str) -> None:
        assert key_of(header) == key

    @pytest.mark.parametrize(
        "header", ["", '""', '"', '"a', 'a"b', "a b", '"é"', '"a\tb"', "a,b", '"a";x=1', "x" * 256, '"\\a"']
    )
    def test_what_is_not_one(self, header: str) -> None:
        with pytest.raises(InvalidInput):
            key_of(header)


@asynccontextmanager
async def framework_on(cluster: FakeCluster, state: Path | None = None) -> AsyncIterator[Framework]:
    framework = Framework(master=cluster.master.address, state=state)
    await framework.start()
    await eventually_async(lambda: framework.nodes() and framework.subscribed)
    yield framework
    await framework.stop(teardown=False)


def commits_of(framework: Framework) -> list[Sequence[Write]]:
    commits: list[Sequence[Write]] = []
    commit = framework._store.commit

    def counted(writes: Sequence[Write]) -> None:
        commits.append(writes)
        commit(writes)

    framework._store.commit = counted  # type: ignore[method-assign]
    return commits


class TestLibrary:
    async def test_launches_with_a_key_are_asked_for_once(self, framework: Framework) -> None:
        ids = [[each.id for each in await framework.launch_many([LAUNCH] * 3, key="k")] for _ in range(2)]
        assert ids[0] == ids[1]
        assert len(framework.launches()) == 3

    async def test_without_a_key_each_is_a_new_one(self, framework: Framework) -> None:
        assert len({(await framework.launch(LAUNCH)).id for _ in range(2)}) == 2

    async def test_a_key_with_other_launches_is_an_error(self, framework: Framework) -> None:
        await framework.launch_many([LAUNCH], key="k")
        for launches in ([LAUNCH] * 2, [Launch(command="sleep 61", cpus=0.1, mem=64)], []):
            with pytest.raises(KeyReused):
                await framework.launch_many(launches, key="k")
        with pytest.raises(KeyReused):
            await framework.kill_many(everything=True, key="k")
        assert len(framework.launches()) == 1

    async def test_two_at_once_are_one(self, framework: Framework) -> None:
        handles = await asyncio.gather(*(framework.launch_many([LAUNCH], key="k") for _ in range(5)))
        assert len({handle.id for (handle,) in handles}) == 1

    async def test_the_answer_is_stored_with_what_was_done(self, framework: Framework) -> None:
        commits = commits_of(framework)
        (handle,) = await framework.launch_many([LAUNCH], key="k")
        first = commits[0]
        assert [write.key for write in first if isinstance(write, Answer)] == ["k"]
        assert handle.id in {getattr(write, "launch_id", None) for write in first}

    async def test_a_kill_with_a_key_is_answered_the_same(self, framework: Framework) -> None:
        (handle,) = await framework.launch_many([LAUNCH])
        await handle.running()
        first = await framework.kill_many(name="launch", key="k")
        await handle.ended()
        await framework.launch(LAUNCH)
        assert await framework.kill_many(name="launch", key="k") == first
        assert [each.outcome for each in first] == ["killing"]
        assert [each["state"] for each in framework.launches() if each["launch_id"] != handle.id] != ["KILLED"]

    async def test_what_is_refused_takes_no_key(self, framework: Framework) -> None:
        with pytest.raises(InvalidInput):
            await framework.launch_many([Launch(command="x", role="nobodys")], key="k")
        await framework.launch_many([LAUNCH], key="k")

    @pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\nb"])
    async def test_what_is_not_a_key(self, framework: Framework, key: str) -> None:
        with pytest.raises(InvalidInput, match="a key must be 1 to 255 printable ASCII characters"):
            await framework.launch_many([LAUNCH], key=key)

    async def test_a_key_outlives_the_process(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        async with framework_on(fake_cluster, tmp_path) as framework:
            launched = [each.id for each in await framework.launch_many([LAUNCH] * 2, key="launch")]
            killed = await framework.kill_many(launched, key="kill")
        async with framework_on(fake_cluster, tmp_path) as framework:
            assert [each.id for each in await framework.launch_many([LAUNCH] * 2, key="launch")] == launched
            assert await framework.kill_many(launched, key="kill") == killed
            with pytest.raises(KeyReused):
                await framework.launch_many([LAUNCH], key="launch")
            assert len(framework.launches()) == 2

    @pytest.mark.parametrize(
        "damage", ["taken_at = 'long ago'", "body = 5", "body = 'text'", "request = 'text'", "key = X'00'"]
    )
    async def test_a_stored_answer_that_cannot_be_read_harms_no_other(
        self, fake_cluster: FakeCluster, tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with framework_on(fake_cluster, tmp_path) as framework:
            await framework.launch_many([LAUNCH], key="one")
            (second,) = await framework.launch_many([LAUNCH], key="two")
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            database.execute(f"UPDATE answers SET {damage} WHERE key = 'one'")
        async with framework_on(fake_cluster, tmp_path) as framework:
            assert [each.id for each in await framework.launch_many([LAUNCH], key="two")] == [second.id]
        assert "cannot be read and is left out" in caplog.text

    async def test_what_grew_old_while_the_process_was_down_is_deleted(
        self, fake_cluster: FakeCluster, tmp_path: Path
    ) -> None:
        async with framework_on(fake_cluster, tmp_path) as framework:
            await framework.launch_many([LAUNCH], key="old")
            await framework.launch_many([LAUNCH], key="new")
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            database.execute("UPDATE answers SET taken_at = 1 WHERE key = 'old'")
        async with framework_on(fake_cluster, tmp_path):
            pass
        with closing(sqlite3.connect(tmp_path / FILE)) as database, database:
            assert database.execute("SELECT key FROM answers").fetchall() == [("new",)]

    async def test_a_new_framework_knows_no_key(self, fake_cluster: FakeCluster, tmp_path: Path) -> None:
        async with framework_on(fake_cluster, tmp_path) as framework:
            (first,) = await framework.launch_many([LAUNCH], key="k")
            await framework.teardown()
        async with framework_on(fake_cluster, tmp_path) as framework:
            (second,) = await framework.launch_many([LAUNCH], key="k")
        assert first.id != second.id


class Api:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url, self._session = url, session

    async def __call__(self, path: str, body: Any, *keys: str) -> tuple[int, str]:
        headers = [("Idempotency-Key", key) for key in keys]
        async with self._session.post(self._url + path, json=body, headers=headers) as response:
            return response.status, await response.text()


@pytest.fixture
async def api(framework: Framework) -> AsyncIterator[Api]:
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    async with aiohttp.ClientSession(headers=AUTHORIZED) as session:
        yield Api(server.url, session)
    await server.stop()


class TestApi:
    async def test_a_repetition_gets_the_same_bytes(self, api: Api, framework: Framework) -> None:
        body = {"launch": SMALL, "count": 3}
        first = await api("/api/v1/launches", body, '"k"')
        assert first[0] == 201
        await framework.wait([each["launch_id"] for each in framework.launches()], "running", 10)
        assert await api("/api/v1/launches", body, '"k"') == first
        assert await api("/api/v1/launches", body, "k") == first
        kill = await api("/api/v1/kill", {"all": True}, '"l"')
        assert kill[0] == 200
        assert await api("/api/v1/kill", {"all": True}, '"l"') == kill
        assert len(framework.launches()) == 3

    async def test_another_body_is_422(self, api: Api, framework: Framework) -> None:
        await api("/api/v1/launches", {"launch": SMALL}, '"k"')
        for path, body in (
            ("launches", {"launch": {**SMALL, "mem": 65}}),
            ("launches", {"launch": SMALL, "count": 2}),
            ("kill", {"all": True}),
        ):
            status, text = await api(f"/api/v1/{path}", body, '"k"')
            assert (status, "the Idempotency-Key 'k' was used for another request" in text) == (422, True)
        assert len(framework.launches()) == 1

    async def test_a_malformed_key_is_400(self, api: Api, framework: Framework) -> None:
        for path, body in (("launches", {"launch": SMALL}), ("kill", {"all": True})):
            for keys in (('"a',), ("",), ('"a"', '"b"')):
                status, text = await api(f"/api/v1/{path}", body, *keys)
                assert (status, "Idempotency-Key" in text) == (400, True), text
        assert framework.launches() == []
