"""What a case may ask of a cluster, simulated or real.

Time is the cluster's: on a simulated one it passes only while a case waits, in `Watch.until` or `sleep`. Pods are in
one namespace, which is the case's own. Bodies are Kubernetes's JSON; what comes back is decoded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.messages import Node, Pod

CPUS, MEMORY, PODS = 4, "8Gi", 110
"""What each node of a case's cluster can allocate."""


class ApiError(Exception):
    """The API server did not do it; `failure.status` is HTTP's."""

    def __init__(self, failure: ApiFailure) -> None:
        super().__init__(f"{failure.status} {failure.reason}: {failure.message}")
        self.failure = failure


@dataclass(frozen=True)
class Program:
    """What each container of a pod does. It is ready as soon as it runs.

    There is every image but those of a registry below `.invalid`.
    """

    ends_after: float | None = None  # seconds; None: it runs until it is stopped
    exit_code: int = 0
    ignores_sigterm: bool = False
    exceeds_memory: bool = False  # its limit, which the pod must have
    stdout: Sequence[str] = ()  # lines that it writes at its start
    stderr: Sequence[str] = ()


@dataclass(frozen=True)
class Seen:
    """One event of a watch. Of ERROR there is a `failure` and no pod."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    at: float  # the cluster's seconds
    resource_version: str
    pod: Pod | None = None
    failure: ApiFailure | None = None
    initial_events_end: bool = False  # of a BOOKMARK that ends what `initial` asked for


class Watch(Protocol):
    """It ends with its `async with`, or when the API server ends it."""

    @property
    def seen(self) -> Sequence[Seen]:
        """All so far, in order."""
        ...

    async def until(self, found: Callable[[Seen], bool], timeout: float = 30.0) -> Seen:
        """The first event that is meant, also of those seen. Raises AssertionError at the timeout or its end."""
        ...

    async def ended(self, timeout: float = 30.0) -> None:
        """Returns when the API server has ended the watch, with an ERROR or without a word."""
        ...


@dataclass(frozen=True)
class Page:
    """`more`: the token for the next page, empty at the last one."""

    pods: tuple[Pod, ...]
    resource_version: str
    more: str = ""


class Cluster(Protocol):
    """One that runs. Its nodes are ready, with nothing else on them, when a case gets it."""

    nodes: tuple[str, ...]  # three names

    def now(self) -> float:
        """Seconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """For a case that says that nothing happens meanwhile."""
        ...

    # -- the API; each may raise ApiError

    async def post(self, pod: Mapping[str, Any], program: Program = Program()) -> Pod: ...

    async def bind(self, name: str, node: str) -> None:
        """POST to `pods/NAME/binding`."""
        ...

    async def get(self, name: str) -> Pod: ...

    async def list(self, *, limit: int | None = None, more: str = "") -> Page: ...

    async def delete(self, name: str, *, uid: str | None = None, grace: int | None = None) -> None: ...

    async def evict(self, name: str) -> None:
        """POST to `pods/NAME/eviction`."""
        ...

    async def log(
        self, name: str, *, since: str | None = None, timestamps: bool = False, limit_bytes: int | None = None
    ) -> str:
        """Of its only container. `since` is RFC 3339."""
        ...

    def watch(
        self, since: str = "", *, bookmarks: bool = False, initial: bool = False
    ) -> AbstractAsyncContextManager[Watch]:
        """The namespace's pods after that resourceVersion; `initial`: first what there is (`sendInitialEvents`)."""
        ...

    async def node(self, name: str) -> Node: ...

    async def cordon(self, node: str, unschedulable: bool = True) -> None: ...

    def runtime_class(self, overhead: Mapping[str, str]) -> AbstractAsyncContextManager[str]:
        """The name of a new one, whose pods have that overhead."""
        ...

    # -- Leases, as JSON

    async def get_lease(self, name: str) -> dict[str, Any]: ...

    async def post_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]: ...

    async def put_lease(self, lease: Mapping[str, Any]) -> dict[str, Any]: ...

    async def delete_lease(self, name: str) -> None: ...

    # -- what befalls it

    async def kill_node(self, name: str) -> None:
        """The kubelet is killed, and its containers with it; nobody says so."""
        ...

    async def start_node(self, name: str) -> None:
        """After `kill_node`; returns when the node is ready."""
        ...

    async def delete_node(self, name: str) -> None:
        """The Node object."""
        ...

    async def restart_api_server(self) -> None:
        """Watches end, and no watch can resume from before it any more (410)."""
        ...
