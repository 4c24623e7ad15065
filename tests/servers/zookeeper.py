"""A real ZooKeeper, from Debian's packages, without installing them: the machine's java runs their jars."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from tests.servers.debian import PackageMissing, unpacked
from tests.waiting import eventually

PACKAGES = ("libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java")
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "metrics-core", "snappy-java")
_JAVA = "usr/share/java"
MAIN = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
CONFIGURATION = """\
tickTime=200
dataDir={data}
clientPort={port}
clientPortAddress=127.0.0.1
admin.enableServer=false
4lw.commands.whitelist=ruok
"""


class ZooKeeperMissing(Exception):
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

    def __init__(self, folder: Path) -> None:
        self.jars = unpacked_packages() / _JAVA
        self.folder = folder
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self.configuration = folder / "zoo.cfg"
        self.configuration.write_text(CONFIGURATION.format(data=folder / "data", port=self.port))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        classpath = ":".join(str(self.jars / f"{jar}.jar") for jar in JARS)
        command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-cp", classpath, MAIN, str(self.configuration)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._answers, 30, what=f"ZooKeeper answers on port {self.port}", retry_on=(OSError,))

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
            connection.sendall(b"ruok")
            return connection.recv(16) == b"imok"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
