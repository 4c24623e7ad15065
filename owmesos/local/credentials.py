"""Reads the credentials file of an embedded master, so that the cluster may ask its own protected master."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from owmesos.errors import InvalidInput


def basic_authentication(location: str) -> dict[str, str]:
    """The HTTP header for the first principal in a file as Mesos docs/authentication.md has it, in its JSON form.

    `location` is the value of the flag `credentials`: a path, or one after `file://`. Raises InvalidInput.
    """
    path = Path(location.removeprefix("file://"))
    try:
        first = json.loads(path.read_bytes())["credentials"][0]
        pair = f"{first['principal']}:{first['secret']}"
    except OSError as error:
        raise InvalidInput(f"credentials: cannot read {path}: {error.strerror}") from None
    except (ValueError, LookupError, TypeError):
        raise InvalidInput(f"credentials: {path} is not Mesos's JSON of credentials") from None
    return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
