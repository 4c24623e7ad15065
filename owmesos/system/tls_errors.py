"""What an exception of the TLS handshake says of the other side."""

from __future__ import annotations


def no_tls(error: BaseException) -> bool:
    """Whether the other side has answered the handshake with something else, as a server of plain HTTP does."""
    reason = getattr(error, "reason", None)  # of ssl.SSLError, which the commands are quicker without
    return reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


def distrust(error: BaseException, authority: str) -> str | None:
    """Why the other side's certificate is not trusted, and what to do; None if that is not what `error` says.
    `authority` says what to do about one of an authority that is not known."""
    said = getattr(error, "verify_message", None)  # only ssl.SSLCertVerificationError has it
    return None if said is None else f"{said.rstrip('.')}; {mend(error, authority)}"


def mend(error: BaseException, authority: str) -> str:
    """What to do about a certificate that is not trusted."""
    said = getattr(error, "verify_message", "")
    if "expired" in said:
        return "renew it, if this machine's clock is right"
    if "not yet valid" in said:
        return "check the clocks of both machines"
    if "mismatch" in said:
        return "use a name that is in it, or have that name put into it (subjectAltName)"
    if "does not include" in said or "Missing" in said:  # what Python 3.13 demands
        return "have it made anew with this extension, as docs/how-to/tls.md shows"
    return authority
