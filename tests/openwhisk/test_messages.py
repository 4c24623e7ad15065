"""The messages between Controllers and invokers: in both forms, back and forth, and what is none."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.openwhisk import messages
from owmesos.openwhisk.arguments import arguments_of
from owmesos.openwhisk.messages import (
    Combined,
    Completion,
    MalformedMessage,
    Ping,
    Result,
    UserEvent,
    decode_activation,
    invoker_id,
    transaction_name,
    transaction_start,
)
from owmesos.system.lone_surrogates import encode
from tests.openwhisk import samples
from tests.openwhisk.controller import decode_acknowledgement


@pytest.mark.parametrize("sample", [samples.ACTIVATION_1_0, samples.ACTIVATION_2_0, samples.HEALTH_TEST])
def test_an_activation_message_comes_back_but_for_limits_of_the_controller(sample: bytes) -> None:
    assert json.loads(encode(decode_activation(sample))) == _without_limits_of_the_controller(sample)


@pytest.mark.parametrize(
    ("sample", "kind"),
    [
        (samples.COMBINED_1_0, Combined),
        (samples.COMBINED_2_0, Combined),
        (samples.COMBINED_SHRUNK, Combined),
        (samples.COMPLETION_1_0, Completion),
        (samples.COMPLETION_2_0, Completion),
        (samples.RESULT, Result),
        (samples.RESULT_SHRUNK, Result),
    ],
)
def test_an_acknowledgement_is_told_by_its_keys(sample: bytes, kind: type) -> None:
    message = decode_acknowledgement(sample)
    assert type(message) is kind
    assert json.loads(encode(message)) == json.loads(sample)


@pytest.mark.parametrize("sample", [samples.PING_1_0, samples.PING_2_0])
def test_a_ping_comes_back_word_for_word(sample: bytes) -> None:
    assert encode(msgspec.json.decode(sample, type=Ping)) == sample


def test_an_event_comes_back_word_for_word() -> None:
    assert encode(msgspec.json.decode(samples.EVENT, type=UserEvent)) == samples.EVENT


def test_the_fields_of_an_activation_message_are_had() -> None:
    message = decode_activation(samples.ACTIVATION_2_0)
    assert message.action.document_id == "guest/tools/hello"
    assert message.action.binding == "other/tools"
    assert message.revision is None
    assert json.loads(bytes(message.content)) == [1, "two", {"three": 3}]
    assert message.init_args == ("secret",)
    assert message.locked_args == {"key": "aes-128"}
    assert message.cause == "d3c2c0e5f2b34f2f82c0e5f2b3df2fca"
    assert not message.user.stores_activations
    assert transaction_name(message.transid) == "sid_unique"
    assert transaction_start(message.transid) == 1636982400456


def test_what_1_0_does_not_say_has_its_meaning() -> None:
    message = decode_activation(samples.ACTIVATION_1_0)
    assert message.init_args is None
    assert message.user.stores_activations
    assert not message.health


def test_an_activation_without_content_has_no_arguments() -> None:
    message = decode_activation(samples.HEALTH_TEST)
    assert message.health
    assert arguments_of(message, {}) == ({}, msgspec.Raw(b"{}"))
    assert arguments_of(decode_activation(_changed(samples.HEALTH_TEST, content=None)), {}) == ({}, msgspec.Raw(b"{}"))


@pytest.mark.parametrize("transid", [[], [5], ["a", "b"], [None, True], ["a", 10**400], ["a", -1], ["a", 1e300]])
def test_a_transaction_that_is_none_is_unknown(transid: list[Any]) -> None:
    message = decode_activation(_changed(samples.ACTIVATION_1_0, transid=transid))
    assert transaction_name(message.transid) in ("unknown", "a")
    assert transaction_start(message.transid) is None
    assert json.loads(encode(message))["transid"] == transid


@pytest.mark.parametrize("sample", [samples.ACTIVATION_1_0, samples.ACTIVATION_2_0, samples.HEALTH_TEST])
def test_unknown_fields_are_passed_over(sample: bytes) -> None:
    document = json.loads(sample)
    for part in (document, document["action"], document["user"], document["user"]["limits"]):
        part["fromTheFuture"] = {"a": [1]}
    assert decode_activation(json.dumps(document).encode()) is not None
    found = json.loads(encode(decode_activation(json.dumps(document).encode())))
    assert found == _without_limits_of_the_controller(sample)


@pytest.mark.parametrize(
    "field", ["transid", "action", "revision", "user", "activationId", "rootControllerIndex", "blocking"]
)
def test_a_missing_field_is_named(field: str) -> None:
    with pytest.raises(MalformedMessage, match=field):
        decode_activation(_without(samples.ACTIVATION_1_0, field))


@pytest.mark.parametrize("field", ["action", "user", "blocking", "revision", "transid"])
def test_what_cannot_be_read_is_still_addressed(field: str) -> None:
    with pytest.raises(MalformedMessage) as caught:
        decode_activation(_without(samples.ACTIVATION_1_0, field))
    assert caught.value.addressed is not None
    assert caught.value.addressed.activation_id == samples.ACTIVATION_ID
    assert caught.value.addressed.root_controller_index.as_string == "0"


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"garbage", b"[]", b"null", b"\xff\xfe\x00", b'{"activationId":"a"}', b"[" * 100_000, b'{"a":1}' * 2],
)
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedMessage):
        decode_activation(data)


def test_this_invoker_says_what_every_controller_requires() -> None:
    assert json.loads(encode(messages.Ping(name=invoker_id(0), is_enabled=True))) == {
        "name": {
            "instance": 0,
            "userMemory": "2147483647 MB",
            "instanceType": "invoker",
            "tags": [],
            "dedicatedNamespaces": [],
        },
        "isEnabled": True,
    }
    named = invoker_id(
        2, user_memory=512, tags=["gpu"], dedicated_namespaces=["a"], unique_name="u", displayed_name="d"
    )
    assert str(named) == "invoker2/u/d"
    assert json.loads(encode(named)) == {
        "instance": 2,
        "userMemory": "512 MB",
        "instanceType": "invoker",
        "tags": ["gpu"],
        "dedicatedNamespaces": ["a"],
        "uniqueName": "u",
        "displayedName": "d",
    }


def _changed(sample: bytes, **fields: Any) -> bytes:
    return json.dumps({**json.loads(sample), **fields}).encode()


def _without_limits_of_the_controller(sample: bytes) -> Any:
    """An invoker reads no others."""
    document = json.loads(sample)
    limits = document["user"]["limits"]
    kept = limits.keys() & {"storeActivations", "maxPayloadSize", "truncationSize"}
    document["user"]["limits"] = {name: limits[name] for name in kept}
    return document


def _without(sample: bytes, field: str) -> bytes:
    document = json.loads(sample)
    del document[field]
    return json.dumps(document).encode()
