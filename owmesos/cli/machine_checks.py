"""The checks of `owmesos doctor` on this machine: Python, packages, ports, state folder, disk, descriptors."""

from __future__ import annotations

import errno
import os
import platform
import resource
import shutil
import socket
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from owmesos.cli.connection import Endpoint
from owmesos.cli.findings import Check, Finding
from owmesos.cli.run import RunOptions
from owmesos.cli.state_places import in_zookeeper, place_of_state, state_findings
from owmesos.errors import InvalidInput
from owmesos.storage import StateInUse
from owmesos.storage.sqlite import FILE, look_into
from owmesos.system.file_lock import FileLock

_OLDEST = (3, 10)
_CODECS = {"crc32c": "crc32c", "lz4": "lz4", "snappy": "python-snappy", "zstandard": "zstandard"}
"""Modules and packages that `--kafka` needs only to read quickly, or to read messages compressed this way."""
_NEEDED = {"kafka": "kafka-python", "cryptography": "cryptography"}
_LITTLE_DISK, _NO_DISK = 2**30, 100 * 2**20  # bytes
_FEW, _TOO_FEW = 1024, 256  # descriptors
_INVOKER = 4096
"""Descriptors that an invoker should have: each container, Controller and agent takes one or two."""
_LISTENING = "0A"  # in /proc/net/tcp


def checks(options: RunOptions) -> list[Check]:
    return [
        Check("python", _python, "install Python 3.10 or newer"),
        Check("packages", partial(_packages, options), "pip install 'owmesos[openwhisk]'"),
        Check("settings", partial(_settings, options), "see `owmesos run --help`"),
        Check("admin port", partial(_admin_port, options), "give another --admin HOST:PORT"),
        Check("certificate", partial(_certificate, options), "give another --admin-tls-cert and --admin-tls-key"),
        Check("state", partial(_state, options), "give another --state"),
        Check("disk", partial(_disk, options), "free some space"),
        Check("descriptors", partial(_descriptors, options), "raise the limit: `ulimit -n 65536`"),
    ]


def _python() -> Sequence[Finding]:
    said = f"{platform.python_implementation()} {platform.python_version()}, owmesos {version('owmesos')}"
    if sys.version_info < _OLDEST:
        return (Finding("python", "fail", said, "install Python 3.10 or newer"),)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        mend = "use the usual build of Python: owmesos is not tested without the GIL"
        return (Finding("python", "warn", f"{said}, a free-threading build", mend),)
    return (Finding("python", "ok", said),)


def _packages(options: RunOptions) -> Sequence[Finding]:
    if options.driver == "pymesos" and find_spec("pymesos") is None:
        return (Finding("packages", "fail", "--driver pymesos needs pymesos", "pip install pymesos"),)
    if not options.kafka.wanted:
        return (Finding("packages", "ok", "nothing more is needed"),)
    mend = "pip install 'owmesos[openwhisk]'"
    missing = [package for module, package in _NEEDED.items() if find_spec(module) is None]
    if missing:
        return (Finding("packages", "fail", f"--kafka needs {' and '.join(missing)}", mend),)
    without = [package for module, package in _CODECS.items() if find_spec(module) is None]
    if without:
        said = f"without {', '.join(without)}, messages compressed this way cannot be read"
        return (Finding("packages", "warn", said, mend),)
    return (Finding("packages", "ok", ", ".join(f"{name} {_version(name)}" for name in _NEEDED.values())),)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of unknown version"


def _settings(options: RunOptions) -> Sequence[Finding]:
    """Settings that `run` would reject at once. Raises InvalidInput."""
    options.scheduler.settings()
    options.access.tls()
    options.access.secret()
    if options.kafka.wanted and find_spec("kafka") is not None:
        from owmesos.openwhisk.whisk_config import WhiskConfig

        options.kafka.settings(options.runtimes, WhiskConfig(os.environ))
    if options.cluster == "kubernetes":
        settings = options.kubernetes_settings(options.kubernetes.access())
        said = f"invoker {settings.invoker}, namespace {settings.namespace}"
    else:
        said = f"framework {options.name}, role {', '.join(options.role)}"
    return (Finding("settings", "ok", f"{said}, state in {_place(options)}"),)


def _place(options: RunOptions) -> str:
    if not in_zookeeper(options.state):
        return str(options.folder)
    return f"{place_of_state(options.state, options.name)}, the rest in {options.folder}"


# -- ports


def _admin_port(options: RunOptions) -> Sequence[Finding]:
    endpoint = Endpoint.parse(options.admin.admin)
    where = f"{endpoint.host}:{endpoint.port}"
    owner = _in_use(endpoint)
    if owner is None:
        options.admin.server().close()
        return (Finding("admin port", "ok", f"{where} is free"),)
    if owner.pid is not None and _holds(owner.pid, options.folder):
        said = f"{where} is in use by {owner.text}: it runs already, with this state"
        return (Finding("admin port", "ok", said),)
    said = f"the admin API cannot listen on {where}: address already in use by {owner.text}"
    return (Finding("admin port", "fail", said, "stop it, or give another --admin HOST:PORT"),)


def _certificate(options: RunOptions) -> Sequence[Finding]:
    """Of the admin API, if it has one."""
    file = options.admin.admin_tls_cert
    try:
        tls = options.admin.tls()
    except InvalidInput:
        if _in_use(Endpoint.parse(options.admin.admin)) is not None:
            raise
        return ()  # the check of the port reports it
    if tls is None or file is None:
        return ()
    expiry = options.admin.expiry(datetime.now(timezone.utc))
    if expiry is None:
        return (Finding("certificate", "ok", f"{file} is valid"),)
    if expiry.when == "later":
        return (Finding("certificate", "ok", expiry.said),)
    state: Literal["warn", "fail"] = "fail" if expiry.when == "expired" else "warn"
    return (Finding("certificate", state, expiry.said, "replace the files; send SIGHUP to a process that runs"),)


class _Owner(NamedTuple):
    """The process that listens on a port. `pid` is None if /proc does not show it, as of another user's."""

    pid: str | None
    text: str


def _in_use(endpoint: Endpoint) -> _Owner | None:
    """Who uses the port; None if it is free. Other errors are reported by `run` itself."""
    try:
        family, *_, address = socket.getaddrinfo(endpoint.host or None, endpoint.port, type=socket.SOCK_STREAM)[0]
        socket.create_server(address[:2], family=family).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _owner(endpoint.port)
    return None


def _owner(port: int) -> _Owner:
    sockets = {f"socket:[{inode}]" for inode in _listening(port)}
    for process in Path("/proc").glob("[0-9]*"):
        if sockets & _open_in(process):
            words = (process / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            words[:2] = [word.rpartition("/")[2] for word in words[:2]]  # python and its script
            return _Owner(process.name, f"process {process.name} ({' '.join(words)[:60]})")
    return _Owner(None, "a process of another user")


def _open_in(process: Path) -> set[str]:
    """Its open files, as far as they can be read: it may belong to another user, or end meanwhile."""
    found = set()
    with suppress(OSError):
        for each in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(each.readlink()))
    return found


def _listening(port: int) -> Iterator[str]:
    """The inodes of the sockets that listen on `port`."""
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            fields = line.split()
            if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]


# -- the state folder


def _state(options: RunOptions) -> Sequence[Finding]:
    folder = options.folder
    if not in_zookeeper(options.state):
        return _folder(folder)
    place = place_of_state(options.state, options.name)
    try:
        return (*state_findings(place), *_folder(folder, launches=False))
    except InvalidInput:
        return (Finding("state", "ok", f"{place} has no state yet"), *_folder(folder, launches=False))


def _folder(folder: Path, *, launches: bool = True) -> Sequence[Finding]:
    """`launches`: whether they are stored there."""
    if not folder.exists():
        parent = _existing(folder)
        if not os.access(parent, os.W_OK | os.X_OK):
            return (Finding("state", "fail", f"{folder} cannot be created in {parent}", "give a --state of your own"),)
        return (Finding("state", "ok", f"{folder} will be created"),)
    if not folder.is_dir():
        return (Finding("state", "fail", f"{folder} is not a folder", "give another --state"),)
    found = [each for path in (folder, *sorted(folder.iterdir())) if (each := _access_to(path, folder)) is not None]
    if any(each.state == "fail" for each in found):
        return found
    pid = _holder(folder)
    said = f"{folder} is used by process {pid}, which runs" if pid is not None else f"{folder} is not in use"
    return [*found, *(_content(folder, said) if launches else (Finding("state", "ok", said),))]


def _access_to(path: Path, folder: Path) -> Finding | None:
    """What is wrong with the owner or the mode of the folder, or of a file in it."""
    try:
        known = path.lstat()
    except OSError:  # SQLite may have removed it meanwhile
        return None
    mode = stat.S_IMODE(known.st_mode)
    if known.st_uid != os.geteuid():
        mend = f"chown -R {os.geteuid()} {folder}, or run as that user"
        return Finding("state", "fail", f"{path} belongs to another user (uid {known.st_uid})", mend)
    if not os.access(path, os.R_OK | os.W_OK):
        return Finding("state", "fail", f"{path} cannot be written (mode {mode:o})", f"chmod u+rw {path}")
    if mode & 0o077:
        right = 700 if path == folder else 600
        return Finding("state", "warn", f"others may access {path} (mode {mode:o})", f"chmod {right} {path}")
    return None


def _holder(folder: Path) -> str | None:
    """The id of the process that holds the folder's lock, or "unknown"; None if none does."""
    file = folder / "lock"
    if not file.exists():
        return None
    lock = FileLock(file)
    try:
        if lock.acquire(timeout=0.0):
            return None
        return file.read_text(encoding="ascii", errors="replace").strip() or "unknown"
    finally:
        lock.release()


def _holds(pid: str, folder: Path) -> bool:
    try:
        return _holder(folder) == pid
    except OSError:  # it belongs to another user; the check of the state reports it
        return False


def _content(folder: Path, said: str) -> Sequence[Finding]:
    """Raises StoreFailed, StateDamaged and StateTooNew."""
    try:
        found = look_into(folder)
    except StateInUse as error:
        return (Finding("state", "ok", str(error)),)
    if found is None:
        return (Finding("state", "ok", f"{said}, and has no {FILE} yet"),)
    stored = Finding("state", "ok", f"{said}, with {found.launches} launches")
    if not found.unreadable:
        return (stored,)
    first = found.unreadable[0]
    said = f"{len(found.unreadable)} stored launches are set aside; the first is {first.launch_id}: {first.reason}"
    mend = "see `owmesos launches --unreadable`: their tasks are left alone, so look at them by hand"
    return (stored, Finding("set aside", "warn", said, mend))


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())


# -- room


def _disk(options: RunOptions) -> Sequence[Finding]:
    folder = _existing(options.folder)
    free = shutil.disk_usage(folder).free  # bytes
    said = f"{free / 2**30:.1f} GB are free at {folder}"
    mend = f"free some space at {folder}, or give a --state elsewhere"
    if free < _NO_DISK:
        return (Finding("disk", "fail", said, mend),)
    return (Finding("disk", "warn" if free < _LITTLE_DISK else "ok", said, mend if free < _LITTLE_DISK else None),)


def _descriptors(options: RunOptions) -> Sequence[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _INVOKER if options.standalone or options.kafka.wanted else _FEW
    said = f"a process may open {soft} files ({hard} at most)"
    mend = "`ulimit -n 65536` before the start, or LimitNOFILE=65536 in a systemd unit"
    if soft < _TOO_FEW:
        return (Finding("descriptors", "fail", said, mend),)
    if soft < wanted:
        return (Finding("descriptors", "warn", f"{said}; {wanted} are better", mend),)
    return (Finding("descriptors", "ok", said),)
