"""Fetches the published package that holds libmesos 1.11.0, and takes the library out of it.

The file is a `bdist_dumb` archive, which pip lists but does not install: pip tells where it is, in whichever index the
user has configured, and we download it from there, with the credentials that pip is configured for.
"""

from __future__ import annotations

import hashlib
import netrc
import os
import re
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from owmesos.local.toolchain import BuildError

REQUIREMENT = "mesos.scheduler===1.11.0"  # nothing has just this version: pip lists what there is and downloads none
FILE = "mesos.scheduler-1.11.0.linux-x86_64.tar.gz"
SHA256 = "1d376f20bca6d05ee8b90c1c123a452b28753497ccc2f1c80ea3ac94c12e8f6e"
LIBRARY = "_scheduler.so"
_TIMEOUT = 60.0  # seconds to connect, and between two packets
_PIP_OPTIONS = ("-vvv", "--no-deps", "--no-binary=:all:", "--retries=1", "--timeout=15", "--no-input")
_PIP_TIMEOUT = 120.0  # seconds
# `-m pip` would be a module of the working folder, which may be /tmp; -P, against that, came with Python 3.11.
_RUN_PIP = (
    "import sys; sys.path[:] = filter(None, sys.path); import runpy; "
    "runpy.run_module('pip', run_name='__main__', alter_sys=True)"
)
_CONFIGURED_URL = re.compile(r"https?://[^\s'\"\\]+")
_LINK = re.compile(rf"Found link (\S+/{re.escape(FILE)})(?=[#\s])")  # as pip 21 to 26 print it

Fetch = Callable[[Path], None]
"""Writes the archive to the path given; raises BuildError where it cannot be had."""


def fetch_from_index(target: Path) -> None:
    """Downloads the archive (27 MB) from the package index that pip is configured for."""
    url = _find()
    try:
        # The digest is checked by `unpack`, whatever the index says it is.
        with _opener(url).open(url.geturl(), timeout=_TIMEOUT) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except (OSError, HTTPException, ValueError) as error:  # ValueError: of a URL
        reason = str(error) or type(error).__name__
        raise BuildError(f"cannot download {FILE} ({reason}): is the network up?") from error


def _find() -> SplitResult:
    """The archive's address, as pip finds it, without credentials, which pip does not print."""
    output = _pip("download", *_PIP_OPTIONS, REQUIREMENT)
    link = _LINK.search(output)
    if link is not None:
        url = urlsplit(link[1])
        return url._replace(netloc=url.netloc.rpartition("@")[2])
    if "No module named pip" in output:
        raise BuildError(f"fetching {FILE} needs pip: run `{sys.executable} -m ensurepip`")
    problems = (line.strip() for line in output.splitlines() if "WARNING: " in line or "ERROR: " in line)
    reason = next(problems, "it gave no reason")
    raise BuildError(f"pip does not find {FILE} ({reason}): is the network up, and does pip's package index hold it?")


def _opener(url: SplitResult) -> urllib.request.OpenerDirector:
    """Sends each host the credentials that pip would send it, those of its index's URL or of netrc, and no other
    host, wherever a redirection leads."""
    passwords = urllib.request.HTTPPasswordMgrWithPriorAuth()
    for user, password in _of_netrc(url.hostname):
        passwords.add_password(None, _server(url), user, password, is_authenticated=True)
    configured = _CONFIGURED_URL.findall(_pip("config", "list", "-v"))  # -v: whatever PIP_QUIET says
    for text in reversed(configured):  # the environment comes first there, and goes before files
        index = urlsplit(text)
        if index.username is not None:
            user, password = unquote(index.username), unquote(index.password or "")
            passwords.add_password(None, _server(index), user, password, is_authenticated=True)
    return urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))


def _server(url: SplitResult) -> str:
    """With its port always, so that credentials for https are not sent by http too."""
    host = url.netloc.rpartition("@")[2]
    return host if url.port is not None else f"{host}:{443 if url.scheme == 'https' else 80}"


def _of_netrc(host: str | None) -> Iterator[tuple[str, str]]:
    with suppress(OSError, netrc.NetrcParseError):  # as pip: without it
        login = netrc.netrc(os.environ.get("NETRC") or Path("~/.netrc").expanduser()).authenticators(host or "")
        if login is not None:
            yield login[0], login[2] or ""


def _pip(*arguments: str) -> str:
    try:
        done = subprocess.run(
            (sys.executable, "-c", _RUN_PIP, *arguments),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_PIP_TIMEOUT,
        )
    except subprocess.TimeoutExpired:
        raise BuildError(f"pip did not find {FILE} within {_PIP_TIMEOUT:g} s: is the network up?") from None
    return done.stdout


def unpack(archive: Path, library: Path, sha256: str = SHA256) -> None:
    """Checks the archive's digest and writes the library that is in it. Raises BuildError if it is another file."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise BuildError(
            f"{archive.name} has the digest {digest.hexdigest()}, not {sha256}: it is not the expected file"
        )
    with tarfile.open(archive) as tar:
        member = next((each for each in tar if each.isfile() and Path(each.name).name == LIBRARY), None)
        source = None if member is None else tar.extractfile(member)
        if source is None:
            raise BuildError(f"{archive.name} does not contain {LIBRARY}")
        with source, library.open("wb") as file:
            shutil.copyfileobj(source, file)
