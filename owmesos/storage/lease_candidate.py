"""This process's part in the election by a Lease of Kubernetes (`lease_election`): its requests, in a thread of their
own, since what the process decides may take a while."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TypeAlias

from owmesos.kubernetes import leases
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.lease_client import ANSWER, LeaseClient, StoredLease, micro_time
from owmesos.storage import election, lease_election
from owmesos.storage.election import CandidateListener, Leader, shown
from owmesos.storage.election_thread import ElectionThread
from owmesos.storage.lease_election import DURATION, LeaseElection, LeaseEvent, SeenLease
from owmesos.system.lease import Lease, clock
from owmesos.system.tasks import is_set_within

_log = logging.getLogger("owmesos.election")
_CONFLICT = 409
_FINAL = ("CertificateInvalid", "Forbidden", "NoCredentials", "NotFound", "Unauthorized")
"""Why a first request failed where another would, too."""
_REQUESTS = (
    lease_election.ReadLease,
    lease_election.TakeLease,
    lease_election.KeepLease,
    lease_election.AnnounceWait,
)
_Request: TypeAlias = (
    lease_election.ReadLease | lease_election.TakeLease | lease_election.KeepLease | lease_election.AnnounceWait
)


class LeaseCandidate(ElectionThread):
    """Takes part from `start` to `close`. `str` of it names the Lease."""

    def __init__(
        self,
        access: ClusterAccess,
        namespace: str,
        invoker: str,
        admin: str,
        lease: Lease,
        listener: CandidateListener,
    ) -> None:
        """`admin`: where others reach this process's admin API. `lease` is renewed while this process leads; its
        session is DURATION. Raises InvalidInput for an `invoker` that can have no Lease."""
        super().__init__(lease, listener)
        self._access = access
        self._new = leases.new_lease(namespace, invoker)
        self._where = (namespace, leases.lease_name(invoker))
        self._admin = admin
        self._identity = leases.holder_name(secrets.token_hex(4), os.getpid(), socket.gethostname())
        self._election = LeaseElection(self._identity)
        self._stored: StoredLease | None = None
        self._failed: str | None = None  # why the last request had no answer
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._ready = threading.Event()

    def __str__(self) -> str:
        return f"the Lease {'/'.join(self._where)}"

    def start(self) -> None:
        self._thread.start()
        self._ready.wait()

    def close(self) -> None:
        self._ended = True
        self._lease.end()
        if self._loop is not None and self._closing is not None:
            with suppress(RuntimeError):  # its loop is closed
                self._loop.call_soon_threadsafe(self._closing.set)
        self._join(4 * ANSWER)

    # -- the thread

    def _take_part(self) -> None:
        try:
            asyncio.run(self._elect())
        finally:
            self._ready.set()

    async def _elect(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        async with LeaseClient(self._access, *self._where) as client:
            while not self._ended:
                await is_set_within(self._closing, max(0.0, self._election.next_wake() - clock()))
                if not self._ended:
                    await self._handle(client, election.TimePassed())
            if self._closing.is_set():
                with suppress(ApiRequestFailed):  # then it runs out
                    await self._leave(client)

    async def _handle(self, client: LeaseClient, event: LeaseEvent) -> None:
        events = deque([event])
        while events and not self._ended:
            for effect in self._election.handle(events.popleft(), clock()):
                if isinstance(effect, _REQUESTS):
                    answer = await self._ask(client, effect)
                    events += [answer] if answer is not None else []
                elif isinstance(effect, election.Depose):
                    self._end(f"{self}: {effect.reason}")
                else:
                    self._tell(effect)
            self._lease.others = self._election.others(clock())

    def _named(self, leader: Leader | None) -> Leader | None:
        if leader is None:
            return None
        return Leader(shown(leases.holder_for_people(leader.holder) or leader.holder), leader.admin)

    # -- requests

    async def _ask(self, client: LeaseClient, effect: _Request) -> LeaseEvent | None:
        """None where there is no answer: the next TimePassed asks again."""
        began, event = clock(), None
        try:
            event = await self._asked(client, effect, began)
        except ApiRequestFailed as error:
            if error.failure.status == _CONFLICT:
                event = lease_election.LeaseChanged()
            else:
                self._has_failed(error.failure, writes=not isinstance(effect, lease_election.ReadLease))
                return None
        if self._failed is not None:
            self._failed = None
            _log.info("%s: the API server answers again", self)
        return event

    async def _asked(self, client: LeaseClient, effect: _Request, began: float) -> LeaseEvent:
        """Raises ApiRequestFailed."""
        if isinstance(effect, lease_election.ReadLease):
            self._stored = await client.read()
            return lease_election.LeaseSeen(_seen(self._stored))
        if isinstance(effect, lease_election.TakeLease) and effect.version is None:
            document = leases.taken(self._new, self._identity, self._admin, DURATION, micro_time())
            self._stored = await client.create(document)
            _log.info("%s was made", self)
            return lease_election.LeaseTaken(seen_lease(self._stored), began)
        assert self._stored is not None
        before = self._stored.document
        if isinstance(effect, lease_election.AnnounceWait):
            waits = f"{self._identity} at {micro_time()}"
            self._stored = await client.replace(leases.announced(before, waits))
            return lease_election.LeaseSeen(_seen(self._stored))
        if isinstance(effect, lease_election.TakeLease):
            document = leases.taken(before, self._identity, self._admin, DURATION, micro_time())
        else:
            document = leases.kept(before, micro_time())
        self._stored = await client.replace(document)
        return lease_election.LeaseTaken(seen_lease(self._stored), began)

    async def _leave(self, client: LeaseClient) -> None:
        """The next process need not wait: our name is taken out. Of a Lease that was made anew, and by which nobody led
        yet, it has to. Raises ApiRequestFailed."""
        for last in (False, True):
            stored = await client.read()
            if stored is None:
                return
            if stored.lease.spec.holder_identity == self._identity and self._election.leading:
                document = leases.released(stored.document, micro_time())
            elif leases.waiting_of(stored.document).startswith(self._identity):
                document = leases.announced(stored.document, None)
            else:
                return
            try:
                await client.replace(document)
            except ApiRequestFailed as error:
                if error.failure.status != _CONFLICT or last:
                    raise
            else:
                return

    def _has_failed(self, failure: ApiFailure, *, writes: bool) -> None:
        hopeless = failure.reason in _FINAL and (not self._election.known or (writes and failure.reason == "Forbidden"))
        if hopeless and not self._election.leading:
            self._end(f"{self} cannot be used: {failure.message}{_ADVICE if failure.reason == 'Forbidden' else ''}")
        elif failure.message != self._failed:
            self._failed = failure.message
            _log.warning("%s cannot be read or written, so who leads is not known: %s", self, failure.message)


_ADVICE = "; see deploy/kubernetes/rbac.yaml"


def _seen(stored: StoredLease | None) -> SeenLease | None:
    return seen_lease(stored) if stored is not None else None


def seen_lease(stored: StoredLease) -> SeenLease:
    """What the election has to know of it."""
    metadata, spec = stored.lease.metadata, stored.lease.spec
    holder = spec.holder_identity or ""
    annotations = metadata.annotations
    ours = leases.holder_for_people(holder) is not None
    return SeenLease(
        version=metadata.resource_version,
        holder=holder,
        duration=spec.lease_duration_seconds or DURATION,
        renewed=spec.renew_time or "",
        admin=(annotations.admin if annotations is not None else "") if ours else None,
        waiting=annotations.waiting if annotations is not None else "",
    )
