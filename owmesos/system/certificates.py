"""Until when a certificate is valid. The ssl module tells it of the peer's only."""

from __future__ import annotations

import ssl
from datetime import datetime, timezone

_BEGIN, _END = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
_VERSION, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x17, 0x18


def not_after(pem: bytes) -> datetime | None:
    """The end of the first certificate in `pem`; None if there is none that can be read."""
    _, begin, rest = pem.decode("latin-1").partition(_BEGIN)
    body, end, _ = rest.partition(_END)
    if not end:
        return None
    try:
        return _not_after(ssl.PEM_cert_to_DER_cert(begin + body + end))
    except (ValueError, IndexError):
        return None


def _not_after(der: bytes) -> datetime:
    """RFC 5280, 4.1: { TBSCertificate { [version], serial, algorithm, issuer, Validity { from, to }, … }, … }"""
    _, certificate, _ = _element(der)
    _, content, _ = _element(certificate)
    tag, _, rest = _element(content)
    if tag == _VERSION:
        _, _, rest = _element(rest)  # the serial number
    for _ in ("algorithm", "issuer"):
        _, _, rest = _element(rest)
    _, validity, _ = _element(rest)
    _, _, rest = _element(validity)
    tag, text, _ = _element(rest)
    if tag == _UTC_TIME:  # two digits of the year, from 1950 on
        text = (b"20" if text[:2] < b"50" else b"19") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError(f"{tag} is not a time")
    return datetime.strptime(text.decode("ascii"), "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and the content of the first element, and what follows it."""
    tag, size, start = data[0], data[1], 2
    if size & 0x80:
        start = 2 + (size & 0x7F)
        size = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + size], data[start + size :]
