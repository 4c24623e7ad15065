"""How the invoker authenticates to its containers: see `owmesos.runtimes.access` for the secrets.

A secret is derived from a key that lives as long as this process and is stored nowhere. Containers do not outlive
their process: the next process stops them when it starts.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import NamedTuple

from owmesos.runtimes.access import verifier_of
from owmesos.runtimes.framing import VERIFIER

_KEY = secrets.token_bytes(32)


class ContainerAccess(NamedTuple):
    """What is known about the process at a container's address.

    With a `secret` it proves that it is the container. Without one, `mapped` says that the port belonged to the
    container before it began to run: Docker maps it, and does not start a container whose port is in use. Otherwise
    any process of the node may have the port, and the container ends when it cannot listen.
    """

    secret: str | None = None
    mapped: bool = True

    @property
    def sure(self) -> bool:
        """Only the container can answer at the address."""
        return self.secret is not None or self.mapped


OPEN = ContainerAccess()


def secret_of(container_id: str) -> str:
    """The container's, 64 hexadecimal digits."""
    return hmac.new(_KEY, container_id.encode(), hashlib.sha256).hexdigest()


def variables_of(container_id: str) -> dict[str, str]:
    """The environment variables of a task with one of owmesos's own runtimes."""
    return {VERIFIER: verifier_of(secret_of(container_id))}


def access_to(container_id: str, *, proves: bool, mapped: bool) -> ContainerAccess:
    """`proves`: it was started with `variables_of` its id."""
    return ContainerAccess(secret_of(container_id)) if proves else ContainerAccess(mapped=mapped)
