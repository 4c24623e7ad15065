"""A Docker Engine for tests: a `dockerd` of its own, with its own data folder and bridge, and no rules in the firewall.

So it leaves an engine that the machine has alone. Ports are published by docker-proxy alone, which accepts on all
addresses before the container listens, as any engine's does on 127.0.0.1. Containers reach no more than their bridge.
There is no registry: images are made of this machine's files, by `docker import`.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import owmesos
from tests.servers.process import Server, ServerMissing

PYTHON_IMAGE = "owmesos-python:1"
_LEFT_OUT = {"test", "tests", "site-packages", "idlelib", "tkinter", "ensurepip", "lib2to3", "turtledemo", "pydoc_data"}
_TIMEOUT = 300.0  # seconds for one command; machines may be busy


class DockerEngine(Server):
    """`start` and `stop`; its client is `client`, by `call`."""

    name = "dockerd"
    starts_within = 60.0

    def __init__(self, folder: Path) -> None:
        """Raises ServerMissing where none can run."""
        lacking = [name for name in ("dockerd", "docker", "ip", "setpriv") if _which(name) is None]
        if lacking or os.geteuid() != 0:
            needs = f"{', '.join(lacking)} is not installed" if lacking else "only root can run it"
            raise ServerMissing(f"{needs} (Debian: docker.io, iproute2)")
        super().__init__(folder, 0)
        self.socket = folder / "docker.sock"
        self.client = Path(str(_which("docker")))
        self.bridge = f"owm{os.getpid() % 10**9}"

    def command(self) -> list[str]:
        namespace = f"owmesos-{os.getpid()}"  # an engine of the machine may share its containerd with this one
        return [
            *("setpriv", "--pdeathsig", "TERM"),  # nobody else would end it if the tests are killed
            *(str(_which("dockerd")), "--host", f"unix://{self.socket}", "--bridge", self.bridge),
            *("--data-root", str(self.folder / "data"), "--exec-root", str(self.folder / "exec")),
            *("--pidfile", str(self.folder / "docker.pid"), "--config-file", str(self.folder / "config.json")),
            *("--iptables=false", "--ip-masq=false", "--ip-forward=false", "--ip6tables=false"),
            *("--shutdown-timeout", "1"),
            *("--containerd-namespace", namespace, "--containerd-plugins-namespace", f"{namespace}-plugins"),
        ]

    def answers(self) -> bool:
        return self._run("version").returncode == 0

    def start(self) -> None:
        (self.folder / "config.json").write_text("{}")  # in the place of the machine's own
        network = f"10.{213 + os.getpid() // 250 % 40}.{os.getpid() % 250}"
        for arguments in (
            ("link", "add", "name", self.bridge, "type", "bridge"),
            ("addr", "add", f"{network}.1/24", "dev", self.bridge),
            ("link", "set", self.bridge, "up"),
        ):
            subprocess.run(["ip", *arguments], check=True, timeout=_TIMEOUT)
        try:
            super().start()
        except BaseException:
            self._drop_bridge()
            raise

    def stop(self, *, force: bool = False) -> None:
        """Its containers end, and all that it kept goes."""
        left = self.call("ps", "--quiet").split()
        if left:
            self._run("kill", *left)  # some may end by themselves meanwhile
        super().stop(force=force)
        self._drop_bridge()
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([each for each in mounts if each.startswith(f"{self.folder}/")]):  # what it leaves
            subprocess.run(["umount", mount], check=False, timeout=_TIMEOUT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _drop_bridge(self) -> None:
        subprocess.run(["ip", "link", "delete", self.bridge], check=False, timeout=_TIMEOUT)

    def call(self, *arguments: str) -> str:
        """What the client says on stdout; it must succeed."""
        done = self._run(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.client), "-H", f"unix://{self.socket}", *arguments]
        # The builder that is in the engine; BuildKit's is a plug-in of the client, and wants a registry.
        variables = {**os.environ, "DOCKER_BUILDKIT": "0"}
        return subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT,
            env=variables,
            stdin=subprocess.DEVNULL,
        )

    def make_image(self, name: str, root: Path, *changes: str) -> None:
        """Of a tar file with its files; `changes` are lines of a Dockerfile."""
        self.call("import", *(f"--change={change}" for change in changes), str(root), name)


def _which(program: str) -> str | None:
    """As Debian installs it, if it does: a client that is much newer than its engine need not suit Mesos."""
    return shutil.which(program, path=f"/usr/sbin:/usr/bin:{os.environ.get('PATH', os.defpath)}")


def make_python_image(engine: DockerEngine, folder: Path) -> str:
    """An action container for python:3 at port 8080, of this Python and owmesos's own runtime."""
    root = folder / "python.tar"
    package = Path(owmesos.__file__).parent
    with tarfile.open(root, "w") as tar:
        add_python(tar)
        add_programs(tar, ["sh", "sleep"])
        link = tarfile.TarInfo("bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(python())
        tar.addfile(link)
        for file in (package / "__init__.py", *(package / "runtimes").glob("*.py")):
            tar.add(file, f"srv/owmesos/{file.relative_to(package)}")
        for name in ("tmp", "mnt"):
            _add_folder(tar, name)
        add_text(tar, "etc/passwd", "root:x:0:0::/:\nnobody:x:65534:65534::/:\n")
    command = f'CMD ["{python()}", "-m", "owmesos.runtimes.python", "--host", "0.0.0.0", "--port", "8080"]'
    engine.make_image(PYTHON_IMAGE, root, "ENV PYTHONPATH=/srv", "WORKDIR /tmp", command)
    root.unlink()
    return PYTHON_IMAGE


def python() -> Path:
    """The interpreter itself, not that of an environment."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def add_python(tar: tarfile.TarFile) -> None:
    """The interpreter and its library, where they are here."""
    library = Path(sysconfig.get_path("stdlib"))
    needed = with_libraries([python(), *library.glob("lib-dynload/*.so")])
    add_files(tar, [each for each in needed if library not in each.parents])

    def kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name).name
        return None if name in _LEFT_OUT or name.startswith("config-") else entry

    tar.add(library, str(library).lstrip("/"), filter=kept)


def add_programs(tar: tarfile.TarFile, names: Sequence[str]) -> None:
    """Programs of this machine, in /bin, with their libraries."""
    for name in names:
        found = shutil.which(name)
        assert found is not None, f"no {name} on this machine"
        path = Path(found).resolve()
        tar.add(path, f"bin/{name}")
        add_files(tar, with_libraries([path])[1:])


def add_files(tar: tarfile.TarFile, files: Iterable[Path]) -> None:
    """Each where it is here, once; what a link leads to in its place."""
    known = set(tar.getnames())
    for file in files:
        name = str(file).lstrip("/")
        if name not in known:
            known.add(name)
            entry = tar.gettarinfo(str(file.resolve()), name)
            with file.open("rb") as content:
                tar.addfile(entry, content)


def _add_folder(tar: tarfile.TarFile, name: str) -> None:
    folder = tarfile.TarInfo(name)
    folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
    tar.addfile(folder)


def add_text(tar: tarfile.TarFile, name: str, text: str, *, mode: int = 0o644) -> None:
    """A file with this text."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text.encode()), mode
    tar.addfile(entry, io.BytesIO(text.encode()))


def with_libraries(files: Iterable[Path]) -> list[Path]:
    """The files, and the shared libraries that they need."""
    found = list(files)
    said = subprocess.run(
        ["ldd", *map(str, found)], check=False, capture_output=True, text=True, timeout=_TIMEOUT
    ).stdout
    return [*found, *dict.fromkeys(_libraries(said))]


def _libraries(said: str) -> Iterator[Path]:
    for line in said.splitlines():
        words = line.split()
        path = words[2] if "=>" in words and len(words) > 2 else words[0] if words else ""
        if path.startswith("/") and not path.endswith(":"):
            yield Path(path)
