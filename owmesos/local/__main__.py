"""`python -m owmesos.local`: a cluster that stays until it is told to go, and daemons to kill and start; for tests."""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
from pathlib import Path

from owmesos.errors import OwmesosError
from owmesos.local.cluster import DEFAULT_ATTRIBUTES, DEFAULT_RESOURCES, MesosCluster
from owmesos.local.daemon import ClusterError


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 it failed or (of `status`) not everything runs, 2 wrong usage."""
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
    up = verbs.add_parser("up", help="build if need be, start, wait until all agents are registered")
    up.add_argument("--port", type=int, default=int(os.environ.get("REAL_MESOS_PORT", "5050")))
    up.add_argument("--agents", type=int, default=int(os.environ.get("REAL_MESOS_AGENTS", "3")))
    for what in ("resources", "attributes"):
        up.add_argument(f"--{what}", action="append", help="in Mesos's notation, once for all agents or once for each")
    up.add_argument("--fresh", action="store_true", help="without what an earlier cluster left in the folder")
    for of in ("master", "agent"):
        up.add_argument(f"--{of}-flag", action="append", default=[], metavar="NAME=VALUE", help="a flag of Mesos")
    verbs.add_parser("down", help="end the daemons and their tasks; the state stays")
    verbs.add_parser("status", help="a line for each daemon: name, address, pid or `down`; 1 if one is down")
    verbs.add_parser("kill").add_argument("name", help="master, agent1, …")
    start = verbs.add_parser("start")
    start.add_argument("name", help="a daemon that was killed")
    start.add_argument("--fresh", action="store_true", help="without what it left on disk: an agent comes as a new one")
    return parser


def _do(options: argparse.Namespace) -> int:
    if options.verb == "up":
        cluster = _new(options)
        cluster.up()
        sys.stdout.write(f"{cluster.master}\n")
        return 0
    cluster = MesosCluster.open(options.state)
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


def _new(options: argparse.Namespace) -> MesosCluster:
    """The cluster that `up` describes. Raises ClusterError if another one runs in its folder."""
    if (options.state / "cluster.json").exists():
        before = MesosCluster.open(options.state)
        runs = any(each.alive for each in before.status())
        if runs and (options.fresh or before.master != f"127.0.0.1:{options.port}"):
            raise ClusterError(f"a cluster with the master {before.master} runs in {options.state}: `down` first")
        if options.fresh:
            shutil.rmtree(options.state)
    return MesosCluster(
        options.state,
        master_port=options.port,
        agents=options.agents,
        resources=_for_agents(options.resources, DEFAULT_RESOURCES),
        attributes=_for_agents(options.attributes, DEFAULT_ATTRIBUTES),
        master_flags=_flags(options.master_flag),
        agent_flags=_flags(options.agent_flag),
        detached=True,
    )


def _for_agents(values: list[str] | None, default: str) -> str | list[str]:
    """As MesosCluster takes it: one value is for all agents."""
    if values is None:
        return default
    return values[0] if len(values) == 1 else values


def _flags(pairs: list[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            _parser().error(f"a flag is NAME=VALUE, not {pair}")
    return dict(pair.split("=", 1) for pair in pairs)


if __name__ == "__main__":
    sys.exit(main())
