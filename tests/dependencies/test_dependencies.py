"""What is installed is what was locked, under licences that are accepted; and nothing unchecked is called checked."""

from __future__ import annotations

import json
import re
from email.message import Message
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

import pytest

from tests.dependencies.licences import EXCEPTIONS, Licensed, licence_of, of_dependencies
from tests.dependencies.locks import LOCKS, entries
from tests.dependencies.vulnerabilities import Verdict, verdict

ROOT = LOCKS.parent
ALL_LOCKS = sorted(LOCKS.glob("*.lock"))


# -- lock files


@pytest.mark.parametrize("lock", ALL_LOCKS, ids=lambda lock: lock.name)
def test_each_entry_of_a_lock_is_one_version_with_digests(lock: Path) -> None:
    found = entries(lock)
    assert found
    assert [each.text for each in found if not each.name or not each.digests] == []


def test_an_entry_without_a_digest_is_noticed(tmp_path: Path) -> None:
    lock = tmp_path / "some.lock"
    digest = "--hash=sha256:" + "0" * 64
    lock.write_text(
        f"# one\na==1 \\\n    {digest} \\\n    {digest}\nb==2\nc>=3 \\\n    {digest}\nd==4 --hash=sha256:0\n"
    )
    assert [(each.name, each.digests) for each in entries(lock)] == [("a", 2), ("b", 0), ("", 1), ("d", 0)]


def test_scripts_lock_names_each_lock() -> None:
    said = re.findall(r"^#   (\S+\.lock) ", (ROOT / "scripts" / "lock").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(said) == [lock.name for lock in ALL_LOCKS]


@pytest.mark.parametrize("name", ["runtime", "openwhisk"])
def test_what_users_install_is_what_is_tested(name: str) -> None:
    def versions(lock: str) -> set[str]:
        return {each.text.split(" ")[0] for each in entries(LOCKS / f"{lock}.lock")}

    assert versions(name) <= versions("test")


def test_scripts_install_with_digests_only() -> None:
    """What pip takes from elsewhere has its digest in a lock; scripts/test also does what the README tells users to."""
    allowed = {"scripts/lock": 1, "scripts/test": 1}  # uv that makes the locks; `pip install pymesos`
    for script in sorted((ROOT / "scripts").iterdir()):
        text = script.read_text(encoding="utf-8").replace("\\\n", " ")
        installs = re.findall(r"^.*\binstall --.*$", text, re.MULTILINE)
        loose = [line for line in installs if "--require-hashes" not in line and "--no-deps" not in line]
        assert len(loose) <= allowed.get(f"scripts/{script.name}", 0), loose


# -- licences


def test_the_licences_of_all_that_is_installed_are_accepted() -> None:
    found = of_dependencies(distributions())
    assert len(found) > 20
    assert [each for each in found if not each.accepted] == []


class Package(Distribution):
    """One whose metadata are these lines."""

    def __init__(self, **fields: str) -> None:
        self._fields = fields

    @property
    def metadata(self) -> Any:
        message = Message()
        for name, value in self._fields.items():
            message[name.replace("_", "-")] = value
        return message

    def read_text(self, filename: str) -> None: ...

    def locate_file(self, path: object) -> Any: ...


@pytest.mark.parametrize(
    ("fields", "licence", "accepted"),
    [
        ({"License_Expression": "MIT", "License": "GPL-3.0"}, "MIT", True),
        ({"License_Expression": "Apache-2.0 AND MIT"}, "Apache-2.0 AND MIT", True),
        ({"License_Expression": "MIT AND GPL-3.0-only"}, "MIT AND GPL-3.0-only", False),
        ({"License_Expression": "GPL-3.0-only OR MIT AND ISC"}, "GPL-3.0-only OR MIT AND ISC", True),
        ({"License_Expression": "(MIT OR ISC) AND MIT"}, "(MIT OR ISC) AND MIT", False),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT", True),
        ({"Classifier": "License :: OSI Approved :: New Licence", "License": "MIT"}, "New Licence", False),
        ({"License": "Apache 2.0"}, "Apache-2.0", True),
        ({"License": "UNKNOWN"}, "", False),
        ({"License": "Copyright of somebody\nAll rights reserved"}, "", False),
        ({}, "", False),
    ],
)
def test_a_licence_is_read_and_judged(fields: dict[str, str], licence: str, accepted: bool) -> None:
    found = Licensed("some", "1", licence_of(Package(**fields)))
    assert (found.licence, found.accepted) == (licence, accepted)


def test_an_exception_is_for_one_package_only() -> None:
    assert {name: Licensed(name, "1", licence).accepted for name, licence in EXCEPTIONS.items()} == {"crc32c": True}
    assert not Licensed("other", "1", EXCEPTIONS["crc32c"]).accepted
    assert not Licensed("crc32c", "2", "GPL-3.0-only").accepted


# -- vulnerabilities


def report(**packages: Any) -> bytes:
    return json.dumps(
        {"dependencies": [{"name": name, **rest} for name, rest in packages.items()], "fixes": []}
    ).encode()


CLEAN: dict[str, Any] = {"version": "1", "vulns": []}
SKIPPED = {"skip_reason": "Dependency not found on PyPI and could not be audited: b (1)"}


def test_a_clean_report() -> None:
    assert verdict("a.lock", report(a=CLEAN, b=CLEAN), "") == Verdict(
        ["a.lock: 2 packages checked, 0 known vulnerabilities"], checked=True
    )


def test_a_vulnerability_is_a_failure_that_says_what_mends_it() -> None:
    bad = {"version": "1", "vulns": [{"id": "GHSA-1", "fix_versions": ["1.2", "2.0"], "aliases": ["CVE-1"]}]}
    lines, checked, failed = verdict("a.lock", report(a=bad, b=SKIPPED), "Found 1 known vulnerability in 1 package")
    assert (checked, failed) == (True, True)
    assert lines == [
        "a.lock: 1 packages checked, 1 known vulnerabilities; not checked: b",
        "  a 1: GHSA-1, mended in 1.2, 2.0",
    ]


def test_packages_that_were_all_skipped_were_not_checked() -> None:
    """As where another server answers for the one with the data: pip-audit says "No known vulnerabilities found"."""
    found = verdict("a.lock", report(a=SKIPPED, b=SKIPPED), "No known vulnerabilities found")
    assert found == Verdict(["a.lock: not checked: pip-audit's data know none of the 2 packages"])


@pytest.mark.parametrize(
    ("errors", "failed", "line"),
    [
        (
            "ERROR: Could not connect to its feed\n",
            False,
            "a.lock: not checked: pip-audit cannot reach its data (ERROR: Could not connect to its feed)",
        ),
        (
            "ERROR: invalid requirements input: a.lock\n\n",
            True,
            "a.lock: pip-audit failed: ERROR: invalid requirements input: a.lock",
        ),
        ("", True, "a.lock: pip-audit failed: it said nothing"),
    ],
)
def test_no_report_is_not_checked_only_if_there_was_no_connection(errors: str, failed: bool, line: str) -> None:
    assert verdict("a.lock", b"", errors) == Verdict([line], failed=failed)
