"""Creates and deletes pods, as the factory wants it: many at once, those of one pod one after another.

What becomes of a request goes back to the factory as an event, and it alone decides whether to ask again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from owmesos.kubernetes.effects import DeletePod, PostPod
from owmesos.kubernetes.events import ApiFailure, DeleteRejected, KubernetesEvent, PodCreated, PostRejected
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.service.kubernetes.api_pauses import ApiPauses
from owmesos.system.clock import process_time
from owmesos.system.tasks import cancel_all, keep

AT_ONCE = 32
"""Most requests under way. kube-apiserver took 165 to 310 pods a second so."""
_LAST_ANSWERS = 5.0  # seconds; for requests at the end
_WITHDRAWN = ApiFailure(0, "Withdrawn", "it was not wanted any more before it could be sent", certain=True)
_log = logging.getLogger("owmesos.service")
PodWrite = PostPod | DeletePod


class PodApi(Protocol):
    """Every method raises ApiRequestFailed."""

    async def post_pod(self, namespace: str, body: Mapping[str, Any]) -> Pod: ...

    async def delete_pod(self, namespace: str, name: str, *, uid: str | None, grace: int) -> None: ...


class PodOutbox:
    """`answered` gets PodCreated, PostRejected and DeleteRejected; of a deletion that is taken, the watch tells."""

    def __init__(
        self, api: PodApi, namespace: str, answered: Callable[[KubernetesEvent], None], *, at_once: int = AT_ONCE
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._answered = answered
        self.pauses = ApiPauses(at_once)
        self._waiting: dict[str, deque[PodWrite]] = {}  # by pod, without those under way
        self._ready: deque[str] = deque()  # pods with a request that may be sent
        self._under_way: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.counts: Counter[tuple[str, str]] = Counter()
        """Requests that were answered, by verb and `ok`, or what the API server called the error."""

    def send(self, request: PodWrite) -> None:
        """Returns at once."""
        requests = self._waiting.setdefault(request.name, deque())
        requests.append(request)
        if len(requests) == 1 and request.name not in self._under_way:
            self._ready.append(request.name)
        self._fill()

    def withdraw(self, name: str) -> None:
        """If the PostPod of this pod was not sent yet, it is not sent any more; requests after it are."""
        requests = self._waiting.get(name)
        if name in self._under_way or not requests or not isinstance(requests[0], PostPod):
            return
        requests.popleft()
        if not requests:
            del self._waiting[name]
            self._ready.remove(name)
        asyncio.get_running_loop().call_soon(self._answered, PostRejected(name, _WITHDRAWN))

    async def close(self) -> None:
        """What was asked for is sent, and its answer waited for, for some seconds."""
        loop = asyncio.get_running_loop()
        until = loop.time() + _LAST_ANSWERS
        while (self._tasks or self._waiting) and loop.time() < until:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=until - loop.time())
            else:
                await asyncio.sleep(min(until - loop.time(), self.pauses.until - process_time()))
        if self._timer is not None:
            self._timer.cancel()
        await cancel_all(self._tasks)

    def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        pause = self.pauses.until - process_time()
        if pause > 0:
            if self._timer is None:
                self._timer = loop.call_later(pause, self._go_on)
            return
        while self._ready and len(self._under_way) < self.pauses.limit:
            name = self._ready.popleft()
            requests = self._waiting[name]
            request = requests.popleft()
            if not requests:
                del self._waiting[name]
            self._under_way.add(name)
            keep(loop.create_task(self._carry_out(request), name=f"pod {name}"), self._tasks)

    def _go_on(self) -> None:
        self._timer = None
        self._fill()

    async def _carry_out(self, request: PodWrite) -> None:
        verb = "create" if isinstance(request, PostPod) else "delete"
        try:
            event = await self._asked(request)
            self.counts[verb, "ok"] += 1
            self.pauses.done(process_time())
        except ApiRequestFailed as error:
            event = self._rejected(request, error.failure)
            self.counts[verb, error.failure.reason] += 1
        except Exception as error:  # noqa: BLE001  (a fault of ours: what was asked for may have happened)
            _log.exception("the request to %s pod %s broke", verb, request.name)
            event = self._rejected(request, ApiFailure(0, "InternalError", str(error), certain=False))
            self.counts[verb, "InternalError"] += 1
        finally:
            self._under_way.discard(request.name)
            if request.name in self._waiting:
                self._ready.append(request.name)
        self._fill()
        if event is not None:
            self._answered(event)

    async def _asked(self, request: PodWrite) -> KubernetesEvent | None:
        if isinstance(request, PostPod):
            return PodCreated(await self._api.post_pod(self._namespace, request.body), request.name)
        await self._api.delete_pod(self._namespace, request.name, uid=request.uid, grace=request.grace)
        return None

    def _rejected(self, request: PodWrite, failure: ApiFailure) -> KubernetesEvent:
        if failure.wants_pause:
            self.pauses.wanted(failure, process_time())
        kind = PostRejected if isinstance(request, PostPod) else DeleteRejected
        return kind(request.name, failure)
