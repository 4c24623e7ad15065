"""The claim to an invoker's name on Kubernetes, without --ha: another process with the same name would take this one's
containers for those of a process that has ended, and delete them.

The claim is the Lease that --ha has, too. A process that finds it held waits until the Lease expires: if it changes
meanwhile, its holder lives, and the later process ends. A process that has the holder's state folder takes the Lease at
once, since one process has a folder. If the holder cannot be determined (missing rights, an unreadable Lease), the
process starts anyway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeAlias

from owmesos.errors import InvalidInput, OwmesosError
from owmesos.kubernetes import leases
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.lease_client import LeaseClient, StoredLease, micro_time
from owmesos.service.kubernetes.shell import ClusterSource
from owmesos.system.lease import clock
from owmesos.system.private_files import read_private, write_private
from owmesos.system.tasks import cancel_all

DURATION = 15
"""Seconds without a change after which the name is free, as for the Leases of Kubernetes's own parts."""
RENEW_EVERY = 4.0  # seconds
LOOK_EVERY = 1.0  # seconds; while another process may have it, or our last renewal failed
_LONGEST = 60  # seconds to wait for another's Lease, whatever it says
_TIMEOUT, _CONFLICT = 408, 409
_TOKEN = 4  # bytes
_log = logging.getLogger("owmesos.service")


ClaimOutcome: TypeAlias = Literal["ours", "held", "away", "unknown"]
"""Held: by another process that may live. Away: nobody answers, so no containers can be deleted either."""


class NameTaken(OwmesosError):
    """Another process has the name, and lives."""


def token_of(folder: Path) -> str:
    """What every process of a state folder has in its name, and no other.

    A file that cannot be used is made anew: the next start has to wait then, as another process would.
    """
    file = folder / "lease.token"
    with suppress(InvalidInput, ValueError):
        found = read_private(file, "token of the Lease").strip()
        if len(bytes.fromhex(found)) == _TOKEN:
            return found
    made = secrets.token_hex(_TOKEN)
    write_private(file, made)
    return made


class NameClaim:
    """Use it within one event loop: `take`, then `keep`, then `release`."""

    def __init__(
        self,
        access: ClusterAccess,
        namespace: str,
        invoker: str,
        token: str,
        *,
        now: Callable[[], float] = clock,
    ) -> None:
        """`token`: see `token_of`. `now`: seconds of any clock. Raises InvalidInput for an `invoker` that can have no
        Lease."""
        self._token = token
        self._identity = leases.holder_name(token, os.getpid(), socket.gethostname())
        self._new = leases.new_lease(namespace, invoker)
        self._name = f"invoker {invoker} in namespace {namespace}"
        self._client = LeaseClient(access, namespace, leases.lease_name(invoker))
        self._seen: tuple[str, str] | None = None  # the other holder, and when it renewed by its clock
        self._seen_at = 0.0
        self._now = now
        self._taken = False
        self._said: str | None = None

    def __str__(self) -> str:
        return self._name

    async def take(self) -> None:
        """Return once the name is ours, or it cannot be told whose it is. Raises NameTaken."""
        while await self.attempt() in ("held", "away"):  # noqa: ASYNC110  (no event of ours tells)
            await asyncio.sleep(LOOK_EVERY)

    async def keep(self) -> None:
        """Raises NameTaken."""
        last: ClaimOutcome = "ours"
        while True:
            await asyncio.sleep(RENEW_EVERY if last == "ours" else LOOK_EVERY)
            last = await self.attempt()

    async def release(self) -> None:
        """The next process need not wait."""
        try:
            with suppress(ApiRequestFailed):  # then it waits
                stored = await self._client.read()
                if stored is not None and _holder(stored) == self._identity:
                    await self._client.replace(leases.released(stored.document, micro_time()))
        finally:
            await self._client.close()

    async def attempt(self) -> ClaimOutcome:
        """Look at the Lease, and take or renew it if it is free or ours. Raises NameTaken."""
        try:
            stored = await self._client.read()
            if stored is not None and not self._is_free(stored):
                return "held"
            await self._write(stored)
        except ApiRequestFailed as error:
            return self._failed(error.failure)
        self._taken, self._said, self._seen = True, None, None
        return "ours"

    # -- within

    def _failed(self, failure: ApiFailure) -> ClaimOutcome:
        if failure.status == _CONFLICT and not failure.denied:
            return "held"  # it was changed a moment ago
        if _is_away(failure):
            self._seen = None  # the holder could not renew either
            outcome: ClaimOutcome = "away"
            meaning = "this process begins once the API server answers"
        else:
            outcome, meaning = "unknown", "another process with the name would not be noticed"
        if failure.message != self._said:
            self._said = failure.message
            advice = "; see deploy/kubernetes/rbac.yaml" if failure.reason == "Forbidden" else ""
            if outcome == "unknown" or not self._taken:
                _log.warning("who is %s is not known (%s): %s%s", self._name, meaning, failure.message, advice)
        return outcome

    async def _write(self, stored: StoredLease | None) -> None:
        if stored is not None and _holder(stored) == self._identity:
            await self._client.replace(leases.kept(stored.document, micro_time()))
            return
        document = leases.taken(
            self._new if stored is None else stored.document, self._identity, "", DURATION, micro_time()
        )
        await (self._client.create(document) if stored is None else self._client.replace(document))

    def _is_free(self, stored: StoredLease) -> bool:
        """Raises NameTaken."""
        holder, now = _holder(stored), self._now()
        if not holder or holder == self._identity or (holder.startswith(f"{self._token} ") and not self._taken):
            return True
        sign = (holder, stored.lease.spec.renew_time or "")
        if self._taken or (self._seen is not None and self._seen[0] == holder and self._seen != sign):
            who = leases.holder_for_people(holder) or f"another program ({holder!r:.200})"
            raise NameTaken(
                f"{who} is {self._name} already, and the two would delete each other's containers: choose another"
                " name (--invoker-name, or --id with --kafka) or --namespace, or start both with --ha"
            )
        if self._seen != sign:
            self._seen, self._seen_at = sign, now
            _log.info("waiting up to %d s for the name: %s was %s", _duration(stored), holder, self._name)
        return now - self._seen_at >= _duration(stored)


def _holder(stored: StoredLease) -> str:
    return stored.lease.spec.holder_identity or ""


def _duration(stored: StoredLease) -> int:
    return min(max(1, stored.lease.spec.lease_duration_seconds or DURATION), _LONGEST)


def _is_away(failure: ApiFailure) -> bool:
    """Whether the API server may answer otherwise soon."""
    if failure.denied or failure.reason == "NotReadable":
        return False
    return failure.status in (0, _TIMEOUT) or failure.status >= 500 or failure.wants_pause


class ClaimedWatch:
    """A `ClusterSource` that begins once the name is claimed, and ends with the claim."""

    def __init__(self, claim: NameClaim, watch: ClusterSource, stop: Callable[[str], None]) -> None:
        """`stop` is called with the reason where another process has the name."""
        self._claim = claim
        self._watch = watch
        self._stop = stop
        self._claiming: asyncio.Task[None] | None = None
        self.begun = asyncio.Event()
        """Whether the name is claimed."""

    def start(self) -> None:
        self._claiming = asyncio.get_running_loop().create_task(self._hold(), name="claiming the invoker's name")

    def relist(self, reason: str) -> None:
        if self.begun.is_set():
            self._watch.relist(reason)

    async def close(self) -> None:
        if self._claiming is not None:
            await cancel_all([self._claiming])
        await self._watch.close()
        await self._claim.release()

    async def _hold(self) -> None:
        try:
            await self._claim.take()
            self._watch.start()
            self.begun.set()
            await self._claim.keep()
        except NameTaken as error:
            self._stop(str(error))
        except Exception as error:  # noqa: BLE001  (a fault of ours: nobody would renew the claim, or begin)
            _log.exception("the claim to the name of %s broke", self._claim)
            self._stop(f"internal error in the claim to its name: {error}")
