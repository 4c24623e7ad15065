"""What is wrong with files of certificates and keys that OpenSSL does not take: its own words do not name the file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Union

from owmesos.errors import os_reason

_CERTIFICATE, _KEY, _ENCRYPTED = b"-----BEGIN CERTIFICATE-----", b"PRIVATE KEY-----", b"ENCRYPTED"
_DAMAGED = "a certificate in it is damaged"

File = Union[str, "os.PathLike[str]"]


def wrong_with_authority(authority: File, error: OSError) -> str:
    """Why `authority` could not be loaded. The caller names the file."""
    return _lacks(authority, _CERTIFICATE, "certificate") or (_DAMAGED if _is_unread(error) else os_reason(error))


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
    if _is_unread(error):
        return (
            f"{os.fspath(key)}: the key is damaged"
            if _is_whole(certificate)
            else f"{os.fspath(certificate)}: {_DAMAGED}"
        )
    return f"{os.fspath(certificate)}: {error}"


def _is_unread(error: OSError) -> bool:
    """OpenSSL could not decode what a file holds: it says `PEM lib`, of whichever file."""
    return "PEM lib" in str(error)


def _is_whole(certificate: File) -> bool:
    import ssl  # loaded already where OpenSSL has complained

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(certificate)
    except OSError:
        return False
    return True


def _lacks(file: File, mark: bytes, what: str) -> str | None:
    try:
        return None if mark in _content(file) else f"it has no {what} in PEM"
    except OSError as error:
        return os_reason(error)


def _content(file: File) -> bytes:
    return Path(file).read_bytes()
