"""The user's own folders for owmesos, by the XDG Base Directory Specification. A user may have no home folder."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from owmesos.errors import InvalidInput


def user_state_folder() -> Path:
    """Raises InvalidInput where it is not known."""
    return _folder("state", "XDG_STATE_HOME")


def user_cache_folder() -> Path:
    """Raises InvalidInput where it is not known."""
    return _folder("cache", "OWMESOS_CACHE")


def _folder(what: str, variable: str) -> Path:
    """Older platformdirs leave a `~` that nobody resolves, which would be a folder wherever the process is."""
    from platformdirs import PlatformDirs

    with suppress(RuntimeError):
        folder = Path(getattr(PlatformDirs("owmesos", appauthor=False), f"user_{what}_path"))
        if folder.is_absolute():
            return folder
    raise InvalidInput(f"this user has no home folder for owmesos's {what}: set HOME, or {variable}")


def is_url(state: str | Path) -> bool:
    """Whether `state` is a URL and not a folder. `zk:/host/path` counts as a mistyped URL: otherwise a folder of that
    name would be created. Write `./zk:` for such a folder."""
    return isinstance(state, str) and ("://" in state or state.lower().startswith("zk:"))
