"""Why the API server did not do what was asked: one line for people, and whether it certainly had no effect."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

import aiohttp

from owmesos.errors import OwmesosError
from owmesos.kubernetes.events import TOO_MANY, ApiFailure, is_denial
from owmesos.kubernetes.wire.access import ClusterAccess, Credential
from owmesos.kubernetes.wire.decoding import Status, status_in
from owmesos.system.certificates import not_after
from owmesos.system.http_answers import described, one_line
from owmesos.system.tls_errors import distrust

_RBAC = re.compile(
    r'User "(?P<user>[^"]+)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]+)"| at the cluster scope)'
)
_WEBHOOK_FAILED = "Internal error occurred: failed calling webhook"
_ANONYMOUS = "system:anonymous"
_LONGEST_PAUSE = 60.0  # seconds; of a Retry-After: for longer nobody should be blind, or a start wait
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    TOO_MANY: "TooManyRequests",
}


class ApiRequestFailed(OwmesosError):
    """A request to the API server was not done, or it is not known whether it was: see `failure`."""

    def __init__(self, failure: ApiFailure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def answered(
    status: int, headers: Mapping[str, str], body: bytes, access: ClusterAccess, credential: Credential
) -> ApiFailure:
    """What an answer that is not a success means."""
    said = status_in(body)
    reason = (said.reason if said else "") or _REASONS.get(status, f"HTTP {status}")
    return ApiFailure(
        status=status,
        reason="Unauthorized" if _is_anonymous(status, said) else reason,
        message=_message(status, said, body, access, credential),
        certain=_had_no_effect(status, said),
        retry_after=retry_after_of(headers.get("Retry-After"), said),
    )


def unanswered(error: BaseException, access: ClusterAccess) -> ApiFailure:
    """What an exception of aiohttp, a socket or a time-out means."""
    server = access.server
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return _nothing_sent("CertificateInvalid", _distrust(error, access))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _nothing_sent("ProxyFailed", f"the proxy to {server} answers {error.status}: {one_line(error.message)}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return _nothing_sent("ProxyFailed", f"cannot connect to the proxy of {server}: {described(error)}")
    if isinstance(error, aiohttp.ConnectionTimeoutError):  # whose text has the whole URL
        return _nothing_sent("Unreachable", f"cannot connect to {server}: no answer in time")
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.InvalidURL)):
        return _nothing_sent("Unreachable", f"cannot connect to {server}: {described(error)}")
    if isinstance(error, (asyncio.TimeoutError, aiohttp.ServerTimeoutError)):
        return ApiFailure(0, "Timeout", f"{server} did not answer in time", certain=False)
    if isinstance(error, ssl.SSLError) or isinstance(error.__cause__, ssl.SSLError):
        words = f"the TLS connection to {server} broke: {described(error)}"
        return ApiFailure(0, "ConnectionBroke", words, certain=False)
    return ApiFailure(0, "ConnectionBroke", f"the connection to {server} broke: {described(error)}", certain=False)


def without_credentials(error: OwmesosError) -> ApiFailure:
    """Nothing was sent: there are no credentials, or what they consist of is not valid."""
    return _nothing_sent("NoCredentials", str(error))


def _nothing_sent(reason: str, message: str) -> ApiFailure:
    return ApiFailure(0, reason, message, certain=True)


def _had_no_effect(status: int, said: Status | None) -> bool:
    """An answer of 5xx may follow the deed: etcd took it and answered late. A webhook is asked before it."""
    if status >= 500 or status == 408:
        return said is not None and (said.message.startswith(_WEBHOOK_FAILED) or is_denial(said.message))
    return True


def _message(status: int, said: Status | None, body: bytes, access: ClusterAccess, credential: Credential) -> str:
    if status == 401 and (said is None or not is_denial(said.message)):
        return _unauthorized(access, credential, "401 Unauthorized")
    if _is_anonymous(status, said):
        return _unauthorized(access, credential, f"403 Forbidden to {_ANONYMOUS}")
    if said is None and status == TOO_MANY:  # API Priority and Fairness answers with plain text
        return f"{access.server} answers 429: {one_line(body.decode(errors='replace')) or 'too many requests'}"
    if said is None:
        text = body.decode(errors="replace")
        page = text.lstrip().lower().startswith(("<!doctype", "<html"))
        words = "an HTML page" if page else one_line(text) or "nothing"
        return f"{access.server} answers {status} with {words}: is that a Kubernetes API server?"
    if said.reason == "NotFound" and said.details is not None and said.details.kind == "namespaces":
        name = said.details.name
        return f"the namespace {name} does not exist: create it (kubectl create namespace {name}) or give another"
    rule = _RBAC.search(said.message) if status == 403 else None
    if rule is not None:
        return _forbidden(rule)
    return one_line(said.message) or f"{access.server} answers {status} {said.reason}"


def _forbidden(rule: re.Match[str]) -> str:
    role = "Role" if rule["namespace"] else "ClusterRole"
    where = f" in the namespace {rule['namespace']}" if rule["namespace"] else ""
    return (
        f"RBAC forbids {rule['user']} to {rule['verb']} {rule['resource']}{where}: give it a {role} with"
        f' apiGroups: ["{rule["group"]}"], resources: ["{rule["resource"]}"], verbs: ["{rule["verb"]}"]'
    )


def _is_anonymous(status: int, said: Status | None) -> bool:
    """An API server that allows anonymous requests takes a caller whose credential is not valid for anonymous: a role
    would not help."""
    rule = _RBAC.search(said.message) if status == 403 and said is not None else None
    return rule is not None and rule["user"] == _ANONYMOUS


def _unauthorized(access: ClusterAccess, credential: Credential, answer: str) -> str:
    words = f"{access.server} does not accept {access.credentials} ({answer})"
    if credential.token is None and credential.certificate is None:
        return f"{access.server} wants credentials ({answer}), and {access.source} has none"
    if credential.token is None and credential.certificate is not None:
        end = not_after(credential.certificate.certificate)
        if end is not None and end <= datetime.now(timezone.utc):
            return f"{words}: the certificate expired on {end:%Y-%m-%d %H:%M} UTC, get a new one"
    return f"{words}: expired or revoked, or of another cluster"


def _distrust(error: aiohttp.ClientConnectorCertificateError, access: ClusterAccess) -> str:
    authority = f"{access.source} has to name the cluster's certificate-authority"
    untrusted = distrust(
        error.certificate_error,
        authority,
        renew="the cluster's administrator has to renew it",
        name="give the name that it is for as tls-server-name",
    )
    why = untrusted if untrusted is not None else f"{error.certificate_error}; {authority}"
    return f"the certificate of {access.server} is not trusted: {one_line(why)}"


def retry_after_of(header: str | None, said: Status | None) -> float | None:
    """Seconds, as a number or a date (RFC 9110, 10.2.3), or as the Status says."""
    seconds: float | None = None
    if header is not None:
        try:
            seconds = float(header)
        except ValueError:
            try:
                seconds = (parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds()
            except (TypeError, ValueError, OverflowError):
                seconds = None
    if seconds is None and said is not None and said.details is not None and said.details.retry_after_seconds:
        seconds = float(said.details.retry_after_seconds)
    if seconds is None or not seconds < float("inf"):
        return None
    return min(max(0.0, seconds), _LONGEST_PAUSE)
