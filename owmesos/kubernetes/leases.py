"""The Lease by which the processes of one invoker elect the one that leads: what each of them writes into it.

A change keeps whatever else is in it, such as the annotations of others. Its `uid` and `resourceVersion` go with it, so
the API server rejects it (409 Conflict) where the Lease is not as it was read, or is gone: a PUT would make it anew.
Times are RFC 3339 with microseconds, as `MicroTime` wants them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from owmesos.errors import InvalidInput

Document = Mapping[str, Any]
ADMIN, WAITING = "owmesos/admin", "owmesos/waiting"
"""Annotations: where the holder's admin API is, and who waits to follow it."""
_RELEASED_FOR = 1  # seconds, as client-go writes it: a Lease must last for something
_HOLDER = re.compile(r"[0-9a-f]{8} (process \d+ on .+)", re.DOTALL)
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def lease_name(invoker: str) -> str:
    """Raises InvalidInput for an invoker's label that no Lease can have in its name."""
    if not _NAME.fullmatch(invoker):
        raise InvalidInput(
            f"--ha needs an invoker name of a-z, 0-9, - and ., for its Lease, not {invoker!r:.80}: choose one with"
            " --invoker-name"
        )
    return f"owmesos-{invoker}"


def holder_name(token: str, pid: int, host: str) -> str:
    """`token`: eight hexadecimal digits, which no other process has."""
    return f"{token} process {pid} on {host}"


def holder_for_people(holder: str) -> str | None:
    """None for another program's."""
    match = _HOLDER.fullmatch(holder)
    return match[1] if match is not None else None


def new_lease(namespace: str, invoker: str) -> Document:
    labels = {"app": "owmesos", "owmesos/invoker": invoker}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": lease_name(invoker), "namespace": namespace, "labels": labels},
        "spec": {},
    }


def taken(lease: Document, holder: str, admin: str, duration: int, now: str) -> Document:
    """By a process that leads from now on. Who waited for it says so again."""
    before = lease.get("spec") or {}
    changes_hands = _exists(lease) and before.get("holderIdentity") != holder
    spec = {
        "holderIdentity": holder,
        "leaseDurationSeconds": duration,
        "acquireTime": now,
        "renewTime": now,
        "leaseTransitions": (before.get("leaseTransitions") or 0) + changes_hands,
    }
    return _annotated(_changed(lease, spec), **{ADMIN: admin, WAITING: None})


def kept(lease: Document, now: str) -> Document:
    return _changed(lease, {"renewTime": now})


def released(lease: Document, now: str) -> Document:
    """Nobody has it, and whoever comes first may take it at once."""
    return _changed(
        lease,
        {"holderIdentity": "", "leaseDurationSeconds": _RELEASED_FOR, "acquireTime": now, "renewTime": now},
    )


def announced(lease: Document, waiting: str | None) -> Document:
    """None: nobody waits any more."""
    return _annotated(lease, **{WAITING: waiting})


def waiting_of(lease: Document) -> str:
    return str((lease["metadata"].get("annotations") or {}).get(WAITING) or "")


def _exists(lease: Document) -> bool:
    return "resourceVersion" in lease["metadata"]


def _changed(lease: Document, spec: Document) -> Document:
    return {**lease, "spec": {**(lease.get("spec") or {}), **spec}}


def _annotated(lease: Document, **annotations: str | None) -> Document:
    known = {**(lease["metadata"].get("annotations") or {}), **annotations}
    known = {name: text for name, text in known.items() if text is not None}
    return {**lease, "metadata": {**lease["metadata"], "annotations": known}}
