"""The clusters that the cases run on: what a case may ask of one, and who can make one.

A case needs a master to subscribe at, and sometimes a cluster of a certain `Setup`, or daemons that it may kill.
Another kind of cluster is one more `Engine` in `engines`. Cases that need what an engine cannot do are not
collected for it, and the report says so.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from owmesos.local.cluster import MesosCluster
from owmesos.local.proc import with_variable
from owmesos.simulator.cluster import SimulatedCluster
from tests.fixtures.real_mesos import running_cluster

MASTER_VARIABLE = "OWMESOS_TEST_MASTER"
CONTROL_VARIABLE = "OWMESOS_TEST_CONTROL"
USER_VARIABLE = "OWMESOS_TEST_USER"
NAME_VARIABLE = "OWMESOS_TEST_NAME"
_CONTROL_TIMEOUT = 120.0


@dataclass(frozen=True)
class AgentSetup:
    """In Mesos's own notation."""

    resources: str = "cpus:2;mem:1024;disk:1024;ports:[31000-31999]"
    attributes: str = ""


STANDARD_AGENTS = (
    AgentSetup(attributes="rack:r1;zone:z1;slots:4.5;spans:[1-5,8-9];medium:ssd;medium:disk"),
    AgentSetup(attributes="rack:r2;zone:z1;slots:2"),
    AgentSetup(attributes="rack:3;zone:z2"),
)


@dataclass(frozen=True)
class Setup:
    """A cluster as a case needs it. Agent N is the daemon `agentN`, and its attribute `daemon` says so.

    Flags are Mesos's, without `--`. With `credentials` (principal to secret) frameworks must authenticate.
    """

    agents: tuple[AgentSetup, ...] = STANDARD_AGENTS
    master_flags: Mapping[str, str] = field(default_factory=dict)
    agent_flags: Mapping[str, str] = field(default_factory=dict)
    credentials: Mapping[str, str] = field(default_factory=dict)

    @property
    def attributes(self) -> list[str]:
        """Of each agent, with its name."""
        return [f"daemon:agent{n};{agent.attributes}".rstrip(";") for n, agent in enumerate(self.agents, 1)]

    def flags_for_master(self, folder: Path) -> dict[str, str]:
        """`master_flags`, and those for the credentials, which are written into `folder`."""
        flags = dict(self.master_flags)
        if self.credentials:
            file = folder / "credentials.json"
            pairs = [{"principal": principal, "secret": secret} for principal, secret in self.credentials.items()]
            file.write_text(json.dumps({"credentials": pairs}), encoding="utf-8")
            flags |= {
                "authenticate_http_frameworks": "true",
                "http_framework_authenticators": "basic",
                "credentials": str(file),
            }
        return flags


STANDARD = Setup()


class Cluster(Protocol):
    """One that runs."""

    master: str
    """As `owmesos.mesos.wire.address.parse_master` takes it."""
    user: str
    """Who the tasks run as."""

    async def kill(self, name: str) -> None:
        """SIGKILL to `master` or `agentN`. The agent's tasks live on."""
        ...

    async def start(self, name: str, *, fresh: bool = False) -> None:
        """Starts a daemon that was killed; `fresh`: as one that never ran before."""
        ...

    async def freeze(self, task_id: str) -> None:
        """SIGSTOP to everything in the container of a command task, its executor first of all."""
        ...

    async def thaw(self, task_id: str) -> None:
        """SIGCONT to it."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """Who makes clusters of one kind."""

    name: str
    marks: tuple[str, ...]
    """pytest's marks for what the engine needs of this machine."""
    one_at_a_time: bool
    """Whether a cluster takes the place of the one before."""
    usual: Setup | None
    """The cluster for cases that have no wishes, as far as it is known."""

    def lacks_control(self) -> str | None:
        """Why no daemon can be killed or configured; None if it can."""
        ...

    def lacks_freezing(self) -> str | None:
        """Why no executor can be frozen; None if it can."""
        ...

    def begin(self, setup: Setup | None) -> Cluster:
        """A cluster with all its agents registered; with `usual` None: any with two agents or more, otherwise idle.

        Raises BuildError where this machine cannot have one.
        """
        ...

    def finish(self) -> None:
        """Called when all its clusters are closed and no more is wanted."""
        ...


DaemonsT = TypeVar("DaemonsT", MesosCluster, SimulatedCluster)


class OwnEngine:
    """An `Engine` on this machine, which can do everything and makes several clusters side by side."""

    name: str
    marks: tuple[str, ...] = ()
    one_at_a_time = False
    usual: Setup | None = STANDARD

    def lacks_control(self) -> str | None:
        return None

    def lacks_freezing(self) -> str | None:
        return None

    def finish(self) -> None: ...


class OwnCluster(Generic[DaemonsT]):
    """A cluster on this machine, in a folder of its own."""

    def __init__(self, setup: Setup, run: Callable[..., AbstractContextManager[DaemonsT]]) -> None:
        self.user = getpass.getuser()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="owmesos-conformance-")))
            flags = setup.flags_for_master(folder)
            self._daemons = stack.enter_context(
                run(
                    folder / "state",
                    agents=len(setup.agents),
                    resources=[agent.resources for agent in setup.agents],
                    attributes=setup.attributes,
                    master_flags={"allocation_interval": "100ms", **flags},  # what the cases wait for most
                    agent_flags=setup.agent_flags,
                )
            )
            self._stack = stack.pop_all()
        self.master = self._daemons.master

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(self._daemons.kill, name)

    async def start(self, name: str, *, fresh: bool = False) -> None:
        await asyncio.to_thread(self._daemons.start, name, fresh=fresh)

    def close(self) -> None:
        self._stack.close()


class RealMesos(OwnEngine):
    """Apache Mesos on this machine, see `owmesos.local`."""

    name = "real-mesos"
    marks: tuple[str, ...] = ("real_mesos",)

    def begin(self, setup: Setup | None) -> Cluster:
        assert setup is not None
        return LocalCluster(setup, running_cluster)


class LocalCluster(OwnCluster[MesosCluster]):
    """A cluster of `RealMesos`."""

    async def freeze(self, task_id: str) -> None:
        self._signal(task_id, signal.SIGSTOP)

    async def thaw(self, task_id: str) -> None:
        self._signal(task_id, signal.SIGCONT)

    def _signal(self, task_id: str, number: signal.Signals) -> None:
        """Other clusters of this machine have tasks of the same ids."""
        ours = set(with_variable("MESOS_DIRECTORY", f"{self._daemons.state}/"))
        pids = ours & set(with_variable("MESOS_EXECUTOR_ID", task_id))  # a command task's executor has its id
        assert pids, f"nothing runs of task {task_id}"
        for pid in pids:
            os.kill(pid, number)


class External:
    """Whatever OWMESOS_TEST_MASTER names: two agents or more, each of at least 1 cpu and 512 MB, used by nobody else.

    OWMESOS_TEST_CONTROL names a program that takes the verbs and options of scripts/real-mesos (see its --help), which
    is one. It is called with `down`, `up --fresh`, `kill NAME` and `start NAME [--fresh]`. Options of `up` describe a
    `Setup`, without them it brings up the usual cluster; the master is found in the same way each time. Tasks run as
    OWMESOS_TEST_USER, if it is set, and OWMESOS_TEST_NAME is what reports call the cluster.
    """

    marks: tuple[str, ...] = ("cluster",)
    one_at_a_time = True
    usual: Setup | None = None

    def __init__(self) -> None:
        self.name = _external_name()
        self._reshaped = False

    def lacks_control(self) -> str | None:
        if os.environ.get(CONTROL_VARIABLE):
            return None
        return f"{CONTROL_VARIABLE} names no program that could kill and configure daemons"

    def lacks_freezing(self) -> str | None:
        return "its executors may run on other machines"

    def begin(self, setup: Setup | None) -> Cluster:
        if setup is None:
            self.finish()
        else:
            self._reshaped = True
        return ExternalCluster(os.environ[MASTER_VARIABLE], setup)

    def finish(self) -> None:
        """The usual cluster is back when the last case has run, or when one asks for it."""
        if self._reshaped:
            _control("down")
            _control("up", "--fresh")
            self._reshaped = False


class ExternalCluster:
    """A cluster of `External`, which takes the place of whatever was there if it has a setup of its own."""

    def __init__(self, master: str, setup: Setup | None) -> None:
        self.master = master
        self.user = os.environ.get(USER_VARIABLE) or getpass.getuser()
        self._stack = ExitStack()
        if setup is not None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="owmesos-conformance-")))
            _control("down")
            _control("up", "--fresh", *_options(setup, folder))

    async def kill(self, name: str) -> None:
        await asyncio.to_thread(_control, "kill", name)

    async def start(self, name: str, *, fresh: bool = False) -> None:
        await asyncio.to_thread(_control, "start", name, *(["--fresh"] if fresh else []))

    async def freeze(self, task_id: str) -> None:
        raise AssertionError("see `External.lacks_freezing`")

    thaw = freeze

    def close(self) -> None:
        self._stack.close()


@cache
def engines() -> dict[str, Engine]:
    """By name, all that there are here."""
    from tests.conformance.simulated import Simulated  # it needs what is defined here

    found: list[Engine] = [RealMesos(), Simulated()]
    if os.environ.get(MASTER_VARIABLE):
        found.append(External())
    return {engine.name: engine for engine in found}


def default_engines() -> list[str]:
    """Those that are run when none is named: a cluster that the environment names is meant alone."""
    return [_external_name()] if os.environ.get(MASTER_VARIABLE) else [RealMesos.name, "simulator"]


def _external_name() -> str:
    return os.environ.get(NAME_VARIABLE) or "external"


def _control(*arguments: str) -> None:
    command = [os.environ[CONTROL_VARIABLE], *arguments]
    done = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_CONTROL_TIMEOUT,
    )
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(command)} ended with {done.returncode}: {done.stdout[-2000:]}")


def _options(setup: Setup, folder: Path) -> list[str]:
    """For `up`."""
    options = [f"--agents={len(setup.agents)}"]
    options += [f"--resources={agent.resources}" for agent in setup.agents]
    options += [f"--attributes={attributes}" for attributes in setup.attributes]
    options += [f"--master-flag={name}={value}" for name, value in setup.flags_for_master(folder).items()]
    options += [f"--agent-flag={name}={value}" for name, value in setup.agent_flags.items()]
    return options
