"""What the containers of a pod do. No process runs: they last as long as their command says, and use nothing.

`sleep 10` ends after 10 s, `true`, `false` and `exit 3` at once; everything else, and a container without a command,
runs until it is stopped. `trap '' TERM;` before it: SIGTERM is ignored.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_OBEYS_AFTER = 0.003
_COMMAND = re.compile(r"(?:exec )?(?:sleep (?P<time>\d+(?:\.\d+)?)|(?P<word>true|false)|exit (?P<code>\d+))")
_DEAF = re.compile(r"trap (?:''|\"\") TERM *; *")


@dataclass(frozen=True)
class PodBehaviour:
    """The course of a pod's containers, which begin and end together. Times in seconds.

    `image_error` is the kubelet's message where there is no such image: nothing begins. `duration` None: without end.
    `obeys_after`: from SIGTERM to the end; None if it is ignored. `code` 137 with `oom` is the kernel's kill.
    """

    starts_after: float = 0.0  # beyond what every start takes
    ready_after: float = 0.0  # from Running
    duration: float | None = None
    code: int = 0
    oom: bool = False
    obeys_after: float | None = _OBEYS_AFTER
    stop_code: int = 128 + signal.SIGTERM
    image_error: str | None = None
    lines: tuple[str, ...] = ()  # that it writes when it begins


def from_command(pod: Mapping[str, Any]) -> PodBehaviour:
    """By the first container's command, as a text or as `sh -c` has it."""
    first = pod["spec"]["containers"][0]
    words = [*first.get("command", ()), *first.get("args", ())]
    text = words[-1] if len(words) > 1 and words[-2] == "-c" else " ".join(words)
    deaf = _DEAF.match(text)
    obeys = None if deaf else _OBEYS_AFTER
    match = _COMMAND.fullmatch(text[deaf.end() :] if deaf else text)
    if match is None:
        return PodBehaviour(obeys_after=obeys)
    if match["time"]:
        return PodBehaviour(duration=float(match["time"]), obeys_after=obeys)
    return PodBehaviour(duration=0.0, code=int(match["code"] or match["word"] == "false"), obeys_after=obeys)
