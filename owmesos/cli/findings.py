"""Runs the checks of `owmesos doctor` side by side, in bounded time.

Each check has a thread of its own; one that hangs is reported and abandoned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from owmesos.errors import OwmesosError

LIMIT = 15.0
"""Seconds that a check may take: three times the timeouts of the Kafka, Mesos and CouchDB clients."""


class Finding(NamedTuple):
    """A CheckDocument. One check may have several."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    mend: str | None = None


class Check(NamedTuple):
    """`work` may raise OwmesosError, which is a failure. `mend` says what to do then, or after a timeout."""

    name: str
    work: Callable[[], Sequence[Finding]]
    mend: str


def findings(checks: Sequence[Check], limit: float = LIMIT) -> list[Finding]:
    """The findings of all checks, in order. Returns after at most `limit` seconds."""
    found: dict[int, Sequence[Finding]] = {}

    def work(number: int, check: Check) -> None:
        found[number] = _findings_of(check)

    threads = [threading.Thread(target=work, args=each, daemon=True) for each in enumerate(checks)]
    for thread in threads:
        thread.start()
    until = time.monotonic() + limit
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    all_found: list[Finding] = []
    for number, check in enumerate(checks):
        late = (Finding(check.name, "fail", f"it took more than {limit:g} s", check.mend),)
        all_found += found.get(number, late)
    return all_found


def _findings_of(check: Check) -> Sequence[Finding]:
    try:
        return check.work()
    except OwmesosError as error:
        return (Finding(check.name, "fail", str(error), check.mend),)
    except Exception as error:  # noqa: BLE001  (whatever it is, the other checks go on)
        return (Finding(check.name, "fail", f"{type(error).__name__}: {error}", check.mend),)
