"""The text of `owmesos --version`: owmesos, its dependencies, and what it is made for."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

MADE_FOR = "Apache Mesos 1.11 (v1 API); Kubernetes 1.37; OpenWhisk 1.0 and 2.0"
_ALWAYS = ("aiohttp", "click", "kazoo", "msgspec")
_OPENWHISK = ("kafka-python", "lz4", "python-snappy", "zstandard")


def version_text() -> str:
    """The first line is `owmesos, version X`."""
    return "\n".join(
        (
            f"owmesos, version {version('owmesos')}",
            f"made for {MADE_FOR}",
            f"on Python {platform.python_version()} with {', '.join(map(_installed, _ALWAYS))}",
            f"for --kafka: {', '.join(map(_installed, _OPENWHISK))}",
        )
    )


def _installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"{package} (not installed)"
