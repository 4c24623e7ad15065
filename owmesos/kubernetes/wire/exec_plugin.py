"""Credentials from a program that a kubeconfig names: client.authentication.k8s.io, v1 and v1beta1.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins. The program is
run when its credentials expire and when the API server rejects them. It has no terminal to ask anybody.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from threading import Lock
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.kubernetes.wire.access import ClientCertificate, Credential, CredentialsUnavailable, checked_token
from owmesos.system.http_answers import one_line

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
TIMEOUT = 60.0  # seconds; for the program
_EARLY = 10.0  # seconds before they expire: for a request on its way and a clock that differs
_PAUSE = 5.0  # seconds between two runs: a program that gives what is rejected at once must not be run without end


@dataclass(frozen=True)
class ExecPlugin:
    """What a kubeconfig says of the program. `cluster` is handed to it if it wants that (`provideClusterInfo`)."""

    api_version: str
    command: str
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    install_hint: str = ""
    cluster: Mapping[str, Any] | None = None


class _Status(msgspec.Struct, rename="camel"):
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None
    expiration_timestamp: datetime | None = None


class _ExecCredential(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    status: _Status | None = None


def _now() -> datetime:
    return datetime.now(timezone.utc)


class ExecCredentials:
    """See `access.Credentials`. `now` has a zone, `monotonic` is in seconds."""

    def __init__(
        self,
        plugin: ExecPlugin,
        now: Callable[[], datetime] = _now,
        monotonic: Callable[[], float] = time.monotonic,
        timeout: float = TIMEOUT,
    ) -> None:
        self._plugin = plugin
        self._now = now
        self._monotonic = monotonic
        self._timeout = timeout
        self._lock = Lock()
        self._known: Credential | None = None
        self._expires: datetime | None = None
        self._ran_at: float | None = None
        self._failed: str | None = None

    def __str__(self) -> str:
        return f"the credentials of the program {self._plugin.command}"

    def current(self) -> Credential | None:
        known, expires = self._known, self._expires
        # Not `expires` less some seconds: that may be before the first year.
        if known is None or (expires is not None and self._now() + timedelta(seconds=_EARLY) >= expires):
            return None
        return known

    def renew(self, rejected: Credential | None = None) -> Credential:
        with self._lock:
            known = self.current()
            if known is not None and known != rejected:  # another thread was quicker
                return known
            if self._ran_at is None or self._monotonic() - self._ran_at >= _PAUSE:
                self._run_again()
            if self._failed is not None:
                raise CredentialsUnavailable(self._failed)
            assert self._known is not None
            return self._known

    def _run_again(self) -> None:
        try:
            self._known, self._expires = self._read(self._run())
            self._failed = None
        except CredentialsUnavailable as error:
            self._failed = str(error)
        finally:
            self._ran_at = self._monotonic()

    def _run(self) -> bytes:
        plugin = self._plugin
        try:
            done = subprocess.run(
                [plugin.command, *plugin.args],
                env={**os.environ, **dict(plugin.env), "KUBERNETES_EXEC_INFO": self._info()},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=self._timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise CredentialsUnavailable(f"{plugin.command} gave no credentials in {self._timeout:g} s") from None
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            hint = f": {one_line(plugin.install_hint)}" if plugin.install_hint else ""
            raise CredentialsUnavailable(f"{plugin.command} cannot be run: {why}{hint}") from None
        if done.returncode != 0:
            words = one_line(done.stderr.decode(errors="replace")) or "it wrote no reason"
            raise CredentialsUnavailable(f"{plugin.command} ended with exit code {done.returncode}: {words}")
        return done.stdout

    def _info(self) -> str:
        spec: dict[str, Any] = {"interactive": False}
        if self._plugin.cluster is not None:
            spec["cluster"] = self._plugin.cluster
        document = {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}
        return msgspec.json.encode(document).decode()

    def _read(self, output: bytes) -> tuple[Credential, datetime | None]:
        """What the program wrote. It is never quoted: it is secret."""
        command = self._plugin.command
        try:
            document = msgspec.json.decode(output, type=_ExecCredential)
        except NOT_READABLE:
            raise CredentialsUnavailable(f"{command} did not write an ExecCredential as JSON") from None
        if document.kind != "ExecCredential" or document.api_version != self._plugin.api_version:
            raise CredentialsUnavailable(
                f"{command} wrote {one_line(document.kind)} of {one_line(document.api_version)},"
                f" the kubeconfig wants ExecCredential of {self._plugin.api_version}"
            )
        status = document.status or _Status()
        certificate = None
        if (status.client_certificate_data is None) != (status.client_key_data is None):
            raise CredentialsUnavailable(f"{command} wrote a certificate or a key without the other")
        if status.client_certificate_data is not None and status.client_key_data is not None:
            certificate = ClientCertificate(status.client_certificate_data.encode(), status.client_key_data.encode())
        if not status.token and certificate is None:
            raise CredentialsUnavailable(f"{command} wrote neither a token nor a certificate")
        try:
            token = checked_token(status.token, f"the token that {command} wrote") if status.token else None
        except InvalidInput as error:
            raise CredentialsUnavailable(str(error)) from None
        expires = status.expiration_timestamp
        if expires is not None and expires.tzinfo is None:
            expires = expires.replace(tzinfo=timezone.utc)
        return Credential(token, certificate), expires
