"""An action container for python:3: `python -m owmesos.runtimes.python --port PORT [--host HOST]`.

It is what OpenWhisk's image for the kind is on a cluster with Docker. A container is on somebody's way when it starts,
so nothing is imported here that a request does not need. The user's code lives in a process of its own, forked before
anything listens: when it crashes, the proxy is there to say so.

It listens on one address only (HOST, or the variable of that name, else 127.0.0.1). Where its task has a verifier, only
requests with the container's secret are served (owmesos.runtimes.access); else whoever reaches the port first decides
what runs there. With `__OW_ALLOW_CONCURRENT=true` it takes runs at the same time, each in a thread.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from types import FrameType
from typing import NoReturn

from owmesos.runtimes.action import Action
from owmesos.runtimes.framing import VERIFIER
from owmesos.runtimes.proxy import Proxy

_USAGE = "usage: python -m owmesos.runtimes.python --port PORT [--host HOST]"


def main(arguments: list[str]) -> None:
    """Serves until SIGTERM."""
    host, port = _address(arguments)
    concurrent = os.environ.get("__OW_ALLOW_CONCURRENT", "").lower() == "true"
    verifier = os.environ.pop(VERIFIER, None)
    (channel, action_channel), (beside, action_beside) = socket.socketpair(), socket.socketpair()
    pid = os.fork()
    if pid == 0:
        channel.close()
        beside.close()
        Action(action_channel, action_beside, concurrent=concurrent).serve()
    action_channel.close()
    action_beside.close()
    signal.signal(signal.SIGTERM, _leave)
    try:
        family, kind, number, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror or error}")
    gate = None
    if verifier is not None:
        # Those who connect meanwhile wait for no longer than what it imports takes.
        from owmesos.runtimes.access import Gate

        try:
            gate = Gate(verifier)
        except ValueError as error:
            sys.exit(str(error))
    Proxy(listener, channel, beside, pid, concurrent=concurrent, gate=gate).serve()


def _address(arguments: list[str]) -> tuple[str, int]:
    host = os.environ.get("HOST") or "127.0.0.1"
    port = os.environ.get("PORT", "")
    given = iter(arguments)
    for name in given:
        value = next(given, "")
        if name == "--port" and value:
            port = value
        elif name == "--host" and value:
            host = value
        else:
            sys.exit(_USAGE)
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
        sys.exit(f"the port must be a number from 1 to 65535, not {port!r}; {_USAGE}")
    return host, int(port)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)  # the action's process sees its channel close, clears up and ends


if __name__ == "__main__":
    main(sys.argv[1:])
