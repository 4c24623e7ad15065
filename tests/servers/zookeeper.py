"""A real ZooKeeper, or an ensemble, from Debian's packages, without installing them: the machine's java runs them."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

from tests.servers.debian import PackageMissing, unpacked
from tests.servers.process import Server, ServerMissing, free_port
from tests.waiting import eventually

PACKAGES = ("libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java")
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "metrics-core", "snappy-java")
_JAVA = "usr/share/java"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
TICK, USUAL_TICK = 200, 2000  # ms; a session lasts 2 to 20 of them, and tests do not wait for long
CONFIGURATION = """\
tickTime={tick}
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=ruok,srvr
"""
# In ticks. A busy machine may take seconds to give a member its turn, and a member that is late is not to be dropped.
ENSEMBLE = """\
initLimit=100
syncLimit=50
"""


class ZooKeeperMissing(ServerMissing):
    """Why there can be no ZooKeeper on this machine."""


def unpacked_packages() -> Path:
    """The root folder in which the packages are; fetches them the first time. Raises ZooKeeperMissing."""
    if shutil.which("java") is None:
        raise ZooKeeperMissing("no java on this machine")
    try:
        return unpacked("zookeeper", PACKAGES, [f"{_JAVA}/{jar}.jar" for jar in JARS])
    except PackageMissing as reason:
        raise ZooKeeperMissing(str(reason)) from None


class ZooKeeper:
    """A server on a port of its own that can be stopped and started again, keeping its data."""

    def __init__(self, folder: Path, *, number: int = 0, ensemble: str = "") -> None:
        """`number` is that of a member of an `ensemble`, whose lines each member's configuration has."""
        unpacked_packages()
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.configuration = folder / "zoo.cfg"
        data = folder / "data"
        self.configuration.write_text(CONFIGURATION.format(data=data, port=self.port, tick=TICK) + ensemble)
        if ensemble:
            data.mkdir()
            (data / "myid").write_text(f"{number}\n")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def mode(self) -> str:
        """`leader`, `follower` or `standalone`; empty while it does not serve."""
        return self._said("Mode")

    @property
    def clients(self) -> int:
        """How many are connected."""
        return max(0, int(self._said("Connections") or 0) - 1)  # without who asks

    def _said(self, name: str) -> str:
        """Of what it tells about itself; empty while it does not serve."""
        try:
            said = _ask(self.port, b"srvr").decode(errors="replace")
        except OSError:
            return ""
        found = re.search(rf"^{name}: (\w+)$", said, re.MULTILINE)
        return found[1] if found else ""

    def start(self) -> None:
        self.launch()
        eventually(self._answers, 30, what=f"ZooKeeper answers on port {self.port}", retry_on=(OSError,))

    def launch(self) -> None:
        """Starts the process, which may not serve yet."""
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(_command(self.configuration), stdout=log, stderr=log)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        return _ask(self.port, b"ruok") == b"imok"


class LastingZooKeeper(Server):
    """One that `scripts/zookeeper` leaves running. Its sessions last as long as those of any ZooKeeper do."""

    name = "ZooKeeper"

    def __init__(self, folder: Path, port: int) -> None:
        super().__init__(folder, port)
        unpacked_packages()

    def command(self) -> list[str]:
        file = self.folder / "zoo.cfg"
        file.write_text(CONFIGURATION.format(data=self.folder / "data", port=self.port, tick=USUAL_TICK))
        return _command(file)

    def answers(self) -> bool:
        return _ask(self.port, b"ruok") == b"imok"


class Ensemble:
    """Servers that elect a leader, and serve while most of them run."""

    def __init__(self, folder: Path, count: int = 3) -> None:
        numbers = range(1, count + 1)
        peers = "".join(f"server.{each}=127.0.0.1:{free_port()}:{free_port()}\n" for each in numbers)
        self.members = [self._member(folder / f"member-{each}", each, ENSEMBLE + peers) for each in numbers]

    @staticmethod
    def _member(folder: Path, number: int, ensemble: str) -> ZooKeeper:
        folder.mkdir(parents=True)
        return ZooKeeper(folder, number=number, ensemble=ensemble)

    @property
    def address(self) -> str:
        """Of all members."""
        return ",".join(member.address for member in self.members)

    def start(self) -> None:
        """Those that do not run. Returns when all members serve."""
        for member in self.members:
            if member.process is None:
                member.launch()
        self.wait()

    def wait(self) -> None:
        """Returns when all members that run serve."""
        eventually(lambda: all(member.mode for member in self.running()), 60, interval=0.1, what="the members serve")

    def stop(self) -> None:
        for member in self.members:
            member.stop()

    def running(self) -> list[ZooKeeper]:
        return [member for member in self.members if member.process is not None]

    def leader(self) -> ZooKeeper:
        return next(member for member in self.running() if member.mode == "leader")

    def follower(self) -> ZooKeeper:
        """That no client uses, if there is one."""
        return min((member for member in self.running() if member.mode == "follower"), key=lambda each: each.clients)

    def used(self) -> ZooKeeper:
        """That most clients use."""
        return max(self.running(), key=lambda member: member.clients)


def _command(configuration: Path) -> list[str]:
    jars = unpacked_packages() / _JAVA
    classpath = ":".join(str(jars / f"{jar}.jar") for jar in JARS)
    return ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", classpath, MAIN, str(configuration)]


def _ask(port: int, word: bytes) -> bytes:
    """One of ZooKeeper's words of four letters. Raises OSError."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(word)
        return b"".join(iter(lambda: connection.recv(4096), b""))
