"""Bytes in messages, in the form that JSON has for them: base64."""

from __future__ import annotations

import base64


def encode_data(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode_data(data: str) -> bytes:
    """Raises binascii.Error, a ValueError, for what is no base64."""
    return base64.b64decode(data)
