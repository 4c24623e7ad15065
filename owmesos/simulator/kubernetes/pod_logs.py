"""What `pods/log` gives of a container: stdout and stderr in one, which cannot be told apart."""

from __future__ import annotations

from collections.abc import Iterable

from owmesos.simulator.kubernetes.objects import precise_timestamp


def read(
    lines: Iterable[tuple[float, str]], *, since: str = "", timestamps: bool = False, limit_bytes: int | None = None
) -> str:
    """`since` is a time in RFC 3339, as `precise_timestamp` writes it; what is older is left out."""
    told = []
    for at, line in lines:
        when = precise_timestamp(at)
        if _comparable(when) >= _comparable(since):
            told.append(f"{when} {line}\n" if timestamps else f"{line}\n")
    return "".join(told).encode()[:limit_bytes].decode(errors="ignore")


def _comparable(time: str) -> str:
    """Without the zone, so that a time without a fraction sorts before those with one."""
    return time.removesuffix("Z")
