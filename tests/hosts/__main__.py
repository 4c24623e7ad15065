"""A cluster of several hosts: a ZooKeeper, a master and two agents, as vagrant/hosts.json has them.

    up        (re)starts master and agents, waits until all are registered, prints where the master is to be found
    down      ends master, agents and tasks; their state and the hosts stay
    status    a line for each daemon: name, address, pid or `down`; 1 if one is down
    kill      SIGKILL to a daemon
    start     starts a daemon that was killed

See vagrant/README.md. These are the verbs of scripts/real-mesos, so this is a control program for the conformance
suite (tests/conformance/clusters.py), and there is

    run       runs COMMAND, which finds the master in OWMESOS_TEST_MASTER and this program in OWMESOS_TEST_CONTROL, and
              ends with its exit code; of namespaces it runs in the network of hosts that are made for it and go with it

Vagrant's machines are made and removed by Vagrant. Of namespaces `up` makes the hosts, too, and there are

    enter     runs COMMAND in the network of the hosts that `up` has made
    destroy   ends and removes the hosts
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import NoReturn

from owmesos.errors import OwmesosError
from tests.conformance.clusters import CONTROL_VARIABLE, MASTER_VARIABLE, NAME_VARIABLE, USER_VARIABLE
from tests.hosts.control import Asked, Control, Hosts, HostsError
from tests.hosts.namespaces import ROOT, Namespaces
from tests.hosts.vagrant import CONFIGURATION_VARIABLE, Vagrant
from tests.servers.process import CACHE

_STATE_VARIABLE = "NAMESPACES_CLUSTER_STATE"


def main() -> int:
    options = _parser().parse_args()
    try:
        if options.hosts == "vagrant":
            with Vagrant() as machines:
                return _on_vagrant(machines, options.command) if options.verb == "run" else _control(machines, options)
        if options.verb == "run":
            return _in_namespaces(options.command)
        hosts = Namespaces(options.state)
        if options.verb == "enter":
            return subprocess.run(hosts.inside(*options.command), check=False).returncode
        if options.verb == "destroy":
            hosts.destroy()
            return 0
        if options.verb == "up":
            hosts.create()
        return _control(hosts, options)
    except (HostsError, OwmesosError) as error:
        sys.stderr.write(f"{options.hosts}: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="hosts", required=True)
    kinds.add_parser("vagrant")
    state = Path(os.environ.get(_STATE_VARIABLE) or CACHE / "namespaces-cluster")
    kinds.add_parser("namespaces").add_argument(
        "--state", type=Path, default=state, help=f"folder ({_STATE_VARIABLE}, else %(default)s)"
    )
    for kind, known in kinds.choices.items():
        verbs = known.add_subparsers(dest="verb", required=True)
        up = verbs.add_parser("up")
        up.add_argument("--fresh", action="store_true", help="without what an earlier cluster left")
        up.add_argument("--agents", type=int, default=0, help="more than there are hosts for them share those")
        for what in ("resources", "attributes"):
            up.add_argument(f"--{what}", action="append", default=[], help="once for all agents or once for each")
        for of in ("master", "agent"):
            up.add_argument(f"--{of}-flag", action="append", default=[], metavar="NAME=VALUE", help="a flag of Mesos")
        verbs.add_parser("down")
        verbs.add_parser("status")
        verbs.add_parser("kill").add_argument("name", help="master, agent1, …")
        start = verbs.add_parser("start")
        start.add_argument("name")
        start.add_argument("--fresh", action="store_true", help="without what it left on disk")
        verbs.add_parser("run").add_argument("command", nargs=argparse.REMAINDER)
        if kind == "namespaces":
            verbs.add_parser("enter").add_argument("command", nargs=argparse.REMAINDER)
            verbs.add_parser("destroy")
    return parser


def _control(hosts: Hosts, options: argparse.Namespace) -> int:
    control = Control(hosts)
    if options.verb == "up":
        control.up(_asked(options), fresh=options.fresh)
        sys.stdout.write(f"{hosts.plan.zookeeper_url}\n")
    elif options.verb == "down":
        control.down()
    elif options.verb == "kill":
        control.kill(options.name)
    elif options.verb == "start":
        control.start(options.name, fresh=options.fresh)
    else:
        daemons = control.status()
        for each in daemons:
            sys.stdout.write(f"{each.name} {each.address} {each.pid or 'down'}\n")
        return 0 if all(each.pid for each in daemons) else 1
    return 0


def _asked(options: argparse.Namespace) -> Asked:
    """Raises HostsError."""
    several = {}
    for what in ("resources", "attributes"):
        values: list[str] = getattr(options, what)
        several[what] = values * options.agents if len(values) == 1 else values
        if values and len(several[what]) != options.agents:
            raise HostsError(f"--{what} is given {len(values)} times for {options.agents} agents")
    return Asked(options.agents, several["resources"], several["attributes"], options.master_flag, options.agent_flag)


def _on_vagrant(machines: Vagrant, command: list[str]) -> int:
    """Raises HostsError if a daemon does not run."""
    down = [each.name for each in Control(machines).status() if each.pid is None]
    if down:
        raise HostsError(f"{', '.join(down)} does not run: `scripts/vagrant-cluster up`")
    own = {CONFIGURATION_VARIABLE: str(machines.configuration)}
    return subprocess.run(command, check=False, env=_variables(machines, "vagrant", "vagrant") | own).returncode


def _in_namespaces(command: list[str]) -> int:
    signal.signal(signal.SIGTERM, _end)
    with tempfile.TemporaryDirectory(prefix="owmesos-namespaces-") as folder:
        hosts = Namespaces(Path(folder) / "hosts", bound=True)
        try:
            hosts.create()
            Control(hosts).up(Asked(), fresh=False)
            own = {_STATE_VARIABLE: str(hosts.state)}
            variables = _variables(hosts, "namespaces", "root") | own
            return subprocess.run(hosts.inside(*command), check=False, env=variables).returncode
        finally:
            hosts.destroy()


def _variables(hosts: Hosts, kind: str, user: str) -> dict[str, str]:
    """The environment in which the conformance suite finds the cluster; its tasks run as `user`."""
    return {
        **os.environ,
        MASTER_VARIABLE: hosts.plan.zookeeper_url,
        CONTROL_VARIABLE: str(ROOT / "scripts" / f"{kind}-cluster"),
        USER_VARIABLE: os.environ.get(USER_VARIABLE) or user,
        NAME_VARIABLE: kind,
    }


def _end(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
