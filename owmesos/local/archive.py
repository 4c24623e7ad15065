"""Fetches the published package that holds libmesos 1.11.0, and takes the library out of it.

The file is a `bdist_dumb` archive, which installers refuse; so the package index is asked for it by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

from owmesos.local.toolchain import BuildError

PROJECT = "mesos.scheduler"
FILE = "mesos.scheduler-1.11.0.linux-x86_64.tar.gz"
SHA256 = "1d376f20bca6d05ee8b90c1c123a452b28753497ccc2f1c80ea3ac94c12e8f6e"
LIBRARY = "_scheduler.so"
_TIMEOUT = (15.0, 60.0)  # seconds to connect, and between two packets

Fetch = Callable[[Path], None]
"""Writes the archive to the path given; raises BuildError where it cannot be had."""


def fetch_from_index(target: Path) -> None:
    """Downloads the archive (27 MB) from the package index, or from the one that PIP_INDEX_URL names."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple
    from requests import RequestException

    index = os.environ.get("PIP_INDEX_URL", PYPI_SIMPLE_ENDPOINT)
    try:
        with PyPISimple(index) as client:
            page = client.get_project_page(PROJECT, timeout=_TIMEOUT)
            package = next((each for each in page.packages if each.filename == FILE), None)
            if package is None:
                raise BuildError(f"the package index has no {FILE}: does PIP_INDEX_URL name a full one?")
            # The digest is checked below, whatever the index says it is.
            client.download_package(package, target, verify=False, timeout=_TIMEOUT)
    except NoSuchProjectError:
        raise BuildError(f"the package index has no project {PROJECT}: does PIP_INDEX_URL name a full one?") from None
    except (RequestException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BuildError(f"cannot fetch {FILE} from the package index ({reason}): is the network up?") from error


def unpack(archive: Path, library: Path, sha256: str = SHA256) -> None:
    """Checks the archive's digest and writes the library that is in it. Raises BuildError if it is another file."""
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != sha256:
        raise BuildError(f"{archive.name} has the digest {digest.hexdigest()}, not {sha256}: it is not the file wanted")
    with tarfile.open(archive) as tar:
        member = next((each for each in tar if each.isfile() and Path(each.name).name == LIBRARY), None)
        source = None if member is None else tar.extractfile(member)
        if source is None:
            raise BuildError(f"{archive.name} holds no {LIBRARY}")
        with source, library.open("wb") as file:
            shutil.copyfileobj(source, file)
