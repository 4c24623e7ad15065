"""Actions, the blacklist and records on a server that speaks CouchDB's API."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from owmesos.openwhisk.activation import Activation, not_run, success
from owmesos.openwhisk.entities import ActionMissing, ActionUnavailable, ActionUnreadable
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.messages import EntityName
from owmesos.openwhisk.store.activation_writer import ActivationWriter
from owmesos.openwhisk.store.couch_entities import CouchActions, CouchBlacklist, write_records
from owmesos.openwhisk.store.couchdb import CouchDB
from tests.openwhisk.documents import MANIFEST, action_document
from tests.openwhisk.kafka.topics import activation
from tests.openwhisk.runs import inline
from tests.openwhisk.store.couch import Couch
from tests.waiting import eventually_async, in_time

pytestmark = [pytest.mark.couchdb, pytest.mark.cluster]
HELLO = EntityName("guest", "hello")
NOW = 1573724401.0


@pytest.fixture
async def client(couchdb_url: str) -> AsyncIterator[CouchDB]:
    client = CouchDB(couchdb_url)
    yield client
    await client.close()


@pytest.fixture
async def actions(couch: Couch, client: CouchDB) -> AsyncIterator[CouchActions]:
    actions = CouchActions(client, couch.names.actions, MANIFEST)
    yield actions
    await actions.codes.close()


async def code_of(actions: CouchActions, action: Executable) -> Any:
    """As a container gets it."""
    if isinstance(action.initializer, bytes):
        return json.loads(inline(action))["code"]
    async with actions.codes.use(action.initializer) as initializer:
        return json.loads(b"{" + bytes(initializer)[:-1])["code"]


class TestActions:
    async def test_with_inline_code(self, couch: Couch, actions: CouchActions) -> None:
        revision = await couch.put_action(action_document(code="def main(args): return args"))
        action = await actions.action(HELLO, revision)
        assert (action.revision, action.kind, action.version) == (revision, "python:3", "0.0.1")
        assert action.limits.memory == 128
        assert await code_of(actions, action) == "def main(args): return args"

    @pytest.mark.parametrize("binary", [False, True])
    @pytest.mark.parametrize("scheme", ["couch:", ""])
    async def test_with_attached_code(self, couch: Couch, actions: CouchActions, binary: bool, scheme: str) -> None:
        data = bytes(range(256)) * 300 if binary else "print('ä')\n".encode() * 3000
        document = action_document(code={"attachmentName": f"{scheme}some-name", "attachmentType": "text/plain"})
        document["exec"]["binary"] = binary
        document["_attachments"] = {
            "some-name": {"content_type": "text/plain", "data": base64.b64encode(data).decode()}
        }
        revision = await couch.put_action(document)
        action = await actions.action(HELLO, revision)
        code = await code_of(actions, action)
        assert (base64.b64decode(code) if binary else code.encode()) == data

    async def test_with_code_in_the_attachment_s_name(self, couch: Couch, actions: CouchActions) -> None:
        name = "mem:" + base64.urlsafe_b64encode(b"main?>>").decode().rstrip("=")
        await couch.put_action(action_document(code={"attachmentName": name}))
        action = await actions.action(HELLO, None)
        assert await code_of(actions, action) == "main?>>"

    async def test_in_a_package(self, couch: Couch, actions: CouchActions) -> None:
        await couch.put_action(action_document(namespace="guest/tools"))
        assert (await actions.action(EntityName("guest/tools", "hello"), None)).path == "guest/tools/hello"

    async def test_an_updated_one_is_the_new_one(self, couch: Couch, actions: CouchActions) -> None:
        first = await couch.put_action(action_document(code="one"))
        second = await couch.put_action(action_document(code="two"), rev=first)
        assert (await actions.action(HELLO, second)).revision == second
        assert (await actions.action(HELLO, None)).revision == second
        unknown = "7-0123456789abcdef0123456789abcdef"
        assert (await actions.action(HELLO, unknown)).revision == second

    async def test_a_deleted_one_is_missing(self, couch: Couch, actions: CouchActions) -> None:
        revision = await couch.put_action(action_document())
        await couch.delete(couch.names.actions, "guest/hello", revision)
        for asked in (None, "9-0123456789abcdef0123456789abcdef"):
            with pytest.raises(ActionMissing) as caught:
                await actions.action(HELLO, asked)
            assert caught.value.response.status_code == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"entityType": "rule"},
            {"exec": None},
            {"exec": {"kind": "python:3"}},
            {"exec": {"kind": "cobol:60", "code": "x"}},
            {"exec": {"kind": "python:3", "code": {"attachmentName": "couch:not-there"}}},
            {"exec": {"kind": "python:3", "code": {"attachmentName": "s3:there"}}},
            {"exec": {"kind": "python:3", "code": {"attachmentName": "mem:***"}}},
            {"exec": {"kind": "blackbox"}},
            {"limits": "none"},
        ],
    )
    async def test_what_is_none_is_refused(self, couch: Couch, actions: CouchActions, change: dict[str, Any]) -> None:
        await couch.put_action({**action_document(), **change})
        with pytest.raises(ActionUnreadable) as caught:
            await code_of(actions, await actions.action(HELLO, None))
        assert caught.value.response.status_code == 3
        assert caught.value.response.result == {"error": "Action version is not compatible and cannot be invoked."}

    async def test_code_that_is_neither_text_nor_binary_is_refused(self, couch: Couch, actions: CouchActions) -> None:
        document = action_document(code={"attachmentName": "couch:a", "attachmentType": "text/plain"})
        document["_attachments"] = {"a": {"content_type": "text/plain", "data": base64.b64encode(b"\xff").decode()}}
        await couch.put_action(document)
        with pytest.raises(ActionUnreadable, match="neither text nor marked as binary"):
            await code_of(actions, await actions.action(HELLO, None))

    async def test_a_sequence_is_not_an_invoker_s(self, couch: Couch, actions: CouchActions) -> None:
        await couch.put_action({**action_document(), "exec": {"kind": "sequence", "components": ["/a/b"]}})
        with pytest.raises(ActionUnavailable) as caught:
            await actions.action(HELLO, None)
        assert caught.value.response.status_code == 3


class TestBlacklist:
    async def test_is_the_view_s_keys(self, couch: Couch, client: CouchDB) -> None:
        blacklist = CouchBlacklist(client, couch.names.subjects)
        await couch.block("bad")
        await couch.put(f"{couch.names.subjects}/good", {"subject": "good"})
        # The view may be brought up to date after its answer only.
        await eventually_async(lambda: _blocks(blacklist, "bad"))
        assert not blacklist.blocks("good")

    async def test_without_a_view_none_is_blocked(
        self, couch: Couch, client: CouchDB, caplog: pytest.LogCaptureFixture
    ) -> None:
        blacklist = CouchBlacklist(client, couch.names.subjects)
        with caplog.at_level(logging.WARNING, "owmesos.couchdb"):
            await blacklist.refresh()
            await blacklist.refresh()
        assert len(caplog.records) == 1
        assert not blacklist.blocks("bad")


async def _blocks(blacklist: CouchBlacklist, namespace: str) -> bool:
    await blacklist.refresh()
    return blacklist.blocks(namespace)


class TestRecords:
    async def test_are_the_documents_of_openwhisk(self, couch: Couch, client: CouchDB) -> None:
        writer = ActivationWriter(partial(write_records, client, couch.names.activations), now=lambda: NOW)
        ended = ran()
        writer.store(ended)
        await writer.close()
        stored = (await couch.all(couch.names.activations))[f"guest/{ended.activation_id}"]
        del stored["_rev"]
        assert stored == {
            "_id": f"guest/{ended.activation_id}",
            "namespace": "guest",
            "name": "hello",
            "subject": "guest",
            "activationId": ended.activation_id,
            "start": 1573724401000,
            "end": 1573724401000,
            "response": {"statusCode": 0, "result": {"greeting": "ä"}},
            "logs": [],
            "version": "0.0.1",
            "publish": False,
            "annotations": [{"key": "path", "value": "guest/hello"}, {"key": "kind", "value": "unknown"}],
            "duration": 0,
            "entityType": "activation",
            "updated": 1573724401000,
        }

    async def test_many_go_in_batches(self, couch: Couch, client: CouchDB) -> None:
        writer = ActivationWriter(partial(write_records, client, couch.names.activations))
        for _ in range(1200):
            writer.store(ran())
        await eventually_async(lambda: writer.written == 1200, 30)
        assert len(await couch.all(couch.names.activations)) == 1200

    async def test_one_that_is_there_already_is_kept_as_it_is(self, couch: Couch, client: CouchDB) -> None:
        writer = ActivationWriter(partial(write_records, client, couch.names.activations))
        ended = ran()
        for _ in range(2):
            writer.store(ended)
            writer.store(ran())
        await writer.close()
        assert (writer.written, writer.dropped) == (4, 0)
        assert len(await couch.all(couch.names.activations)) == 3


def ran() -> Activation:
    return not_run(activation(), success({"greeting": "ä"}), NOW)


async def test_a_server_that_is_away_is_no_fault_of_the_action_s(couch: Couch) -> None:
    client = CouchDB("http://127.0.0.1:1")
    actions = CouchActions(client, couch.names.actions, MANIFEST)
    with pytest.raises(ActionUnavailable) as caught:
        await in_time(actions.action(HELLO, None))
    assert caught.value.response.result == {"error": "Action could not be fetched."}
    await client.close()
