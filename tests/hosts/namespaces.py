"""Hosts as network namespaces of this machine: each has an address, a hostname, processes and files of its own.

Their addresses are those of vagrant/hosts.json. They hang on a bridge in one more namespace, the `switch`, which has
no way out: what runs in it, and only that, reaches the hosts. Needs root, iproute2 and a kernel with overlayfs.
Nothing is left on the machine but the cluster's folder: with the last process of a host its namespaces go, and with
them links and mounts.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from owmesos.local.build import build, cache_folder
from owmesos.local.proc import started_at
from tests.hosts.control import PROVISION, HostsError
from tests.hosts.plan import Host, read_plan
from tests.servers.zookeeper import ZooKeeperMissing, unpacked_packages
from tests.waiting import eventually

ROOT = Path(__file__).parents[2]
_SWITCH = "switch"
_TIMEOUT = 110.0
_DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL")


def lacking() -> str | None:
    """Why there can be no such hosts here; None if there can. With CI=true it installs what lacks."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None and os.environ.get("CI") == "true":
        for command in (["update"], ["install", "-y", "--no-install-recommends", "iproute2"]):
            subprocess.run(["apt-get", "-q", *command], check=False, timeout=_TIMEOUT)
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("unshare", "util-linux")):
        if shutil.which(program) is None:
            return f"no {program} on this machine: install {package}"
    try:
        unpacked_packages()
    except ZooKeeperMissing as reason:
        return f"no ZooKeeper: {reason}"
    return None


class Namespaces:
    """`Hosts` that are kept in one folder, where a later command finds them."""

    def __init__(self, state: Path, *, bound: bool = False) -> None:
        """With `bound` hosts end with the process that has made them."""
        self.plan = read_plan(master_flags=("allocation_interval=100ms",))  # what tests wait for most
        self.state = state.resolve()
        self._bound = bound
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def create(self) -> None:
        """Makes the hosts that are not there, and provisions them. Raises HostsError."""
        reason = lacking()
        if reason is not None:
            raise HostsError(reason)
        build()  # hosts have no way to the package index
        if self._pid(_SWITCH) is None:
            self.destroy()
            self._make_switch()
        made = [host for host in self.plan.hosts if self._pid(host.name) is None]
        for host in made:
            self._make(host)
        self.provision(made)

    def provision(self, hosts: Iterable[Host]) -> None:
        """Runs what the Vagrantfile runs on them, in that order. Raises HostsError."""
        for host in hosts:
            script, *arguments = self.plan.provisioning(host)
            self.run(host.name, f"{PROVISION}/{script}", *arguments)

    def destroy(self) -> None:
        """Ends everything that runs there, and removes the folder."""
        for name in self.running():
            self._end(name)
        for name in (*(host.name for host in self.plan.hosts), _SWITCH):
            shutil.rmtree(self.state / name, ignore_errors=True)
        with suppress(OSError):
            self.state.rmdir()  # unless somebody keeps other things there

    def running(self) -> list[str]:
        """The names of those that are there, the switch among them."""
        return [name for name in (*(host.name for host in self.plan.hosts), _SWITCH) if self._pid(name)]

    def run(self, host: str, *command: str, text: str = "") -> str:
        """See `Hosts`. Environment variables stay outside."""
        variables = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
        entered = [*self._enter(host, "net", "uts", "mnt", "pid"), *command]
        done = subprocess.run(
            entered, check=False, env=variables, input=text, capture_output=True, text=True, timeout=_TIMEOUT
        )
        if done.returncode:
            said = f"{done.stdout}{done.stderr}".strip()[-2000:]
            raise HostsError(f"{host}: {' '.join(command)} ended with {done.returncode}: {said}")
        return done.stdout

    def inside(self, *command: str) -> list[str]:
        """`command` as one that runs on this machine as it is, but in the hosts' network."""
        return [*_DIES_WITH_US, *self._enter(_SWITCH, "net"), *command]

    def _enter(self, host: str, *namespaces: str) -> list[str]:
        pid = self._pid(host)
        if pid is None:
            raise HostsError(f"there is no host {host} in {self.state}: begin with `up`")
        option = {"net": "--net", "uts": "--uts", "mnt": "--mount", "pid": "--pid"}
        # Of `pid` the host's first process is a child.
        file = {"pid": "pid_for_children"}
        return ["nsenter", *(f"{option[name]}=/proc/{pid}/ns/{file.get(name, name)}" for name in namespaces)]

    def _make_switch(self) -> None:
        self._unshare(_SWITCH, ["--net"], ["sleep", "infinity"])
        self._ip(_SWITCH, "link set dev lo up")
        self._ip(_SWITCH, "link add name bridge type bridge")
        self._ip(_SWITCH, f"address add {self.plan.gateway}/24 dev bridge")
        self._ip(_SWITCH, "link set dev bridge up")

    def _make(self, host: Host) -> None:
        folder = self.state / host.name
        packages = [str(unpacked_packages())] if host == self.plan.zookeeper else []
        arguments = [str(ROOT), str(cache_folder()), sys.executable, *packages]
        own = ["--net", "--uts", "--mount", "--pid", "--mount-proc"]
        self._unshare(host.name, own, [str(ROOT / "tests/hosts/host.sh"), host.name, str(folder), *arguments])
        eventually(lambda: self._is_up(host.name), 20, what=f"the host {host.name} is there, see {folder / 'output'}")
        pid, switch = self._pid(host.name), self._pid(_SWITCH)
        self._do(*f"ip link add name {host.name} netns {switch} type veth peer name eth0 netns {pid}".split())
        self._ip(host.name, f"address add {host.address}/24 dev eth0")
        self._ip(host.name, "link set dev eth0 up")
        self._ip(_SWITCH, f"link set dev {host.name} master bridge up")

    def _unshare(self, name: str, namespaces: list[str], command: list[str]) -> None:
        folder = self.state / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        bound = _DIES_WITH_US if self._bound else ()
        with (folder / "output").open("ab") as output:
            process = subprocess.Popen(
                [*bound, "unshare", *namespaces, "--fork", "--kill-child", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes[name] = process
        (folder / "pid").write_text(f"{process.pid} {started_at(process.pid)}\n", encoding="ascii")
        eventually(lambda: self._apart(process), 10, what=f"{name} has a network of its own")

    def _apart(self, process: subprocess.Popen[bytes]) -> bool:
        if process.poll() is not None:
            raise HostsError(f"namespaces cannot be made here, see {self.state}/*/output")
        return Path(f"/proc/{process.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()

    def _is_up(self, name: str) -> bool:
        if self._pid(name) is None:
            output = (self.state / name / "output").read_text(encoding="utf-8", errors="replace")
            raise HostsError(f"the host {name} has ended: {output.strip()[-1000:]}")
        return (self.state / name / "up").exists()

    def _end(self, name: str) -> None:
        pid = self._pid(name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            eventually(lambda: self._pid(name) is None, what=f"{name} is gone")
        if name in self._processes:
            self._processes.pop(name).wait()

    def _pid(self, name: str) -> int | None:
        """Of the process that holds the host's namespaces."""
        try:
            pid, began = map(int, (self.state / name / "pid").read_text(encoding="ascii").split())
        except (FileNotFoundError, ValueError):
            return None
        return pid if started_at(pid) == began else None

    def _ip(self, host: str, arguments: str) -> None:
        self._do(*self._enter(host, "net"), "ip", *arguments.split())

    def _do(self, *command: str) -> None:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT)
        if done.returncode:
            raise HostsError(f"{' '.join(command)} failed: {done.stderr.strip()}")
