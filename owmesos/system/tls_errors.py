"""What an exception of the TLS handshake says of the other side."""

from __future__ import annotations


def no_tls(error: BaseException) -> bool:
    """Whether the other side has answered the handshake with something else, as a server of plain HTTP does."""
    reason = getattr(error, "reason", None)  # of ssl.SSLError, which the commands are quicker without
    return reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")
