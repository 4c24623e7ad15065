"""The control program for Vagrant's machines and scripts/test-cluster's way to them, on stand-ins for vagrant and ssh.

The stand-ins reach the hosts in namespaces, which have been provisioned by the same scripts at the same addresses.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.control import Control
from tests.hosts.namespaces import ROOT, Namespaces

pytestmark = pytest.mark.cluster
PROGRAM = str(ROOT / "scripts" / "vagrant-cluster")
VAGRANT = """#!/bin/sh
[ "$*" = ssh-config ] && echo "Host master agent1 agent2 zookeeper"
"""
SSH = """#!/bin/sh
# ssh -F FILE HOST -- COMMAND
grep -q "Host.* $3" "$2" && [ "$4" = -- ] || exit 255
host=$3 command=$5
PYTHONPATH={root} exec {python} -c '
import sys
from pathlib import Path
from tests.hosts.namespaces import Namespaces
from tests.hosts.control import HostsError
try:
    print(Namespaces(Path("{state}")).run(*sys.argv[1:], text=sys.stdin.read()), end="")
except HostsError as error:
    sys.exit(str(error))
' "$host" sh -c "sudo() {{ \\"\\$@\\"; }}; $command"
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(hosts: Namespaces, control: Control, tmp_path: Path) -> Run:
    """Runs a program in the hosts' network, where Vagrant seems to be."""
    for name, text in (("vagrant", VAGRANT), ("ssh", SSH)):
        program = tmp_path / name
        program.write_text(text.format(root=ROOT, python=sys.executable, state=hosts.state))
        program.chmod(0o755)
    variables = {name: value for name, value in os.environ.items() if not name.startswith("OWMESOS_TEST_")}
    variables |= {"PATH": f"{tmp_path}:{variables['PATH']}", "OWMESOS_PYTHON": sys.executable}

    def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            hosts.inside(*command),
            check=False,
            cwd=ROOT,
            env=variables | more,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return run


def test_status_and_the_verbs_for_one_daemon(run: Run, hosts: Namespaces) -> None:
    assert [line.split()[0] for line in run(PROGRAM, "status").stdout.splitlines()] == ["master", "agent1", "agent2"]
    assert run(PROGRAM, "kill", "agent2").returncode == 0
    down = run(PROGRAM, "status")
    assert (down.returncode, down.stdout.splitlines()[2]) == (1, f"agent2 {hosts.plan.agents[1].address}:5051 down")
    assert run(PROGRAM, "start", "agent2", "--fresh").returncode == 0
    assert run(PROGRAM, "status").returncode == 0


def test_up_says_where_the_master_is_to_be_found(run: Run, hosts: Namespaces) -> None:
    done = run(PROGRAM, "up", "--fresh", "--agents=1", "--resources=cpus:1;mem:300;ports:[1-2]", "--attributes=a:x y'z")
    assert (done.returncode, done.stdout) == (0, f"{hosts.plan.zookeeper_url}\n"), done.stderr
    flags = hosts.run("agent1", "cat", "/etc/owmesos/agent1.flags")
    assert flags.splitlines() == ["resources=cpus:1;mem:300;ports:[1-2]", "attributes=a:x y'z"]


def test_the_conformance_suite_runs_there(run: Run) -> None:
    cases = ["tests/conformance/test_kill.py", "tests/conformance/test_authentication.py"]
    suite = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *cases, "--conformance-drivers=http"]
    done = run(PROGRAM, "run", *suite, OWMESOS_TEST_USER="root")
    assert done.returncode == 0, done.stdout
    assert "vagrant, driver http: " in done.stdout


def test_without_machines_the_reason_is_said(run: Run, tmp_path: Path) -> None:
    (tmp_path / "vagrant").write_text("#!/bin/sh\necho 'agent1 is not created' >&2; exit 1\n")
    done = run(PROGRAM, "status")
    assert done.returncode == 1
    assert done.stderr == "vagrant: `vagrant ssh-config` failed, is everything up? agent1 is not created\n"
