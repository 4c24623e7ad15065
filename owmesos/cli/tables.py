"""Files with settings that a command is given besides its own configuration: TOML, or JSON where they are called so."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.openwhisk.manifest import Manifest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_table(file: Path, *, private: bool = False) -> dict[str, Any]:
    """With `private` nobody but its owner may be able to read it. Raises InvalidInput."""
    try:
        text = _secret(file) if private else file.read_text(encoding="utf-8")
        found = json.loads(text) if file.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror}") from None
    except InvalidInput:
        raise
    except (ValueError, RecursionError) as error:
        kind = "JSON" if file.suffix == ".json" else "TOML"
        raise InvalidInput(f"{file} is no {kind}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"{file} holds no table")
    return found


def read_manifest(file: Path) -> Manifest:
    """OpenWhisk's runtimes manifest. Raises InvalidInput."""
    from owmesos.openwhisk.manifest import parse

    try:
        return parse(file.read_bytes())
    except OSError as error:
        raise InvalidInput(f"the runtimes manifest {file} cannot be read: {error.strerror}") from None
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _secret(file: Path) -> str:
    from owmesos.mesos.access import read_secret

    text = read_secret(file)
    assert text is not None
    return text
