"""A real ZooKeeper, from Debian's packages, without installing them.

The packages are fetched into the user's cache folder and unpacked there; the machine's java runs the jars. apt's own
lists are used if it has them, else fresh ones in the same folder, so no rights are needed.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import platformdirs

from tests.waiting import eventually

PACKAGES = ("libzookeeper-java", "libslf4j-java", "libdropwizard-metrics-java", "libsnappy-java")
JARS = ("zookeeper", "zookeeper-jute", "slf4j-api", "slf4j-nop", "metrics-core", "snappy-java")
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


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode:
        raise ZooKeeperMissing(f"{command[0]} failed: {done.stderr.strip()[-300:]}")


def unpacked_jars() -> Path:
    """The folder with the jars; fetches them the first time. Raises ZooKeeperMissing."""
    for program in ("java", "apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise ZooKeeperMissing(f"no {program} on this machine")
    cache = platformdirs.user_cache_path("owmesos") / "tests" / "zookeeper"
    jars = cache / "root" / "usr" / "share" / "java"
    if all((jars / f"{jar}.jar").exists() for jar in JARS):
        return jars
    cache.mkdir(parents=True, exist_ok=True)
    try:
        _run("apt-get", "download", "-q", *PACKAGES, folder=cache)
    except ZooKeeperMissing:
        own = [f"-oDir::State={cache}/state", f"-oDir::Cache={cache}/cache"]
        for sub in ("state/lists/partial", "cache/archives/partial"):
            (cache / sub).mkdir(parents=True, exist_ok=True)
        _run("apt-get", *own, "-q", "update", folder=cache)
        _run("apt-get", *own, "download", "-q", *PACKAGES, folder=cache)
    for package in sorted(cache.glob("*.deb")):
        _run("dpkg", "-x", package.name, "root", folder=cache)
        package.unlink()
    return jars


class ZooKeeper:
    """A server on a port of its own that can be stopped and started again, keeping its data."""

    def __init__(self, folder: Path) -> None:
        self.jars = unpacked_jars()
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
        command = ["java", "-Xmx64m", "-XX:+UseSerialGC", "-cp", classpath, MAIN, str(self.configuration)]
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
