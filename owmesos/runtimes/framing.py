"""What is said to an action container, and how its two processes, the proxy and the action, frame what they say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

SENTINEL: Final = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
VERIFIER: Final = "OWMESOS_CONTAINER_VERIFIER"  # the variable; what it is for: owmesos.runtimes.access
PROVE: Final = "/prove"
NONCE_LENGTH: Final = 64

REQUEST: Final = struct.Struct("!cIQ")  # what it is, its number, the length of its body
REPLY: Final = struct.Struct("!IHQ")  # the request's number, the HTTP status, the length of the body
INIT: Final = b"I"
RUN: Final = b"R"
CHUNK: Final = 256 * 1024


def send_all(send: Callable[[bytes], object], head: bytes, body: bytes) -> None:
    """In one call of the socket's `sendall`, as long as that copies little."""
    if len(body) <= CHUNK:
        send(head + body)
    else:
        send(head)
        send(body)
