"""Parameters that were stored encrypted, as OpenWhisk's ParameterEncryption writes them."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from owmesos.errors import InvalidInput
from owmesos.openwhisk.arguments import CannotUnlock, arguments_of
from owmesos.openwhisk.ciphers import ciphers
from tests.openwhisk.runs import activation

KEYS = {"aes-128": b"a key of 16 byte", "aes-256": b"and a key that has 32 bytes in it"[:32]}
NONCES = {"aes-128": 12, "aes-256": 128}
TEXTS = {name: base64.b64encode(key).decode() for name, key in KEYS.items()}
VALUES: list[Any] = ["secret", 1, [1, "two"], {"deep": {"er": None}}, True, "", "ü"]


def encrypted(value: bytes, name: str, *, key: bytes | None = None, nonce: int | None = None) -> str:
    iv = bytes(range(NONCES[name] if nonce is None else nonce))
    text = AESGCM(key or KEYS[name]).encrypt(iv, value, None)
    return base64.b64encode(len(iv).to_bytes(4, "big") + iv + text).decode()


def unlocked(content: dict[str, Any], locked: dict[str, str], **more: Any) -> tuple[dict[str, str], Any]:
    env, arguments = arguments_of(activation(content, locked_args=locked, **more), ciphers(TEXTS))
    return env, json.loads(bytes(arguments))


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("value", VALUES)
def test_every_value_comes_back(name: str, value: Any) -> None:
    content = {"locked": encrypted(json.dumps(value).encode(), name), "open": "as it is"}
    assert unlocked(content, {"locked": name}) == ({}, {"locked": value, "open": "as it is"})


@pytest.mark.parametrize(("value", "variable"), [("secret", "secret"), ({"a": 1}, '{"a":1}'), (1, "1")])
def test_one_for_the_environment_is_in_the_clear_there(value: Any, variable: str) -> None:
    content = {"KEY": encrypted(json.dumps(value).encode(), "aes-128")}
    assert unlocked(content, {"KEY": "aes-128"}, init_args=("KEY",)) == ({"KEY": variable}, {})


def test_two_ciphers_at_once_and_none() -> None:
    content = {name: encrypted(b'"x"', name) for name in KEYS} | {"plain": "y"}
    locked = {name: name for name in KEYS} | {"plain": "noop"}
    assert unlocked(content, locked) == ({}, {"aes-128": "x", "aes-256": "x", "plain": "y"})


def test_what_is_no_text_was_not_encrypted() -> None:
    assert unlocked({"a": 1}, {"a": "aes-128"}) == ({}, {"a": 1})


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("no base64!", "cannot be read"),
        ("", "its nonce has 0 bytes"),
        (encrypted(b'"x"', "aes-128", nonce=16), "its nonce has 16 bytes"),
        (encrypted(b'"x"', "aes-128", key=b"some other key.."), "another key was used"),
        (encrypted(b'"x"', "aes-128")[:-8], "another key was used"),
        (base64.b64encode((12).to_bytes(4, "big")).decode(), "cannot be read"),
        (encrypted(b"no JSON", "aes-128"), "JSON is malformed"),
        (encrypted(b'"x", "more": 1', "aes-128"), "JSON is malformed"),
    ],
)
def test_one_that_cannot_be_read_is_said_without_its_text(value: str, says: str) -> None:
    with pytest.raises(CannotUnlock, match=says) as raised:
        unlocked({"a": value}, {"a": "aes-128"})
    assert "no JSON" not in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"aes-512": "AAAA"}, "unknown cipher 'aes-512'"),
        ({"aes-128": "no base64!"}, "the key for aes-128 is not valid base64"),
        ({"aes-256": TEXTS["aes-128"]}, "has 16 bytes and needs 32"),
    ],
)
def test_a_key_that_is_none(keys: dict[str, str], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        ciphers(keys)
