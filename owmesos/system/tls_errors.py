"""What an exception of the TLS handshake says of the other side."""

from __future__ import annotations


def no_tls(error: BaseException) -> bool:
    """Whether the other side has answered the handshake with something else, as a server of plain HTTP does."""
    reason = getattr(error, "reason", None)  # of ssl.SSLError, which the commands are quicker without
    return reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST")


_RENEW = "renew it, if this machine's clock is right"
_NAME = "use a name that is in it, or have that name put into it (subjectAltName)"


def distrust(error: BaseException, authority: str, *, renew: str = _RENEW, name: str = _NAME) -> str | None:
    """Why the other side's certificate is not trusted, and what to do; None if that is not what `error` says.

    `authority`, `renew` and `name` say what to do if the certificate's authority is not known, if it has expired, and
    if it is for another name.
    """
    said = getattr(error, "verify_message", None)  # only ssl.SSLCertVerificationError has it
    return None if said is None else f"{said.rstrip('.')}; {mend(error, authority, renew=renew, name=name)}"


def mend(error: BaseException, authority: str, *, renew: str = _RENEW, name: str = _NAME) -> str:
    """What to do about a certificate that is not trusted."""
    said = getattr(error, "verify_message", "")
    if "expired" in said:
        return renew
    if "not yet valid" in said:
        return "check the clocks of both machines"
    if "mismatch" in said:
        return name
    if "does not include" in said or "Missing" in said:  # what Python 3.13 demands
        return "have it made anew with this extension, as docs/how-to/tls.md shows"
    return authority
