"""One host of a cluster that has several: see vagrant/README.md.

    build     builds Apache Mesos, unless it is there
    master    becomes a master: replaces this process by it
    agent     becomes an agent
    register  keeps a master registered in ZooKeeper until SIGTERM
    ready     waits until daemons answer, and until a master has its agents
    end-tasks ends the executors and tasks that agents have left behind

Logs, pid files and restarts are left to the caller.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.local.build import build
from owmesos.local.daemon import READY_TIMEOUT, ClusterError, ask, is_ready
from owmesos.local.launching import MASTER_FLAGS, agent_flags, environment, write_launchers
from owmesos.local.proc import end_tasks

_POLL = 0.05  # seconds
Address = tuple[str, int]


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 done, 1 it failed, 2 wrong usage."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options = _parser().parse_args(arguments)
    try:
        options.verb(options)
    except OwmesosError as error:
        sys.stderr.write(f"host.py: {error}\n")
        return error.exit_code
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="host.py", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    verbs.add_parser("build").set_defaults(verb=lambda _: build())
    for name, verb in (("master", _become_master), ("agent", _become_agent)):
        daemon = verbs.add_parser(name)
        daemon.set_defaults(verb=verb)
        daemon.add_argument("address", type=_address, metavar="IP:PORT", help="address to listen at, also its hostname")
        daemon.add_argument("--state", type=Path, required=True, metavar="FOLDER", help="created if it does not exist")
        daemon.add_argument("--flags", type=Path, metavar="FILE", help="file with Mesos's flags, one NAME=VALUE a line")
        if name == "agent":
            daemon.add_argument("--master", required=True, metavar="IP:PORT")
    register = verbs.add_parser("register")
    register.set_defaults(verb=_register)
    register.add_argument("master", type=_address, metavar="IP:PORT")
    register.add_argument("zookeeper", metavar="zk://HOST:PORT/PATH")
    ready = verbs.add_parser("ready")
    ready.set_defaults(verb=_wait_ready)
    ready.add_argument("daemons", type=_address, nargs="+", metavar="IP:PORT")
    ready.add_argument("--registered-at", type=_address, metavar="IP:PORT", help="the address of the master")
    ending = verbs.add_parser("end-tasks")
    ending.set_defaults(verb=lambda options: end_tasks(options.state.resolve()))
    ending.add_argument("state", type=Path, metavar="FOLDER", help="the state folder of the agents")
    return parser


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not IP:PORT")
    return host, int(port)


def _become_master(options: argparse.Namespace) -> None:
    flags = {**MASTER_FLAGS, "work_dir": str(options.state / "work")}
    _become(options, ["master"], flags)


def _become_agent(options: argparse.Namespace) -> None:
    launchers: Path = options.state / "launcher"
    launchers.mkdir(parents=True, exist_ok=True)
    write_launchers(launchers, build())
    (launchers / "mesos-executor").chmod(0o755)  # tasks may run as other users
    _become(options, ["agent", options.master], agent_flags(options.state / "work", launchers))


def _become(options: argparse.Namespace, role: list[str], flags: dict[str, str]) -> None:
    """Does not return. Raises BuildError, InvalidInput."""
    host, port = options.address
    made = build()
    options.state.mkdir(parents=True, exist_ok=True)
    variables = environment(made, host, port, {"hostname": host, **flags, **_flags_in(options.flags)})
    os.execve(made.mesosd, [str(made.mesosd), *role], variables)


def _flags_in(file: Path | None) -> dict[str, str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file else []
    for line in lines:
        if "=" not in line:
            raise InvalidInput(f"{file}: a flag is NAME=VALUE, not {line!r}")
    return dict(line.split("=", 1) for line in lines)


def _register(options: argparse.Namespace) -> None:
    from registrar import Registrar

    host, port = options.master
    registrar = Registrar(host, port, options.zookeeper)
    signal.signal(signal.SIGTERM, lambda *_: registrar.stop())
    registrar.run()


def _wait_ready(options: argparse.Namespace) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    for host, port in options.daemons:
        _wait(lambda: is_ready(host, port), deadline, f"{host}:{port} does not answer")  # noqa: B023 it is called at once
    if options.registered_at is not None:
        wanted = {f"{host}:{port}" for host, port in options.daemons}
        at = ":".join(map(str, options.registered_at))
        missing = f"{at} has not all of the agents {', '.join(sorted(wanted))}"
        _wait(lambda: wanted <= _registered(*options.registered_at), deadline, missing)


def _registered(host: str, port: int) -> set[str]:
    """`ip:port` of the active agents that the master there has."""
    status, body = ask(host, port, "GET_AGENTS")
    agents = json.loads(body)["get_agents"].get("agents", []) if status == 200 else []
    return {each["pid"].partition("@")[2] for each in agents if each["active"]}


def _wait(condition: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not condition():
        if time.monotonic() >= deadline:
            raise ClusterError(f"{otherwise} after {READY_TIMEOUT:g} s")
        time.sleep(_POLL)


if __name__ == "__main__":
    sys.exit(main())
