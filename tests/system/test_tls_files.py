"""What is said of files that OpenSSL does not take."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from owmesos.system.tls_files import wrong_with_authority, wrong_with_certificate
from tests.fakes.pki import Pki


def of_certificate(certificate: Path, key: Path | None) -> str:
    with pytest.raises((ssl.SSLError, FileNotFoundError)) as caught:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key, password="")
    return wrong_with_certificate(certificate, key, caught.value)


def of_authority(authority: Path) -> str:
    with pytest.raises((ssl.SSLError, FileNotFoundError)) as caught:
        ssl.create_default_context(cafile=authority)
    return wrong_with_authority(authority, caught.value)


def without_certificate(pki: Pki) -> tuple[Path, Path]:
    pki.cert.write_text("none")
    return pki.cert, pki.key


def without_key(pki: Pki) -> tuple[Path, Path]:
    return pki.cert, pki.ca


def missing_key(pki: Pki) -> tuple[Path, Path]:
    return pki.cert, pki.key.with_name("none")


def of_another(pki: Pki) -> tuple[Path, Path]:
    certificate = pki.cert.read_bytes()
    pki.issue_client()
    pki.cert.write_bytes(certificate)
    return pki.cert, pki.key


def encrypted(pki: Pki) -> tuple[Path, Path]:
    pki.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMII=\n-----END ENCRYPTED PRIVATE KEY-----\n")
    return pki.cert, pki.key


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (without_certificate, "{cert}: it has no certificate in PEM"),
        (without_key, "{ca}: it has no private key in PEM"),
        (missing_key, "none: No such file or directory"),
        (of_another, "{key}: the key does not belong to the certificate in {cert}"),
        (encrypted, "{key}: the key is encrypted: write it without a password"),
    ],
)
def test_the_file_and_its_fault_are_named(tmp_path: Path, given: Callable[[Pki], tuple[Path, Path]], said: str) -> None:
    pki = Pki(tmp_path)
    assert said.format(cert=pki.cert, key=pki.key, ca=pki.ca) in of_certificate(*given(pki))


def test_an_authority_without_a_certificate(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    assert of_authority(pki.key) == "it has no certificate in PEM"
    assert of_authority(tmp_path / "none") == "No such file or directory"


def damage(file: Path) -> None:
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:4] + lines[5:]))


def test_of_damaged_files_the_right_one_is_named(tmp_path: Path) -> None:
    pki = Pki(tmp_path)
    damage(pki.ca)
    assert of_authority(pki.ca) == "a certificate in it is damaged"
    key = pki.key.read_text()
    damage(pki.key)
    assert of_certificate(pki.cert, pki.key) == f"{pki.key}: the key is damaged"
    pki.key.write_text(key)
    damage(pki.cert)
    assert of_certificate(pki.cert, pki.key) == f"{pki.cert}: a certificate in it is damaged"
