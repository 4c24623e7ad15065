"""How commands find tokens and credentials: a file for each address, in folders that only the user can read.

`owmesos run` stores the token of its admin API there, and `owmesos local` the credentials of its cluster. The folder
is `owmesos` in XDG_RUNTIME_DIR or /run/user/UID, which end with the login, and always one in the user's own state
folder, because a service may have started what a login looks for. If neither is possible, it is a folder for
temporary files. Of several files the newest is used.

A file is valid only while its owner runs: kill -9 leaves it behind, and the next process at the address must not get
the token. So the owner holds a lock on the file (flock), which ends with the process.
"""

from __future__ import annotations

import fcntl
import glob
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from owmesos.errors import InvalidInput
from owmesos.system.private_files import FOLDER_MODE, make_private_folder, read_private, write_private
from owmesos.system.user_folders import user_state_folder

ADMIN = "admin"
"""The file's name for an admin API: its token."""
ADMIN_READ = "admin-read"
"""The same for its token that may only read."""
MASTER = "master"
"""The file's name for the master of a cluster on this machine: `principal:secret`."""
_LOOPBACK = ("127.0.0.1", "::1")
_EVERYWHERE = {"": _LOOPBACK, "0.0.0.0": ("127.0.0.1",), "::": ("::1",)}


@contextmanager
def announced(name: str, host: str, port: int, content: str) -> Iterator[bool]:
    """While the block runs, a file `name` exists for this address. Yields False if no folder can hold one."""
    with ExitStack() as stack:
        done = False
        for folder in _folders():
            if done and folder == _last_resort():
                break
            for each in _EVERYWHERE.get(host, (host,)):
                file = folder / _file_name(name, each, port)
                try:
                    _make(folder)
                    if not _is_ours(folder):
                        continue
                    write_private(file, content)
                    opened = stack.enter_context(file.open("rb"))
                except (OSError, InvalidInput):
                    continue  # the next folder may do
                with suppress(OSError):  # a file system without locks
                    fcntl.flock(opened, fcntl.LOCK_EX)
                done = True
                stack.callback(_remove, file, content)
        yield done


def find(name: str, host: str, port: int) -> str | None:
    """The file announced last for this address, or None; `localhost` stands for any loopback address."""
    hosts = _LOOPBACK if host.lower() == "localhost" else (host,)
    files: list[tuple[float, Path]] = []
    for file in (folder / _file_name(name, each, port) for folder in _folders() for each in hosts if _is_ours(folder)):
        with suppress(OSError):
            known = file.lstat()
            if stat.S_ISREG(known.st_mode):
                files.append((known.st_mtime, file))
    for _, file in sorted(files, reverse=True):
        with suppress(InvalidInput):
            if _has_owner(file):
                return read_private(file)
    return None


def ports_of(name: str, host: str) -> list[int]:
    """The ports at which a process that runs has announced such a file for this host."""
    begin = _file_name(name, host, 0)[:-1]
    files = [file for folder in _folders() if _is_ours(folder) for file in folder.glob(f"{glob.escape(begin)}*")]
    ports = [(file, file.name[len(begin) :]) for file in files]
    return sorted({int(port) for file, port in ports if port.isdecimal() and _has_owner(file)})


def _has_owner(file: Path) -> bool:
    """Whether the process that announced it lives."""
    try:
        with file.open("rb") as opened:
            fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # gone meanwhile, or on a file system without locks, where nobody can tell
        return file.exists()
    return False


def _folders() -> list[Path]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}")
    folders = [runtime / "owmesos"] if _is_ours(runtime) else []
    with suppress(InvalidInput):  # a user may have no home
        folders.append(user_state_folder() / ".running")
    with suppress(OSError):  # with a full disk there is no folder for temporary files
        folders.append(_last_resort())
    return folders


def _last_resort() -> Path:
    """Raises OSError."""
    return Path(tempfile.gettempdir()) / f"owmesos-{os.geteuid()}"


def _make(folder: Path) -> None:
    """In a folder for temporary files anybody may have put a link there, so what is there already is left as it is.

    Raises InvalidInput and OSError.
    """
    if folder != _last_resort():
        make_private_folder(folder)
    else:
        with suppress(FileExistsError):
            folder.mkdir(mode=FOLDER_MODE)


def _is_ours(folder: Path) -> bool:
    """Whether only we can put files there, by the XDG Base Directory Specification."""
    try:
        known = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(known.st_mode) and known.st_uid == os.geteuid() and not stat.S_IMODE(known.st_mode) & 0o077


def _file_name(name: str, host: str, port: int) -> str:
    return f"{name}-{quote(host.lower(), safe='.:')}:{port}"


def _remove(file: Path, content: str) -> None:
    """Unless another process has taken its place."""
    with suppress(OSError, InvalidInput):
        if read_private(file) == content.rstrip("\r\n"):
            file.unlink()
