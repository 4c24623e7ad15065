"""What is wrong with files of certificates and keys that OpenSSL does not take: its own words do not name the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

from owmesos.errors import os_reason

_CERTIFICATE, _KEY, _ENCRYPTED = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"

File = Union[str, "os.PathLike[str]"]


def wrong_with_authority(authority: File, error: OSError) -> str:
    """Why `authority` could not be loaded. The caller names the file."""
    return _lacks(authority, _CERTIFICATE, "certificate") or os_reason(error)


def wrong_with_certificate(certificate: File, key: File | None, error: OSError) -> str:
    """Why they could not be loaded, with the name of the file. Without `key` the certificate's file has it too."""
    key = key or certificate
    for file, mark, what in ((certificate, _CERTIFICATE, "certificate"), (key, _KEY, "private key")):
        lacks = _lacks(file, mark, what)
        if lacks is not None:
            return f"{os.fspath(file)}: {lacks}"
    if _ENCRYPTED in _content(key):
        return f"{os.fspath(key)}: the key is encrypted: write it without a password (openssl pkey -in KEY -out FILE)"
    if getattr(error, "reason", None) == "KEY_VALUES_MISMATCH":
        return f"{os.fspath(key)}: the key does not belong to the certificate in {os.fspath(certificate)}"
    return f"{os.fspath(certificate)}: {error}"


def _lacks(file: File, mark: bytes, what: str) -> str | None:
    try:
        return None if mark in _content(file) else f"it has no {what} in PEM"
    except OSError as error:
        return os_reason(error)


def _content(file: File) -> bytes:
    return Path(file).read_bytes()
