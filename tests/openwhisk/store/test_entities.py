"""Actions and records whoever keeps them: the cache, the writer, and the store in a file."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from owmesos.openwhisk.activation import Activation, not_run, success
from owmesos.openwhisk.entities import (
    ActionDocument,
    ActionMissing,
    ActionUnreadable,
    Attachment,
    code_of,
    decode_action,
    to_executable,
)
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import Manifest, Runtime, parse
from owmesos.openwhisk.messages import EntityName
from owmesos.openwhisk.store.action_cache import ActionCache
from owmesos.openwhisk.store.activation_writer import ActivationWriter, WriterSettings
from owmesos.openwhisk.store.couchdb import CouchFailed
from owmesos.openwhisk.store.sqlite import EmbeddedStore, EmbeddedStoreFailed
from owmesos.system.large_text import SLICE
from tests.openwhisk.documents import MANIFEST, action_document
from tests.openwhisk.kafka.topics import activation
from tests.openwhisk.runs import executable, inline
from tests.waiting import eventually_async

HELLO = EntityName("guest", "hello")


def action(code: str = "", revision: str = "1-a") -> Executable:
    return executable(HELLO, code, revision=revision)


class Source:
    """Fetches, when it is let."""

    def __init__(self, *answers: Executable | Exception) -> None:
        self.answers = list(answers)
        self.asked = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self) -> Executable:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


class TestCache:
    async def test_a_revision_is_fetched_once(self) -> None:
        cache, source = ActionCache(), Source(action())
        source.gate.clear()
        many = [asyncio.ensure_future(cache.get("guest/hello", "1-a", source)) for _ in range(10)]
        await asyncio.sleep(0)
        source.gate.set()
        assert len({id(found) for found in await asyncio.gather(*many)}) == 1
        await cache.get("guest/hello", "1-a", source)
        assert source.asked == 1

    async def test_without_a_revision_it_is_passed_by(self) -> None:
        cache, source = ActionCache(), Source(action())
        for _ in range(2):
            await cache.get("guest/hello", None, source)
        assert source.asked == 2
        await cache.get("guest/hello", "1-a", source)
        assert source.asked == 2

    async def test_a_failure_is_not_kept(self) -> None:
        cache, source = ActionCache(), Source(ActionMissing("guest/hello"), action())
        with pytest.raises(ActionMissing):
            await cache.get("guest/hello", "1-a", source)
        assert await cache.get("guest/hello", "1-a", source)

    async def test_who_is_cancelled_takes_it_from_nobody(self) -> None:
        cache, source = ActionCache(), Source(action())
        source.gate.clear()
        first, second = (asyncio.ensure_future(cache.get("guest/hello", "1-a", source)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        source.gate.set()
        assert await second
        assert first.cancelled()

    async def test_the_last_used_are_kept_within_the_bound(self) -> None:
        weight = action("x" * 1000).weight
        cache = ActionCache(max_weight=2 * weight)
        for name in ("a", "b", "a", "c"):
            await cache.get(name, "1-a", Source(action("x" * 1000)))
        assert (len(cache), cache.weight) == (2, 2 * weight)
        source = Source(action("x" * 1000))
        await cache.get("a", "1-a", source)
        assert source.asked == 0
        await cache.get("huge", "1-a", Source(action("x" * 5000)))
        assert len(cache) == 2


def read(code: str | None = None, **changes: Any) -> Executable:
    document = decode_action("guest/hello", json.dumps({**action_document(), **changes}).encode())
    inline = document.exec.code
    return to_executable(HELLO, document, code if not isinstance(inline, str) else inline, MANIFEST)


class TestDocuments:
    def test_of_openwhisk_are_read(self) -> None:
        document = decode_action("guest/hello", json.dumps({**action_document(), "_rev": "1-a", "new": 1}).encode())
        found = to_executable(HELLO, document, "pass", MANIFEST)
        assert (found.revision, found.limits.timeout, found.provides_api_key) == ("1-a", 60000, False)
        assert found.sentinelled_logs

    @pytest.mark.parametrize(
        ("value", "provided"), [(True, True), (False, False), (None, True), ("", False), (1, True)]
    )
    def test_say_whether_the_key_is_given(self, value: Any, provided: bool) -> None:
        document = {**action_document(), "annotations": [{"key": "provide-api-key", "value": value}]}
        found = to_executable(HELLO, decode_action("guest/hello", json.dumps(document).encode()), "pass", MANIFEST)
        assert found.provides_api_key is provided

    @pytest.mark.parametrize("kind", ["Python:3", " PYTHON:3\n", "python:default", "Python:Default"])
    def test_their_kind_is_found_in_whatever_case_and_named_as_the_manifest_does(self, kind: str) -> None:
        assert read(exec={"kind": kind, "code": "pass # x"}).kind == "python:3"

    @pytest.mark.parametrize(
        ("code", "binary"),
        [("UEsDBA==", True), ("\n UEsDBA== ", True), ("def main(x): return x", False), ("UEsDBA=", False), ("", False)],
    )
    def test_text_is_seen_to_be_base64_whatever_is_said_of_it(self, code: str, binary: bool) -> None:
        for said in ({}, {"binary": True}, {"binary": False}):
            made = msgspec.json.decode(inline(read(exec={"kind": "python:3", "code": code, **said})))
            assert (made["code"], made["binary"]) == (code, binary)

    def test_what_is_said_of_an_attachment_counts(self) -> None:
        exec_ = {"kind": "python:3", "code": {"attachmentName": "couch:a", "attachmentType": "text/plain"}}
        for binary in (True, False):
            found = read("UEsDBA==", exec={**exec_, "binary": binary})
            assert msgspec.json.decode(inline(found))["binary"] is binary

    @pytest.mark.parametrize(
        ("attached", "found"),
        [({"attachmentName": "jarfile", "attachmentType": "application/java"}, True), (False, False)],
    )
    def test_the_code_of_kinds_that_are_attached_may_stand_under_jar(self, attached: Any, found: bool) -> None:
        java = {"kind": "java:8", "image": {"name": "java"}, "attached": attached}
        manifest = parse(json.dumps({"runtimes": {"java": [java]}}))
        jar = "def main(args):\n    return {'got': args}"
        document = msgspec.convert({**action_document(), "exec": {"kind": "java:8", "jar": jar}}, ActionDocument)
        assert code_of(document, manifest) == (jar if found else None)
        both = msgspec.structs.replace(document.exec, code="pass # newer")
        assert code_of(msgspec.structs.replace(document, exec=both), manifest) == "pass # newer"

    def test_a_jar_may_be_an_attachment(self) -> None:
        java = {"kind": "java:8", "image": {"name": "java"}, "attached": {"attachmentName": "j", "attachmentType": "t"}}
        manifest = parse(json.dumps({"runtimes": {"java": [java]}}))
        exec_ = {"kind": "java:8", "jar": {"attachmentName": "jarfile", "attachmentType": "application/java"}}
        code = code_of(msgspec.convert({**action_document(), "exec": exec_}, ActionDocument), manifest)
        assert isinstance(code, Attachment)
        assert code.attachment_name == "jarfile"

    def test_a_blackbox_that_the_manifest_lists_has_sentinels(self) -> None:
        manifest = parse('{"runtimes": {}, "blackboxes": [{"prefix": "me", "name": "mine", "tag": "1"}]}')
        for image, listed in (("me/mine:1", True), ("me/mine:2", False)):
            document = {**action_document(), "exec": {"kind": "BlackBox", "image": image, "binary": False}}
            made = to_executable(HELLO, decode_action("guest/hello", json.dumps(document).encode()), None, manifest)
            assert (made.kind, made.sentinelled_logs) == ("blackbox", listed)

    @pytest.mark.parametrize("code", ["", " \n"])
    def test_the_code_of_a_blackbox_that_is_blank_is_none(self, code: str) -> None:
        document = {**action_document(), "exec": {"kind": "blackbox", "image": "me/mine", "code": code}}
        assert code_of(msgspec.convert(document, ActionDocument), MANIFEST) is None

    def test_a_blackbox_may_have_no_code(self) -> None:
        document = {**action_document(), "exec": {"kind": "blackbox", "image": "me/mine:1", "binary": False}}
        found = to_executable(HELLO, decode_action("guest/hello", json.dumps(document).encode()), None, MANIFEST)
        assert (found.image, found.sentinelled_logs) == ("me/mine:1", False)

    @pytest.mark.parametrize("image", ["me/mine\0", "x" * 5000])
    def test_an_image_that_no_launch_can_have(self, image: str) -> None:
        document = {**action_document(), "exec": {"kind": "blackbox", "image": image, "binary": False}}
        with pytest.raises(ActionUnreadable, match="its image"):
            to_executable(HELLO, decode_action("guest/hello", json.dumps(document).encode()), None, MANIFEST)

    @pytest.mark.parametrize("name", ["timeout", "memory", "logs", "concurrency"])
    @pytest.mark.parametrize("value", [-5, 2**31, 10**400])
    def test_limits_with_which_nobody_can_reckon(self, name: str, value: int) -> None:
        document = {**action_document(), "limits": {name: value}}
        with pytest.raises(ActionUnreadable, match=name):
            decode_action("guest/hello", json.dumps(document).encode())

    @pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
    def test_that_are_none_are_refused(self, data: bytes) -> None:
        with pytest.raises(ActionUnreadable):
            decode_action("guest/hello", data)


class Database:
    """Keeps records, fails as it is told, and says what it was asked. A batch with `bad` in it fails each time."""

    def __init__(self, *faults: CouchFailed | str, bad: Exception | None = None) -> None:
        self.faults = list(faults)
        self.bad = bad
        self.batches: list[list[bytes]] = []
        self.kept: list[Any] = []

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        self.batches.append(list(records))
        await asyncio.sleep(0)
        if self.bad is not None and any(b'"bad"' in record for record in records):
            raise self.bad
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, CouchFailed):
            raise fault
        if fault is None:
            self.kept += map(json.loads, records)
        return [fault] * len(records)


def ran(size: int = 0) -> Activation:
    return not_run(activation(), success("x" * size), 1573724401.0)


def writer(database: Database, **settings: Any) -> ActivationWriter:
    return ActivationWriter(database.write, WriterSettings(first_wait=0.01, longest_wait=0.02, **settings))


class TestWriter:
    async def test_what_comes_meanwhile_is_the_next_batch(self) -> None:
        database = Database()
        records = writer(database, batch_count=4)
        for _ in range(10):
            records.store(ran())
        await records.close()
        assert [len(batch) for batch in database.batches] == [4, 4, 2]
        assert (records.written, len(records)) == (10, 0)

    async def test_a_batch_is_bounded_by_its_bytes(self) -> None:
        database = Database()
        records = writer(database, batch_bytes=3000)
        for size in (1000, 1000, 9000, 10):
            records.store(ran(size))
        await records.close()
        assert [len(batch) for batch in database.batches] == [2, 1, 1]

    async def test_a_database_that_is_away_is_waited_for(self, caplog: pytest.LogCaptureFixture) -> None:
        database = Database(CouchFailed("away"), CouchFailed("away"), CouchFailed("slow", 503))
        records = writer(database)
        wanted = [ran() for _ in range(3)]
        with caplog.at_level(logging.WARNING, "owmesos.records"):
            for each in wanted:
                records.store(each)
            await eventually_async(lambda: records.written == 3)
        assert [each["activationId"] for each in database.kept] == [each.activation_id for each in wanted]
        assert len(caplog.records) == 3

    async def test_past_the_bound_new_ones_are_dropped_and_said_once(self, caplog: pytest.LogCaptureFixture) -> None:
        database = Database(*[CouchFailed("away")] * 3)
        records = writer(database, max_count=5)
        with caplog.at_level(logging.ERROR, "owmesos.records"):
            for _ in range(9):
                records.store(ran())
        assert (len(records), records.dropped) == (5, 4)
        assert len(caplog.records) == 1
        await records.close()
        assert records.written == 5

    async def test_the_bound_counts_bytes_too(self) -> None:
        records = writer(Database(), max_bytes=5000)
        for _ in range(3):
            records.store(ran(2000))
        assert records.dropped == 1
        await records.close()

    async def test_too_large_a_batch_is_halved_and_too_large_a_record_dropped(self) -> None:
        large = CouchFailed("too large", 413)
        database = Database(large, large)
        records = writer(database)
        for _ in range(4):
            records.store(ran())
        await records.close()
        assert [len(batch) for batch in database.batches] == [4, 2, 1, 3]
        assert (records.written, records.dropped) == (4, 0)
        database.faults = [large]
        records.store(ran())
        await records.close()
        assert (records.written, records.dropped) == (4, 1)

    @pytest.mark.parametrize("fault", [CouchFailed("bad", 400), CouchFailed("bad", 422), ValueError("bad")])
    async def test_one_record_that_spoils_each_batch_is_found_and_dropped(
        self, fault: Exception, caplog: pytest.LogCaptureFixture
    ) -> None:
        database, dropped = Database(bad=fault), list[str]()
        records = ActivationWriter(database.write, dropped=dropped.append)
        wanted = [ran() for _ in range(10)]
        wanted[6] = not_run(activation(), success("bad"), 1573724401.0)
        for each in wanted:
            records.store(each)
        await records.close()
        assert (records.written, records.dropped, len(records)) == (9, 1, 0)
        assert dropped == [wanted[6].document_id]
        assert len(database.batches) < 20
        assert caplog.text.count("an activation record was rejected, ") == 1
        records.store(ran())
        await records.close()
        assert records.written == 10

    @pytest.mark.parametrize("status", [None, 401, 403, 404, 429, 500, 503])
    async def test_what_is_no_fault_of_the_records_is_tried_again(self, status: int | None) -> None:
        database = Database(*[CouchFailed("not now", status)] * 3)
        records = writer(database)
        records.store(ran())
        await records.close()
        assert (len(database.batches), records.written, records.dropped) == (4, 1, 0)

    async def test_what_is_refused_does_not_stand_in_the_way(self, caplog: pytest.LogCaptureFixture) -> None:
        database = Database("forbidden: not yours")
        records = writer(database)
        records.store(ran())
        await records.close()
        records.store(ran())
        await records.close()
        assert (records.written, records.dropped) == (1, 1)
        assert "forbidden" in caplog.text

    async def test_what_cannot_be_kept_before_the_end_is_said(self, caplog: pytest.LogCaptureFixture) -> None:
        records = writer(Database(*[CouchFailed("away")] * 100), close_timeout=0.05)
        records.store(ran())
        await records.close()
        assert records.dropped == 1
        assert "1 records" in caplog.text


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EmbeddedStore]:
    store = EmbeddedStore(tmp_path, MANIFEST, kept=10, now=lambda: 1573724401.0)
    yield store
    await store.close()


def stored(**changes: Any) -> ActionDocument:
    return msgspec.convert(action_document(**changes), ActionDocument)


@pytest.mark.parametrize(
    "code",
    [
        "UEsDBA==" * (SLICE // 4),
        "\n\t UEs/BA+" + "UEsDBA++" * (SLICE // 4) + "BA==\r\n\x00 ",
        "UEsDBA++" * (SLICE // 4) + "BA=",
        "UEsDBA++" * (SLICE // 4) + "BA===",
        " \n" * SLICE,
        "def main(args):\n    return 'ä\U0001f600\\'\n" * (SLICE // 16),
        "\ud800" * SLICE,
    ],
    ids=["padding within", "base64", "too short", "too much padding", "blank", "text", "halves"],
)
async def test_large_code_is_what_it_would_be_if_it_were_decoded(tmp_path: Path, code: str) -> None:
    store = EmbeddedStore(tmp_path, MANIFEST)
    await store.put_action(stored(code=code))
    document = await store.action_document("guest/hello")
    assert document is not None
    decoded, found = to_executable(HELLO, document, code, MANIFEST), await store.action(HELLO, None)
    assert document.exec.code == code
    assert of_init(found) == of_init(decoded)
    assert of_init(found)["code"] == code
    await store.close()


def of_init(made: Executable) -> Any:
    assert isinstance(made.initializer, bytes)
    return json.loads(b'{"env":{},' + made.initializer[:-1])


class WatchedManifest(Manifest):
    """Notes the threads that make actions with it."""

    def __init__(self) -> None:
        super().__init__(MANIFEST.families)
        self.threads: set[threading.Thread] = set()

    def runtime(self, kind: str) -> Runtime:
        self.threads.add(threading.current_thread())
        return super().runtime(kind)


class TestEmbeddedStore:
    async def test_an_action_is_encoded_beside_the_loop(self, tmp_path: Path) -> None:
        manifest = WatchedManifest()
        store = EmbeddedStore(tmp_path, manifest)
        await store.put_action(stored())
        await store.action(HELLO, None)
        await store.close()
        assert manifest.threads
        assert threading.main_thread() not in manifest.threads

    async def test_an_action_is_had_as_it_was_put(self, store: EmbeddedStore) -> None:
        revision = await store.put_action(stored(code="one"))
        found = await store.action(HELLO, revision)
        assert (found.revision, found.kind) == (revision, "python:3")
        document = await store.action_document("guest/hello")
        assert document is not None
        assert (document.updated, document.id) == (1573724401000, "guest/hello")

    async def test_an_updated_action_has_a_later_revision(self, store: EmbeddedStore) -> None:
        first = await store.put_action(stored(code="one"))
        second = await store.put_action(stored(code="two"))
        assert (first.partition("-")[0], second.partition("-")[0]) == ("1", "2")
        assert (await store.action(HELLO, second)).revision == second
        assert (await store.action(HELLO, None)).revision == second
        assert [each.rev for each in await store.actions()] == [second]

    async def test_a_deleted_action_is_missing(self, store: EmbeddedStore) -> None:
        await store.put_action(stored())
        assert await store.delete_action("guest/hello")
        assert not await store.delete_action("guest/hello")
        with pytest.raises(ActionMissing):
            await store.action(HELLO, None)

    async def test_records_are_had_the_last_first(self, store: EmbeddedStore) -> None:
        some = [ran() for _ in range(5)]
        for each in (*some, some[0]):
            store.store(each)
        await eventually_async(lambda: _count(store, 5))
        assert [each.activation_id for each in await store.activations(limit=2, skip=1)] == [
            some[3].activation_id,
            some[2].activation_id,
        ]
        found = await store.activation(some[1].activation_id)
        assert found is not None
        assert (found.entity_type, found.updated) == ("activation", 1573724401000)
        assert await store.activations(name="other") == []
        assert await store.activation("none") is None

    async def test_only_the_last_records_stay(self, store: EmbeddedStore) -> None:
        some = [ran() for _ in range(25)]
        for each in some:
            store.store(each)
        await eventually_async(lambda: _has(store, some[-1]))
        assert [each.activation_id for each in await store.activations(limit=99)] == [
            each.activation_id for each in reversed(some[15:])
        ]

    @pytest.mark.parametrize("number", ["1e999", "9" * 5000])
    async def test_a_result_that_nothing_here_can_decode_is_kept_as_it_came(
        self, store: EmbeddedStore, number: str
    ) -> None:
        result = f'{{"a":{number}}}'.encode()
        strange = not_run(activation(), success(msgspec.Raw(result)), 1573724401.0)
        for each in (strange, ran()):
            store.store(each)
        found = await store.activation(strange.activation_id)
        assert found is not None
        assert bytes(found.response.result) == result
        assert await _count(store, 2)

    async def test_a_record_that_cannot_be_written_is_waited_for_by_nobody(self, tmp_path: Path) -> None:
        store = _Strict(tmp_path, MANIFEST)
        bad, good = not_run(activation(), success("bad"), 1573724401.0), ran()
        for each in (bad, good):
            store.store(each)
        assert await store.activation(bad.activation_id) is None
        assert await _has(store, good)
        await store.close()

    @pytest.mark.parametrize(
        "data",
        [b"\xff\xfe", b'{"namespace": "\xff"}', b"[" * 100_000, b'{"a":' * 100_000, b"", b"17", "text", 17, 1.5],
    )
    async def test_what_cannot_be_read_harms_only_itself(
        self, store: EmbeddedStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, data: Any
    ) -> None:
        await store.put_action(stored())
        good = ran()
        store.store(good)
        assert await _has(store, good)
        database = sqlite3.connect(tmp_path / "openwhisk.sqlite")
        with database:
            database.execute("INSERT INTO actions VALUES ('guest/bad', 'x-y', ?)", (data,))
            database.execute(
                "INSERT INTO activations (activation_id, name, document) VALUES ('bad', 'bad', ?)", (data,)
            )
        database.close()
        assert [each.name for each in await store.actions()] == ["hello"]
        assert [each.activation_id for each in await store.activations()] == [good.activation_id]
        with pytest.raises(ActionUnreadable, match="guest/bad"):
            await store.action_document("guest/bad")
        with pytest.raises(EmbeddedStoreFailed, match="the record of activation bad cannot be read"):
            await store.activation("bad")
        assert "guest/bad" in caplog.text
        await store.put_action(stored(name="bad"))
        assert len(await store.actions()) == 2

    @pytest.mark.parametrize("content", [b"no database" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
    def test_a_file_that_is_no_database(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "openwhisk.sqlite").write_bytes(content)
        with pytest.raises(EmbeddedStoreFailed, match=r"openwhisk\.sqlite cannot be used"):
            EmbeddedStore(tmp_path, MANIFEST)

    def test_a_folder_in_its_place(self, tmp_path: Path) -> None:
        (tmp_path / "openwhisk.sqlite").mkdir()
        with pytest.raises(EmbeddedStoreFailed, match="cannot be used"):
            EmbeddedStore(tmp_path, MANIFEST)

    async def test_what_was_put_outlives_the_process(self, tmp_path: Path) -> None:
        before = EmbeddedStore(tmp_path, MANIFEST)
        await before.put_action(stored())
        ended = ran()
        before.store(ended)
        await before.close()
        after = EmbeddedStore(tmp_path, MANIFEST)
        assert await after.action(HELLO, None)
        assert await _has(after, ended)
        await after.close()


class _Strict(EmbeddedStore):
    """Has a fault: it stumbles over some records."""

    async def write(self, records: Sequence[bytes]) -> list[str | None]:
        if any(b'"bad"' in record for record in records):
            raise ValueError("bad")
        return await super().write(records)


async def _count(store: EmbeddedStore, count: int) -> bool:
    return len(await store.activations(limit=99)) == count


async def _has(store: EmbeddedStore, ended: Activation) -> bool:
    return await store.activation(ended.activation_id) is not None
