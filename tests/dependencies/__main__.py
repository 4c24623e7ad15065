"""python -m tests.dependencies vulnerabilities | licences FOLDER: steps of `scripts/audit`, in its environment."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import distributions
from pathlib import Path

from tests.dependencies.licences import of_dependencies
from tests.dependencies.locks import LOCKS
from tests.dependencies.vulnerabilities import Verdict, verdict

_LIMIT = 600.0  # seconds, for one lock file; a package is one request
# What users install and what runs the tests. lowest.lock has old versions by intention.
AUDITED = ("openwhisk", "test", "docs", "audit", "pymesos")


def vulnerabilities() -> bool:
    """True if any is known. One line where the data cannot be reached: the rest is not tried then."""
    failed = False
    for name in AUDITED:
        found = _audit(LOCKS / f"{name}.lock")
        print("\n".join(found.lines), flush=True)
        failed |= found.failed
        if not found.checked and not found.failed:
            break
    return failed


def _audit(lock: Path) -> Verdict:
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--progress-spinner", "off"]
        command += ["--requirement", str(lock), "--format", "json", "--output", str(report)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT, check=False)
        return verdict(lock.name, report.read_bytes() if report.exists() else b"", done.stderr)


def licences(folder: str) -> bool:
    """Of the packages in `folder`. True if one is not accepted."""
    packages = of_dependencies(distributions(path=[folder]))
    for each in packages:
        print(f"{each.name:24} {each.version:16} {each.licence}{'' if each.accepted else '  NOT ACCEPTED'}")
    return not all(each.accepted for each in packages)


if __name__ == "__main__":
    sys.exit(licences(sys.argv[2]) if sys.argv[1] == "licences" else vulnerabilities())
