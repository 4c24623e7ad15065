"""The Vagrantfile, read by Ruby in Vagrant's place: it asks for the hosts and the commands that the tests here run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.plan import VAGRANT, Host, read_plan
from tests.servers.debian import PackageMissing, unpacked

pytestmark = pytest.mark.cluster
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_RUBY = "usr/bin/ruby3.1"
PLAN = read_plan()


@pytest.fixture(scope="module")
def machines() -> dict[str, dict[str, Any]]:
    """By name, what the Vagrantfile says of it."""
    try:
        root = unpacked("ruby", ["ruby3.1", "libruby3.1"], [_RUBY])
    except PackageMissing as reason:
        pytest.skip(f"no Ruby: {reason}")
    done = subprocess.run(
        [root / _RUBY, "--disable-gems", Path(__file__).with_name("vagrantfile.rb"), VAGRANT / "Vagrantfile"],
        check=False,
        env={
            **os.environ,
            "LD_LIBRARY_PATH": f"{root / _LIBRARIES}",
            "RUBYLIB": f"{root}/usr/lib/ruby/3.1.0:{root / _LIBRARIES}/ruby/3.1.0",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["version"] == "2"
    vm = document["settings"]["vm"]
    assert vm["synced_folder"][1][:2] == ["..", "/srv/owmesos"]
    return {name: settings["vm"] for name, _, settings in vm["define"]}


def test_it_makes_every_host_at_its_address(machines: dict[str, dict[str, Any]]) -> None:
    assert list(machines) == [host.name for host in PLAN.hosts]
    for host in PLAN.hosts:
        assert machines[host.name]["hostname"] == host.name
        ((kind, options, _),) = machines[host.name]["network"]
        assert (kind, options) == ("private_network", {"ip": host.address})


@pytest.mark.parametrize("host", PLAN.hosts, ids=lambda host: host.name)
def test_it_runs_the_command_that_the_tests_run_in_namespaces(machines: dict[str, dict[str, Any]], host: Host) -> None:
    script, *arguments = PLAN.provisioning(host)
    ((kind, options, _),) = machines[host.name]["provision"]
    assert kind == "shell"
    assert options["inline"] == f'exec /srv/owmesos/vagrant/provision/{script} "$@"'
    assert options["args"] == arguments


def test_machines_have_room_for_what_their_agents_offer(machines: dict[str, dict[str, Any]]) -> None:
    for host in PLAN.agents:
        offered = dict(part.split(":") for part in host.flags[0].removeprefix("resources=").split(";"))
        for _, _, size in machines[host.name]["provider"]:
            assert size["cpus"] >= int(offered["cpus"])
            assert size["memory"] >= int(offered["mem"]) + 512


def test_agents_differ_in_size_and_attributes() -> None:
    first, second = PLAN.agents
    assert first.flags[0] != second.flags[0]
    assert first.flags[1] != second.flags[1]
