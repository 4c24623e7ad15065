"""`scripts/real-mesos`: Apache Mesos on this machine that runs until `down`, and daemons to kill and start."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from owmesos.errors import OwmesosError
from owmesos.local.cluster import MesosCluster
from owmesos.local.daemon import ClusterError
from owmesos.simulator.embedded import DEFAULT_ATTRIBUTES, DEFAULT_RESOURCES
from owmesos.system.private_files import write_private

SETTINGS = "cluster.json"


class DetachedCluster(MesosCluster):
    """Stays until `down`, and later commands find it by `open`. `settings` are those of MesosCluster."""

    detached = True

    def __init__(self, state: Path, **settings: Any) -> None:
        super().__init__(state, **settings)
        self._settings = settings

    @classmethod
    def open(cls, state: Path) -> DetachedCluster:
        """The one that was brought up in this folder. Raises ClusterError if there is none."""
        try:
            return cls(state, **json.loads((state / SETTINGS).read_bytes()))
        except FileNotFoundError:
            raise ClusterError(f"no cluster was brought up in {state}: begin with `up`") from None
        except ValueError as error:
            raise ClusterError(f"{state / SETTINGS} is damaged ({error}): remove it and begin with `up`") from None

    def _prepare(self) -> None:
        super()._prepare()
        write_private(self.state / SETTINGS, json.dumps(self._settings, indent=2))


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 success, 1 failure or (for `status`) not everything runs, 2 wrong usage."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parser().parse_args(arguments)
    try:
        return _do(options)
    except OwmesosError as error:
        sys.stderr.write(f"real-mesos: {error}\n")
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="real-mesos", description=__doc__)
    folder = os.environ.get("REAL_MESOS_STATE", ".real-mesos")
    parser.add_argument("--state", type=Path, default=Path(folder), help="folder (REAL_MESOS_STATE, else %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    up = verbs.add_parser("up", help="build if needed, start, wait until all agents are registered")
    up.add_argument("--port", type=int, default=int(os.environ.get("REAL_MESOS_PORT", "5050")))
    up.add_argument("--agents", type=int, default=int(os.environ.get("REAL_MESOS_AGENTS", "3")))
    for what in ("resources", "attributes"):
        up.add_argument(f"--{what}", action="append", help="in Mesos's notation; one for all agents, or one for each")
    up.add_argument("--fresh", action="store_true", help="discard the state of an earlier cluster in the folder")
    for of in ("master", "agent"):
        up.add_argument(
            f"--{of}-flag", action="append", default=[], type=_flag, metavar="NAME=VALUE", help="a flag of Mesos"
        )
    verbs.add_parser("down", help="stop the daemons and their tasks; keep the state")
    verbs.add_parser("status", help="a line for each daemon: name, address, pid or `down`; exits with 1 if one is down")
    verbs.add_parser("kill").add_argument("name", help="master, agent1, …")
    start = verbs.add_parser("start")
    start.add_argument("name", help="start a daemon that was killed")
    start.add_argument("--fresh", action="store_true", help="discard its state: an agent registers as a new one")
    return parser


def _do(options: argparse.Namespace) -> int:
    if options.verb == "up":
        cluster = _new(options)
        cluster.up()
        sys.stdout.write(f"{cluster.master}\n")
        return 0
    cluster = DetachedCluster.open(options.state)
    if options.verb == "status":
        daemons = cluster.status()
        for each in daemons:
            sys.stdout.write(f"{each.name} {each.address} {each.pid or 'down'}\n")
        return 0 if all(each.alive for each in daemons) else 1
    if options.verb == "down":
        cluster.down()
    elif options.verb == "kill":
        cluster.kill(options.name)
    else:
        cluster.start(options.name, fresh=options.fresh)
    return 0


def _new(options: argparse.Namespace) -> DetachedCluster:
    """The cluster that `up` describes. Raises ClusterError if another one runs in its folder."""
    if (options.state / SETTINGS).exists():
        before = DetachedCluster.open(options.state)
        runs = any(each.alive for each in before.status())
        if runs and (options.fresh or before.master != f"127.0.0.1:{options.port}"):
            raise ClusterError(f"a cluster with the master {before.master} runs in {options.state}: run `down` first")
        if options.fresh:
            shutil.rmtree(options.state)
    return DetachedCluster(
        options.state,
        master_port=options.port,
        agents=options.agents,
        resources=_for_agents(options.resources, DEFAULT_RESOURCES),
        attributes=_for_agents(options.attributes, DEFAULT_ATTRIBUTES),
        master_flags=dict(options.master_flag),
        agent_flags=dict(options.agent_flag),
    )


def _for_agents(values: list[str] | None, default: str) -> str | list[str]:
    """As MesosCluster takes it: one value is for all agents."""
    if values is None:
        return default
    return values[0] if len(values) == 1 else values


def _flag(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"a flag is NAME=VALUE, not {text}")
    return name, value


if __name__ == "__main__":
    sys.exit(main())
