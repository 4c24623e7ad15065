"""Files and folders that only their owner may read: state, logs, tokens.

The modes do not depend on the umask or on who created a folder: files are created 0600, folders 0700, and existing
ones get these modes. A link is never followed, since another user may have created it; in a folder's path, one of
our own or of root is.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

from owmesos.errors import InvalidInput, os_reason

FILE_MODE = 0o600
FOLDER_MODE = 0o700
_OTHERS = 0o077
_WRITABLE_BY_ALL = 0o002
_MOST_LINKS = 40  # in one path, as for Linux


def make_private_folder(folder: Path, ours: Collection[str] = ()) -> None:
    """Make `folder`, with its parents, or take the one that is there.

    One that is empty, or has a file named in `ours`, becomes 0700. Any other keeps its mode, as it has other uses too
    (a home folder, a mount), but not everybody may write there. No link in its path belongs to another user, who could
    let it lead elsewhere later. Raises InvalidInput and OSError, for a file FileExistsError or NotADirectoryError.
    """
    _check_links(folder)
    make_folder(folder)
    known = _checked_owner(folder, ": give one of your own")
    mode = stat.S_IMODE(known.st_mode)
    if not mode & _OTHERS:
        return
    content = {each.name for each in folder.iterdir()}
    if known.st_uid == os.geteuid() and (not content or content & set(ours)):
        folder.chmod(FOLDER_MODE)
    elif mode & _WRITABLE_BY_ALL:
        raise InvalidInput(f"every user may write in the folder {folder} (mode {mode:o}): give one of your own")


def check_not_written_by_others(folder: Path) -> None:
    """A `folder` whose programs are to be run. Raises InvalidInput and OSError."""
    _check_links(folder)
    if _checked_owner(folder).st_mode & _WRITABLE_BY_ALL:
        raise InvalidInput(f"every user may write in the folder {folder}")


def make_private(folder: Path, patterns: Collection[str]) -> None:
    """Files that are in `folder` already and match one of the `patterns` become 0600. Raises InvalidInput if one
    belongs to another user, who may have put it there to read what is written into it."""
    for pattern in patterns:
        for file in folder.glob(pattern):
            known = file.lstat()
            if not _is_trusted(known):
                raise InvalidInput(
                    f"the file {file} belongs to another user (uid {known.st_uid}), who may have it open:"
                    " remove it, or put a copy of your own in its place"
                )
            if stat.S_ISREG(known.st_mode) and known.st_uid == os.geteuid() and stat.S_IMODE(known.st_mode) & _OTHERS:
                file.chmod(FILE_MODE)


def open_private(file: Path, flags: int) -> int:
    """A descriptor; the file is created 0600, or becomes that. Raises OSError, also where `file` is a link, and
    PermissionError where it belongs to another user, who may have it open.

    `flags` are those of `os.open`, which O_CREAT is one of where the file may be missing.
    """
    descriptor = os.open(file, flags | os.O_CLOEXEC | os.O_NOFOLLOW, FILE_MODE)
    try:
        known = os.fstat(descriptor)
        if not _is_trusted(known):
            raise PermissionError(errno.EPERM, f"it belongs to another user (uid {known.st_uid})", str(file))
        if stat.S_IMODE(known.st_mode) & _OTHERS:
            os.fchmod(descriptor, FILE_MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_private(file: Path, content: str, *, executable: bool = False) -> None:
    """In one step: a reader sees the old content or the new. An `executable` file is 0700. Raises OSError."""
    fresh = file.with_name(f".{file.name}.{os.urandom(4).hex()}")
    descriptor = open_private(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(content)
            if executable:
                os.fchmod(descriptor, FOLDER_MODE)
        fresh.replace(file)
    except BaseException as error:
        fresh.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # of a full disk, say
            error.filename = str(file)
        raise


def read_private(file: Path, what: str = "secret file") -> str:
    """Its text without the line feed at its end. `what` it is, for the error.

    Raises InvalidInput when the file is missing, empty, no text, or can be read by others than its owner.
    """
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidInput(f"the {what} {file} is not a regular file")
            if stat.S_IMODE(mode) & _OTHERS:
                raise InvalidInput(f"the {what} {file} can be read by others: chmod 600 {file}")
            text = opened.read(64 * 1024).decode().rstrip("\r\n")
    except OSError as error:
        raise InvalidInput(f"the {what} {file} cannot be read: {os_reason(error)}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"the {what} {file} is not valid UTF-8") from None
    if not text:
        raise InvalidInput(f"the {what} {file} is empty")
    return text


def make_folder(folder: Path) -> None:
    """What is missing of `folder` and its parents, which `Path.mkdir` would make by the umask alone; one that is there
    keeps its mode. Raises OSError, for a file FileExistsError or NotADirectoryError."""
    if not folder.parent.exists():
        make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def _is_trusted(known: os.stat_result) -> bool:
    return known.st_uid in (os.geteuid(), 0)


def _checked_owner(folder: Path, advice: str = "") -> os.stat_result:
    """Raises InvalidInput and OSError."""
    known = folder.stat()
    if not _is_trusted(known):
        raise InvalidInput(f"the folder {folder} belongs to another user (uid {known.st_uid}){advice}")
    return known


def _check_links(folder: Path) -> None:
    """Look at each link in its path, and in the paths of their targets. Raises InvalidInput and OSError."""
    root, *parts = folder.absolute().parts
    at, links = Path(root), 0
    parts.reverse()
    while parts:
        part = parts.pop()
        if part == "..":
            at = at.parent  # no link is left in it
            continue
        at /= part
        try:
            known = at.lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        if not stat.S_ISLNK(known.st_mode):
            continue
        if not _is_trusted(known):
            raise InvalidInput(
                f"{at} is a link of another user (uid {known.st_uid}), who can let it lead elsewhere: give a folder"
                " whose path has no such link"
            )
        links += 1
        if links > _MOST_LINKS:
            raise InvalidInput(f"the path of the folder {folder} has a loop of links, or more than {_MOST_LINKS}")
        target = at.readlink()
        at = Path(root) if target.is_absolute() else at.parent
        parts += reversed(target.parts[target.is_absolute() :])
