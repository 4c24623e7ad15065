"""A pod reaches the API server by its service account, whose token is replaced while we run."""

from __future__ import annotations

from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.kubernetes.wire.access import REREAD, Credential, CredentialsUnavailable, FileCredentials, read_token
from owmesos.kubernetes.wire.in_cluster import in_cluster, is_in_cluster
from tests.fakes.pki import Pki

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.fixture
def service_account(tmp_path: Path, pki: Pki) -> Path:
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    (folder / "token").write_text("first")
    (folder / "namespace").write_text("openwhisk")
    (folder / "ca.crt").write_bytes(pki.ca.read_bytes())
    return folder


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_all_is_taken_from_the_environment_and_the_files(service_account: Path) -> None:
    assert is_in_cluster(POD, service_account)
    access = in_cluster(POD, service_account)
    assert (access.server, access.namespace) == ("https://10.0.0.1:443", "openwhisk")
    assert access.credentials.current() == Credential("first")
    assert access.ssl_context(None).get_ca_certs()


def test_an_ipv6_address_gets_brackets(service_account: Path) -> None:
    assert in_cluster(POD | {"KUBERNETES_SERVICE_HOST": "fd00::1"}, service_account).server == "https://[fd00::1]:443"


def test_outside_of_a_pod_it_is_said(service_account: Path) -> None:
    assert not is_in_cluster({}, service_account)
    with pytest.raises(InvalidInput, match="not a pod of a Kubernetes cluster: KUBERNETES_SERVICE_HOST"):
        in_cluster({}, service_account)


@pytest.mark.parametrize(
    ("missing", "words"), [("token", "set automountServiceAccountToken"), ("ca.crt", "certificate authority .*ca.crt")]
)
def test_a_file_that_is_missing_is_named(service_account: Path, missing: str, words: str) -> None:
    (service_account / missing).unlink()
    with pytest.raises(InvalidInput, match=words):
        in_cluster(POD, service_account)


def test_a_token_that_is_replaced_is_read_within_a_minute(service_account: Path) -> None:
    clock, file = Clock(), service_account / "token"
    credentials = FileCredentials(lambda: Credential(read_token(file)), "the token", clock)
    assert credentials.current().token == "first"
    file.write_text("second")
    clock.now += REREAD - 1
    assert credentials.current().token == "first"
    clock.now += 1
    assert credentials.current().token == "second"


def test_a_rejected_token_is_read_at_once(service_account: Path) -> None:
    access = in_cluster(POD, service_account)
    first = access.credentials.current()
    (service_account / "token").write_text("second")
    assert access.credentials.renew(first).token == "second"


def test_the_last_token_holds_while_its_file_is_replaced(service_account: Path) -> None:
    file, clock = service_account / "token", Clock()
    credentials = FileCredentials(lambda: Credential(read_token(file)), "the token", clock)
    credentials.current()
    file.unlink()
    clock.now += REREAD
    assert credentials.current().token == "first"
    with pytest.raises(CredentialsUnavailable, match="cannot be read"):
        FileCredentials(lambda: Credential(read_token(file)), "the token", clock).current()
