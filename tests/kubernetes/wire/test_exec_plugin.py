"""Credentials from a program: run when they expire or are rejected, and each way it can fail is one line."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from owmesos.kubernetes.wire.access import ClientCertificate, Credential, CredentialsUnavailable
from owmesos.kubernetes.wire.exec_plugin import API_VERSIONS, ExecCredentials, ExecPlugin

V1 = API_VERSIONS[0]


class Clocks:
    """A minute after the other."""

    def __init__(self) -> None:
        self.at = datetime(2026, 1, 1, tzinfo=timezone.utc)

    def now(self) -> datetime:
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()


class Program:
    """A plugin that writes `answer`, and notes what it was told."""

    def __init__(self, folder: Path) -> None:
        self.answer: Any = {"token": "t1"}
        self.clocks = Clocks()
        self._answer, self._told = folder / "answer", folder / "told"
        self._code = (
            f"import os, sys; open({str(self._told)!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + '\\n');"
            f"sys.stdout.write(open({str(self._answer)!r}).read())"
        )

    def credentials(self, version: str = V1, **fields: Any) -> ExecCredentials:
        plugin = ExecPlugin(version, sys.executable, ("-c", self._code), **fields)
        return ExecCredentials(plugin, self.clocks.now, self.clocks.monotonic)

    def says(self, answer: object, version: str = V1) -> None:
        """A status, or the text itself."""
        document = {"apiVersion": version, "kind": "ExecCredential", "status": answer}
        self._answer.write_text(answer if isinstance(answer, str) else json.dumps(document))

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._told.read_text().splitlines()]


@pytest.fixture
def program(tmp_path: Path) -> Program:
    program = Program(tmp_path)
    program.says({"token": "t1"})
    return program


@pytest.mark.parametrize("version", API_VERSIONS)
def test_the_program_gives_a_token(program: Program, version: str) -> None:
    program.says({"token": "t1"}, version)
    credentials = program.credentials(version)
    assert credentials.current() is None
    assert credentials.renew() == Credential("t1")
    assert credentials.current() == Credential("t1")
    assert program.told() == [{"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}]


def test_the_program_gives_a_certificate(program: Program) -> None:
    program.says({"clientCertificateData": "CERT", "clientKeyData": "KEY"})
    assert program.credentials().renew() == Credential(None, ClientCertificate(b"CERT", b"KEY"))


def test_the_program_is_told_of_the_cluster_if_it_wants_that(program: Program) -> None:
    program.credentials(cluster={"server": "https://h", "config": {"audience": "x"}}).renew()
    assert program.told()[0]["spec"]["cluster"] == {"server": "https://h", "config": {"audience": "x"}}


def test_it_is_run_again_when_its_credentials_expire(program: Program) -> None:
    expires = program.clocks.at + timedelta(hours=1)
    program.says({"token": "t1", "expirationTimestamp": expires.isoformat().replace("+00:00", "Z")})
    credentials = program.credentials()
    credentials.renew()
    program.clocks.at = expires - timedelta(seconds=30)
    assert credentials.current() == Credential("t1")
    program.clocks.at = expires - timedelta(seconds=5)
    assert credentials.current() is None
    program.says({"token": "t2"})
    assert credentials.renew() == Credential("t2")


def test_it_is_run_again_when_its_credentials_are_rejected(program: Program) -> None:
    credentials = program.credentials()
    first = credentials.renew()
    program.says({"token": "t2"})
    program.clocks.at += timedelta(minutes=1)
    assert credentials.renew(rejected=first) == Credential("t2")
    assert credentials.renew(rejected=first) == Credential("t2")  # which another request had rejected, too
    assert len(program.told()) == 2


def test_it_is_not_run_without_end(program: Program) -> None:
    credentials = program.credentials()
    for _ in range(10):
        assert credentials.renew(rejected=Credential("t1")) == Credential("t1")
    assert len(program.told()) == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("", "did not write an ExecCredential as JSON"),
        (
            '{"apiVersion": "x", "kind": "ExecCredential"}',
            f"wrote ExecCredential of x, the kubeconfig wants .* of {V1}",
        ),
        ({}, "wrote neither a token nor a certificate"),
        ({"token": "a b"}, "characters that a token cannot have"),
        ({"clientKeyData": "KEY"}, "a certificate or a key without the other"),
        ({"token": "t", "expirationTimestamp": "soon"}, "did not write an ExecCredential"),
    ],
)
def test_what_it_writes_is_checked(program: Program, answer: object, words: str) -> None:
    program.says(answer)
    with pytest.raises(CredentialsUnavailable, match=words):
        program.credentials().renew()


def test_a_program_that_fails_says_why() -> None:
    plugin = ExecPlugin(V1, sys.executable, ("-c", "raise SystemExit('you are not\\nlogged in')"))
    with pytest.raises(CredentialsUnavailable, match="ended with exit code 1: you are not logged in"):
        ExecCredentials(plugin).renew()


def test_a_program_that_is_missing_says_how_to_get_it() -> None:
    plugin = ExecPlugin(V1, "no-such-login", install_hint="Install it\nfrom example.org.")
    with pytest.raises(CredentialsUnavailable, match=r"no-such-login cannot be run: No such file .*: Install it from"):
        ExecCredentials(plugin).renew()


def test_a_program_that_hangs_is_ended() -> None:
    plugin = ExecPlugin(V1, sys.executable, ("-c", "import signal; signal.pause()"))
    with pytest.raises(CredentialsUnavailable, match=r"gave no credentials in 0\.5 s"):
        ExecCredentials(plugin, timeout=0.5).renew()


def test_a_program_works_again_after_a_failure(program: Program) -> None:
    program.says("")
    credentials = program.credentials()
    for _ in range(2):
        with pytest.raises(CredentialsUnavailable):
            credentials.renew()
    program.says({"token": "t2"})
    program.clocks.at += timedelta(minutes=1)
    assert credentials.renew() == Credential("t2")
    assert len(program.told()) == 2
