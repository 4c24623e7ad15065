"""The shell scripts, read by shellcheck."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.servers.debian import PackageMissing, unpacked

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
SCRIPTS = [
    *sorted((ROOT / "vagrant" / "provision").glob("*.sh")),
    ROOT / "tests" / "hosts" / "host.sh",
    *(ROOT / "scripts" / name for name in ("namespaces-cluster", "test-cluster", "vagrant-cluster")),
]


def test_shellcheck_finds_nothing() -> None:
    try:
        root = unpacked("shellcheck", ["shellcheck"], ["usr/bin/shellcheck"])
    except PackageMissing as reason:
        pytest.skip(f"no shellcheck: {reason}")
    command = [root / "usr/bin/shellcheck", "--external-sources", "--source-path=SCRIPTDIR", *SCRIPTS]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
