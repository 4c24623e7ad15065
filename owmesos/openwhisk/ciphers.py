"""Parameters that the Controller has stored encrypted (common/…/core/entity/ParameterEncryption.scala).

Such a value is the base64 of the length of a nonce (4 bytes, the highest first), the nonce, and AES-GCM's text with its
tag of 128 bits; the text is the value as JSON. `lockedArgs` of an activation names the cipher of each.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from owmesos.errors import InvalidInput
from owmesos.openwhisk.arguments import CannotUnlock, Decrypt

NOOP = "noop"
_KEY_BYTES = {"aes-128": 16, "aes-256": 32}
_NONCE_BYTES = {"aes-128": 12, "aes-256": 128}
_LENGTH = 4


def ciphers(keys: Mapping[str, str]) -> dict[str, Decrypt]:
    """By the names that `lockedArgs` uses. `keys`: `aes-128` or `aes-256` → base64. Raises InvalidInput."""
    found: dict[str, Decrypt] = {NOOP: lambda value: value}
    for name, text in keys.items():
        if name not in _KEY_BYTES:
            raise InvalidInput(f"unknown cipher {name!r} for parameters: use {' or '.join(_KEY_BYTES)}")
        found[name] = _aes(name, _key(name, text))
    return found


def _key(name: str, text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"the key for {name} is not valid base64") from None
    if len(key) != _KEY_BYTES[name]:
        raise InvalidInput(f"the key for {name} has {len(key)} bytes and needs {_KEY_BYTES[name]}")
    return key


def _aes(name: str, key: bytes) -> Decrypt:
    aes = AESGCM(key)

    def decrypt(value: Any) -> Any:
        """What is not text was not encrypted. Raises CannotUnlock."""
        if not isinstance(value, str):
            return value
        try:
            data = base64.b64decode(value, validate=True)
            length = int.from_bytes(data[:_LENGTH], "big")
            if length != _NONCE_BYTES[name]:
                raise ValueError(f"its nonce has {length} bytes")
            nonce, text = data[_LENGTH : _LENGTH + length], data[_LENGTH + length :]
            # What is not valid JSON must not become part of a request.
            return msgspec.json.decode(aes.decrypt(nonce, text, None), type=msgspec.Raw)
        except (InvalidTag, ValueError, msgspec.DecodeError, RecursionError) as error:
            why = str(error) or "another key was used"
            raise CannotUnlock(f"a parameter that is encrypted with {name!r} cannot be read: {why}") from None

    return decrypt
