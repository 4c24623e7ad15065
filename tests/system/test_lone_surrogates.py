r"""Halves of surrogate pairs, `"\ud800"`, in whatever a user's language writes: they pass as they came."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.openwhisk.activation import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    SUCCESS,
    Reporter,
    document,
    not_run,
    success,
)
from owmesos.openwhisk.activation import _user_defined_status as user_defined_status
from owmesos.openwhisk.arguments import arguments_of
from owmesos.openwhisk.container.protocol import ContainerAnswer, init_head, response_of, run_body
from owmesos.openwhisk.entities import decode_action, to_executable
from owmesos.openwhisk.messages import ActivationMessage, EntityName, decode_activation, invoker_id
from owmesos.openwhisk.store.couch_entities import write_records
from owmesos.openwhisk.store.couchdb import CouchDB, Written
from owmesos.system.lone_surrogates import Decoder, encode
from tests.openwhisk.documents import MANIFEST, action_document
from tests.openwhisk.runs import action, activation, inline

HALF = "\ud800"
TEXTS = st.text(st.characters(), max_size=12) | st.text('\\u"dD89abcefEF0\ud800\udfff\ue000\ue800\uf000😀', max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class Holder(msgspec.Struct):
    raw: msgspec.Raw
    text: str
    more: Any = None


ANYTHING: Decoder[Any] = Decoder(object)
HOLDER = Decoder(Holder)


def is_whole(value: Any) -> bool:
    """Nothing in it uses all of the code points that could stand for halves."""
    text = json.dumps(value, ensure_ascii=False)
    return not all(any(first <= ord(each) < first + 0x800 for each in text) for first in (0xE000, 0xE800, 0xF000))


@given(VALUES.filter(is_whole), st.booleans())
def test_what_is_decoded_is_what_pythons_own_parser_says(value: Any, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode(errors="backslashreplace")
    try:
        expected = json.loads(data)
    except ValueError:  # a backslash before a half: the escape is not JSON any more
        return
    assert ANYTHING.decode(data) == expected
    assert json.loads(encode(expected)) == expected


@given(VALUES.filter(is_whole))
def test_raw_json_and_text_beside_each_other(value: Any) -> None:
    value = json.loads(json.dumps(value))  # two halves beside each other are a whole
    held = HOLDER.decode(json.dumps({"raw": value, "text": HALF, "more": [value]}).encode())
    assert (json.loads(bytes(held.raw)), held.text, held.more) == (value, HALF, [value])
    assert json.loads(encode(held)) == {"raw": value, "text": HALF, "more": [value]}


@pytest.mark.parametrize(
    "data", [rb'"\ud80"', rb'["\ud800"', rb'"\ud800\x"', rb'"\ud800" 1', b'"\\ud800\xff"', b"{", b""]
)
def test_what_is_not_json_is_refused_as_before(data: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        ANYTHING.decode(data)


def test_all_that_could_stand_for_a_half_are_taken() -> None:
    with pytest.raises(msgspec.DecodeError):
        ANYTHING.decode(rb'"\ud800\ue000\ue800\uf000"')


def test_a_text_that_only_shows_the_escape_is_left_alone() -> None:
    assert ANYTHING.decode(rb'["\ud800", "\\ud800", "\\\ud800", "\ud83d\ude00"]') == [
        HALF,
        "\\ud800",
        "\\" + HALF,
        "😀",
    ]


class TestActivations:
    def test_arguments_reach_the_container_as_they_came(self) -> None:
        content = rb'{"a": "\ud800", "b": 1e999, "c": "\udc00\ud83d\ude00"}'
        message = received(content)
        assert bytes(message.content) == content
        env, arguments = arguments_of(message, {})
        body = run_body(message, action(), arguments, 1.0)
        assert (env, content in body) == ({}, True)

    def test_those_of_the_environment_too(self) -> None:
        message = received(rb'{"a": "\ud800", "b": 1e999, "\udfff": ["\ud800"], "c": {"x": "\ud800"}}', ["a", "\udfff"])
        env, arguments = arguments_of(message, {})
        assert env == {"a": HALF, "\udfff": r'["\ud800"]'}
        assert bytes(arguments) == rb'{"b":1e999,"c":{"x": "\ud800"}}'
        sent = json.loads(init_head(message, action(), env, 1.0)[:-1] + b"}}")["value"]["env"]
        assert (sent["a"], sent["\udfff"]) == (HALF, r'["\ud800"]')

    def test_encrypted_ones_are_decrypted_beside_them(self) -> None:
        message = msgspec.structs.replace(received(rb'{"a": "x", "b": "\ud800"}'), locked_args={"a": "upper"})
        _, arguments = arguments_of(message, {"upper": str.upper})
        assert json.loads(bytes(arguments)) == {"a": "X", "b": HALF}


class TestResults:
    @pytest.mark.parametrize("body", [rb'{"a":"\ud800"}', rb'["\udc00"]', rb'{"\ud800":1e999}'])
    def test_they_are_successes_as_they_came(self, body: bytes) -> None:
        response = response_of(ContainerAnswer(200, body, len(body)), action())
        assert (response.status_code, bytes(response.result)) == (SUCCESS, body)

    def test_errors_are_told_as_they_came(self) -> None:
        body = rb'{"error":{"message":"\ud800"}}'
        for status, code in ((200, APPLICATION_ERROR), (502, DEVELOPER_ERROR)):
            response = response_of(ContainerAnswer(status, body, len(body)), action())
            assert (response.status_code, encode(response.result)) == (code, body)

    def test_what_is_not_utf_8_is_replaced(self) -> None:
        body = b'{"a":"\xed\xa0\x80"}'
        response = response_of(ContainerAnswer(200, body, len(body)), action())
        assert response.status_code == SUCCESS
        assert set(json.loads(bytes(response.result))["a"]) == {"\ufffd"}

    def test_the_actions_own_status_is_found(self) -> None:
        assert user_defined_status(msgspec.Raw(rb'{"a":"\ud800","statusCode":404}')) == 404

    def test_they_are_acknowledged_and_recorded(self) -> None:
        body = rb'{"a":"\ud800"}'
        message = activation()
        ended = not_run(message, success(msgspec.Raw(body)), 1.0)
        sent = encode(Reporter(invoker_id(0), lambda: 1.0).combined(message, ended))
        kept = encode(document(ended, 1.0))
        assert body in sent
        assert body in kept


class Couch(CouchDB):
    """Writes down what it is given."""

    def __init__(self) -> None:
        super().__init__("http://couch.example")
        self.given: list[bytes] = []

    async def write(self, database: str, documents: Iterable[bytes]) -> list[Written]:
        self.given += documents
        return [Written() for _ in self.given]


async def test_couchdb_which_takes_none_gets_a_replacement() -> None:
    couch = Couch()
    records = [rb'{"a":"\ud800\ud83d\ude00\\ud800"}', rb'{"b":"\uDFFF"}', rb'{"c":"\u00e4"}']
    assert await write_records(couch, "activations", records) == [None, None, None]
    assert couch.given == [rb'{"a":"\ufffd\ud83d\ude00\\ud800"}', rb'{"b":"\ufffd"}', records[2]]


def test_an_action_may_have_them_in_its_code_and_parameters() -> None:
    written = {**action_document(code=f"return '{HALF}'"), "parameters": [{"key": HALF, "value": HALF}]}
    found = decode_action("guest/hello", json.dumps(written).encode())
    assert isinstance(found.exec.code, str)
    made = to_executable(EntityName("guest", "hello"), found, found.exec.code, MANIFEST)
    assert json.loads(inline(made))["code"] == f"return '{HALF}'"


def received(content: bytes, init_args: list[str] | None = None) -> ActivationMessage:
    """An activation that came over Kafka with these arguments."""
    message = activation(started=5)
    data = encode(message)[:-1] + b',"content":' + content
    if init_args is not None:
        data += b',"initArgs":' + json.dumps(init_args).encode()
    return decode_activation(data + b"}")


@pytest.mark.parametrize("begin", ['{"a":"', r'{"a":"\ud800'], ids=["without a half", "with one"])
def test_a_large_document_takes_no_time_of_others(begin: str) -> None:
    """An action may answer 5 MB, which is decoded in the event loop; and 5 MB that are malformed otherwise."""
    text = begin.encode() + b"x" * 5_000_000
    took = []
    for _ in range(3):
        began = time.process_time()
        with pytest.raises(msgspec.DecodeError):
            ANYTHING.decode(text)
        ANYTHING.decode(text + b'"}')
        took.append(time.process_time() - began)
    assert min(took) < 0.4
