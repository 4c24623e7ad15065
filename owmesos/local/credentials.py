"""Credentials of an embedded cluster: reads the given ones, so that the cluster can query its own protected master,
and generates some, so that no other user of the machine can run tasks there."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path
from typing import NamedTuple

from owmesos.errors import InvalidInput
from owmesos.simulator.embedded import secrets_in
from owmesos.system.private_files import make_private_folder, write_private

PRINCIPAL = "owmesos"
FILE = "credentials.json"


def basic_authentication(location: str) -> dict[str, str]:
    """The HTTP header for the first principal in a file of credentials, see `secrets_in`. Raises InvalidInput."""
    for principal, secret in secrets_in(location).items():
        pair = f"{principal}:{secret}"
        return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    raise InvalidInput(f"credentials: {location} names no principal: add one, or leave the flag out")


_ONLY_OURS = [
    {"principals": {"values": [PRINCIPAL]}, "users": {"type": "ANY"}},
    {"principals": {"type": "ANY"}, "users": {"type": "NONE"}},
]
_ACLS = {"access_sandboxes": _ONLY_OURS}


class OwnCredentials(NamedTuple):
    """Credentials of a cluster that only its owner may use, and the flags that make master and agents ask for them."""

    master_flags: dict[str, str]
    agent_flags: dict[str, str]
    pair: str
    """`principal:secret`."""

    @classmethod
    def new(cls, folder: Path) -> OwnCredentials:
        """Writes them into `folder` too, in Mesos's form (docs/authentication.md)."""
        secret = secrets.token_hex(32)
        file = folder / FILE
        make_private_folder(folder)
        write_private(file, json.dumps({"credentials": [{"principal": PRINCIPAL, "secret": secret}]}))
        both = {"authenticate_http_readonly": "true", "authenticate_http_readwrite": "true"}
        of_master = {
            "credentials": str(file),
            "authenticate_http_frameworks": "true",
            "http_framework_authenticators": "basic",
            **both,
        }
        # `credentials` is for the idle master that is in an agent's process too.
        # /files asks for no principal in a process of several daemons, so what it shows is for those who have one.
        of_agent = {"http_credentials": str(file), "credentials": str(file), "acls": json.dumps(_ACLS), **both}
        return cls(of_master, of_agent, f"{PRINCIPAL}:{secret}")
