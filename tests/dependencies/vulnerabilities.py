"""What a report of pip-audit says: it *skips* a package of which it knows nothing, and ends with 0 all the same."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

_UNREACHED = "Could not connect"
_SHOWN = 200  # characters


class Vulnerability(msgspec.Struct, frozen=True):
    """One that is known, with the versions in which it is mended."""

    id: str
    fix_versions: list[str] = []


class Audited(msgspec.Struct, frozen=True):
    """A package; `vulns` has no meaning where it was skipped."""

    name: str
    version: str = ""
    vulns: list[Vulnerability] = []
    skip_reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What `pip-audit --format json` writes."""

    dependencies: list[Audited]


class Verdict(NamedTuple):
    """One line for a person, more for what was found, and whether it is a failure."""

    lines: list[str]
    checked: bool = False
    failed: bool = False


def verdict(lock: str, report: bytes, errors: str) -> Verdict:
    """`report` is empty if pip-audit wrote none, and then `errors` says why."""
    if not report:
        reason = next((line for line in reversed(errors.splitlines()) if line.strip()), "it said nothing")[:_SHOWN]
        if _UNREACHED in errors:
            return Verdict([f"{lock}: not checked: pip-audit cannot reach its data ({reason})"])
        return Verdict([f"{lock}: pip-audit failed: {reason}"], failed=True)
    packages = msgspec.json.decode(report, type=Report).dependencies
    checked = [package for package in packages if not package.skip_reason]
    skipped = [package.name for package in packages if package.skip_reason]
    found = [f"  {_found(package, each)}" for package in checked for each in package.vulns]
    if not checked:
        return Verdict(
            [f"{lock}: not checked: pip-audit's data know none of the {len(packages)} packages"], failed=False
        )
    line = f"{lock}: {len(checked)} packages checked, {len(found)} known vulnerabilities"
    if skipped:
        line += f"; not checked: {', '.join(skipped)}"
    return Verdict([line, *found], checked=True, failed=bool(found))


def _found(package: Audited, vulnerability: Vulnerability) -> str:
    mended = ", ".join(vulnerability.fix_versions) or "no version"
    return f"{package.name} {package.version}: {vulnerability.id}, mended in {mended}"
