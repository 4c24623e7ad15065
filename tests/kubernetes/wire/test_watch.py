"""Nodes and pods are followed whatever happens to the watches, and a slow consumer does not slow the reader."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from owmesos.kubernetes.events import (
    ApiDisconnected,
    KubernetesEvent,
    NodeDeleted,
    NodeSeen,
    NodesListed,
    PodDeleted,
    PodSeen,
    PodsListed,
)
from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FileCredentials, read_token
from owmesos.kubernetes.wire.cluster_watch import ClusterWatch
from owmesos.kubernetes.wire.watcher import WatchTimes
from owmesos.system.retry_pause import RetryPause
from tests.fakes.api_server import FakeApiServer, answer, failure, node, pod
from tests.kubernetes.wire.conftest import Access
from tests.waiting import eventually_async

QUICK = WatchTimes(silence=60.0, patience=0.5, pause=lambda: RetryPause(0.02, 0.1, 30.0))
EXPIRED = {"type": "ERROR", "object": failure(410, "Expired", "too old resource version")}
# Python 3.10 takes a TLS transport for unclosed when its peer ends it.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")


class Heard:
    """A watch, and the events that it has delivered."""

    def __init__(self, access: ClusterAccess, times: WatchTimes = QUICK, **options: Any) -> None:
        self.events: list[KubernetesEvent] = []
        self.watch = ClusterWatch(access, self._deliver, times=times, **options)
        self.watch.start()

    def _deliver(self, events: Sequence[KubernetesEvent]) -> None:
        self.events += events

    def of(self, *kinds: type[KubernetesEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]

    async def until(self, kind: type[KubernetesEvent], count: int = 1) -> list[Any]:
        await eventually_async(lambda: len(self.of(kind)) >= count, 20, what=f"{count} {kind.__name__}")
        return self.of(kind)

    async def watching(self, server: FakeApiServer) -> None:
        """Until both watches have begun."""
        await eventually_async(lambda: server.watching == {"nodes": 1, "pods": 1}, what="two watches")

    def pods(self) -> list[tuple[str, str, str]]:
        """Kind, name and phase of each event about a pod."""
        found = self.of(PodSeen, PodDeleted)
        return [(type(each).__name__, each.pod.metadata.name, each.pod.status.phase) for each in found]


Hear = Callable[..., Heard]


@pytest.fixture
async def hear(access: Access) -> AsyncIterator[Hear]:
    heard: list[Heard] = []

    def hear(times: WatchTimes = QUICK, credentials: Any = None, **options: Any) -> Heard:
        heard.append(Heard(access(credentials), times, **options))
        return heard[-1]

    yield hear
    for each in heard:
        await each.watch.close()


# -- what is told


async def test_first_all_is_listed_then_changes_are_told(server: FakeApiServer, hear: Hear) -> None:
    server.put("nodes", node("n1"))
    server.put("pods", pod("p1"))
    heard = hear()
    await heard.watching(server)
    assert [each.metadata.name for each in (await heard.until(NodesListed))[0].nodes] == ["n1"]
    assert [each.metadata.name for each in (await heard.until(PodsListed))[0].pods] == ["p1"]
    server.put("nodes", node("n2"))
    server.put("nodes", node("n2"))
    server.remove("nodes", "n1")
    assert await heard.until(NodeDeleted) == [NodeDeleted("n1")]
    assert [each.node.metadata.resource_version for each in heard.of(NodeSeen)] == ["103", "104"]
    server.put("pods", pod("p2", phase="Running"))
    server.put("pods", pod("p2", phase="Failed"))
    server.remove("pods", "p2")
    await heard.until(PodDeleted)
    assert heard.pods() == [
        ("PodSeen", "p2", "Running"),
        ("PodSeen", "p2", "Failed"),
        ("PodDeleted", "p2", "Failed"),
    ]


async def test_bookmarks_are_asked_for(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    watches = [query for query in server.queries if query.get("watch") == "true"]
    assert {query["allowWatchBookmarks"] for query in watches} == {"true"}
    assert all(270 <= int(query["timeoutSeconds"]) <= 300 for query in watches)


async def test_a_line_may_come_in_pieces(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    large = pod("large")
    large["metadata"]["annotations"] = {"x": "y" * 3_000_000}
    server.put("pods", large)
    server.put("pods", pod("small"))
    await heard.until(PodSeen, 2)
    assert [name for _, name, _ in heard.pods()] == ["large", "small"]


# -- watches that end


async def test_a_watch_that_is_cut_is_resumed_without_a_loss(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    for number in range(5):
        server.put("pods", pod(f"p{number}"))
        server.cut_watches("pods")
        server.put("pods", pod(f"q{number}"))
        await heard.until(PodSeen, 2 * number + 2)
    assert [name for _, name, _ in heard.pods()] == [f"{kind}{number}" for number in range(5) for kind in "pq"]
    assert len(heard.of(PodsListed, NodesListed)) == 2
    assert heard.of(ApiDisconnected) == []


async def test_a_bookmark_says_from_where_to_go_on(
    server: FakeApiServer, hear: Hear, caplog: pytest.LogCaptureFixture
) -> None:
    heard = hear()
    await heard.watching(server)
    version = server.bookmark("pods")
    server.put("nodes", node("n"))  # a version later, of the other resource
    server.cut_watches("pods")
    await eventually_async(lambda: server.asked(f"pods?watch=true&allowWatchBookmarks=true&resourceVersion={version}"))
    assert heard.of(PodSeen) == []
    assert caplog.records == []


async def test_a_silent_watch_is_given_up_and_resumed(server: FakeApiServer, hear: Hear) -> None:
    heard = hear(WatchTimes(silence=0.2, patience=5.0, pause=QUICK.pause))
    await eventually_async(lambda: server.asked("pods?watch") >= 3)
    server.put("pods", pod("p"))
    await heard.until(PodSeen)
    assert heard.of(ApiDisconnected) == []
    assert len(heard.of(PodsListed)) == 1


async def test_watches_that_end_at_once_are_not_resumed_without_pauses(server: FakeApiServer, hear: Hear) -> None:
    class Counted(RetryPause):
        given = 0

        def next(self) -> float:
            Counted.given += 1
            return super().next()

    async def cut() -> bool:
        server.cut_watches("pods")
        return server.asked("pods?watch") >= 5

    hear(WatchTimes(silence=60, pause=lambda: Counted(0.02, 0.1, 30.0)))
    await eventually_async(cut)
    assert Counted.given >= 4


@pytest.mark.parametrize("where", ["in the watch", "in its answer"])
async def test_a_version_that_is_forgotten_is_listed_anew(server: FakeApiServer, hear: Hear, where: str) -> None:
    heard = hear()
    await heard.watching(server)
    server.put("pods", pod("p"))
    await heard.until(PodSeen)
    if where == "in the watch":
        server.send("pods", EXPIRED)
    else:
        server.put("nodes", node("n"))
        server.forget()
    server.cut_watches("pods")
    lists = await heard.until(PodsListed, 2)
    assert [each.metadata.name for each in lists[1].pods] == ["p"]
    await heard.watching(server)
    server.put("pods", pod("q"))
    await heard.until(PodSeen, 2)
    assert len(heard.of(NodesListed)) == 1
    assert heard.of(ApiDisconnected) == []


async def test_what_came_before_an_error_in_the_watch_is_told(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    server.put("pods", pod("p"))
    server.send("pods", {"type": "ERROR", "object": failure(500, "InternalError", "etcd is slow")})
    server.cut_watches("pods")
    server.put("pods", pod("q"))
    await heard.until(PodSeen, 2)
    assert len(heard.of(PodsListed)) == 1


async def test_a_busy_server_is_asked_again_when_it_says(server: FakeApiServer, hear: Hear) -> None:
    heard = hear(WatchTimes(silence=60, patience=5.0, pause=QUICK.pause))
    await heard.watching(server)
    times: list[float] = []

    def busy(request: Any) -> Any:
        times.append(time.monotonic())
        return answer(429, failure(429, "TooManyRequests", "later"), Retry_After="0.4")(request)

    server.answers.append(("pods?watch", busy))
    server.cut_watches("pods")
    await eventually_async(lambda: times)
    await heard.watching(server)
    assert time.monotonic() - times[0] >= 0.4
    assert heard.of(ApiDisconnected) == []


async def test_a_watch_that_the_server_ends_for_a_while_is_opened_again_when_it_says(
    server: FakeApiServer, hear: Hear
) -> None:
    heard = hear(WatchTimes(silence=60, patience=5.0, pause=QUICK.pause))
    await heard.watching(server)
    asked = server.asked("pods?watch")
    ended = time.monotonic()
    server.send("pods", {"type": "ERROR", "object": failure(429, "TooManyRequests", "later", retryAfterSeconds=1)})
    await eventually_async(lambda: server.asked("pods?watch") > asked)
    assert time.monotonic() - ended >= 1.0
    assert heard.of(ApiDisconnected) == []


async def test_a_list_goes_on_where_the_server_wanted_a_pause(server: FakeApiServer, hear: Hear) -> None:
    for number in range(4):
        server.put("pods", pod(f"p{number}"))
    server.page_limit = 2
    server.answers.append(("continue=2", answer(429, failure(429, "TooManyRequests", "later"), Retry_After="0.2")))
    heard = hear()
    (listed,) = await heard.until(PodsListed)
    assert len(listed.pods) == 4
    assert server.asked("pods?limit") == 3
    assert heard.of(ApiDisconnected) == []


# -- a cluster that is lost


async def test_a_server_that_stays_away_is_told_once_and_listed_anew(server: FakeApiServer, hear: Hear) -> None:
    server.put("pods", pod("p"))
    heard = hear()
    await heard.watching(server)
    await server.stop()
    lost = await heard.until(ApiDisconnected)
    asked = len(server.requests)
    server.put("pods", pod("meanwhile"))
    await server.start()
    lists = await heard.until(PodsListed, 2)
    await heard.until(NodesListed, 2)
    assert lost == [ApiDisconnected(f"cannot connect to {server.url}: Connection refused")]
    assert heard.of(ApiDisconnected) == lost
    assert len(server.requests) > asked
    assert [each.metadata.name for each in lists[1].pods] == ["p", "meanwhile"]
    await heard.watching(server)
    server.put("pods", pod("q"))
    await heard.until(PodSeen)


async def test_a_short_outage_is_not_told(server: FakeApiServer, hear: Hear) -> None:
    heard = hear(WatchTimes(silence=60, patience=30.0, pause=QUICK.pause))
    await heard.watching(server)
    await server.stop()
    server.put("pods", pod("meanwhile"))
    await server.start()
    await heard.until(PodSeen)
    assert heard.of(ApiDisconnected) == []
    assert len(heard.of(PodsListed)) == 1


async def test_a_missing_right_is_told_and_tried_again(server: FakeApiServer, hear: Hear) -> None:
    words = 'pods is forbidden: User "me" cannot list resource "pods" in API group "" at the cluster scope'
    for _ in range(3):
        server.answers.append(("/api/v1/pods?limit", answer(403, failure(403, "Forbidden", words))))
    heard = hear()
    await heard.until(PodsListed)
    await heard.watching(server)
    lost = heard.of(ApiDisconnected)
    assert "RBAC forbids me to list pods: give it a ClusterRole" in lost[0].reason
    kinds = [type(event) for event in heard.events]
    assert kinds.index(ApiDisconnected) < kinds.index(PodsListed)
    assert NodesListed in kinds[max(at for at, kind in enumerate(kinds) if kind is ApiDisconnected) :]


async def test_a_watch_that_is_forbidden_loses_the_cluster(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    words = 'pods is forbidden: User "me" cannot watch resource "pods" in API group "" at the cluster scope'
    server.answers += [("pods?watch", answer(403, failure(403, "Forbidden", words)))] * 1000
    server.cut_watches("pods")
    assert "to watch pods" in (await heard.until(ApiDisconnected))[0].reason


async def test_a_token_that_is_replaced_is_used_for_the_next_watch(
    server: FakeApiServer, hear: Hear, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text("old")
    server.tokens = {"old"}
    heard = hear(credentials=FileCredentials(lambda: Credential(read_token(file)), "a token"))
    await heard.watching(server)
    file.write_text("new")
    server.tokens = {"new"}
    server.cut_watches()
    await eventually_async(lambda: server.headers[-1]["Authorization"] == "Bearer new")
    await heard.watching(server)
    server.put("pods", pod("p"))
    await heard.until(PodSeen)
    assert heard.of(ApiDisconnected) == []


async def test_a_relist_is_done_when_it_is_asked_for(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    heard.watch.relist("a sum is wrong")
    await heard.until(NodesListed, 2)
    await heard.until(PodsListed, 2)
    assert heard.of(ApiDisconnected) == []


# -- what cannot be read


@pytest.mark.parametrize(
    "line",
    [
        {"type": "MODIFIED", "object": pod("bad") | {"spec": {"containers": [{"resources": {"requests": [1]}}]}}},
        {"type": "MODIFIED", "object": {"metadata": {"name": ["x"]}}},
        {"type": "MODIFIED", "object": {}},
        {"type": "MODIFIED"},
        {"type": "ERROR", "object": 3},
        {"object": {}},
        "not JSON",
        "",
        '{"type": "MODIFIED", "object": {"metadata": {"name": "\\ud800"}}}',
        {"type": "NEWER", "object": pod("p")},
    ],
)
async def test_a_line_that_cannot_be_read_costs_only_itself(
    server: FakeApiServer, hear: Hear, line: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard = hear()
    await heard.watching(server)
    server.send("pods", line)
    server.send("pods", line)
    server.put("pods", pod("good"))
    await heard.until(PodSeen)
    assert heard.pods() == [("PodSeen", "good", "Pending")]
    assert server.asked("pods?watch") == 1
    assert sum(record.levelname == "WARNING" for record in caplog.records) <= 1


# -- slow consumers, and the end


def test_a_consumer_that_blocks_does_not_slow_the_reader(access: Access, tmp_path: Path) -> None:
    """The consumer has an event loop of its own, which stands still."""
    released, done = threading.Event(), threading.Event()
    events: list[KubernetesEvent] = []

    def deliver(batch: Sequence[KubernetesEvent]) -> None:
        released.wait(30)
        events.extend(batch)

    async def consume(server_access: ClusterAccess) -> None:
        watch = ClusterWatch(server_access, deliver, times=QUICK)
        watch.start()
        await eventually_async(lambda: any(isinstance(each, PodDeleted) for each in events), 30)
        await watch.close()
        done.set()

    async def serve() -> None:
        server = await FakeApiServer(None).start()
        server_access = access(server=server.url)
        thread = threading.Thread(target=lambda: asyncio.run(consume(server_access)))
        thread.start()
        await eventually_async(lambda: server.watching == {"nodes": 1, "pods": 1})
        for number in range(5_000):
            server.put("pods", pod(f"p{number % 10}", phase=str(number)))
        server.put("pods", pod("last"))
        last = server.remove("pods", "last")
        server.cut_watches("pods")
        await eventually_async(lambda: server.asked(f"resourceVersion={last}&"), 30, what="that all was read")
        assert not done.is_set()
        released.set()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)
        await server.stop()

    asyncio.run(serve())
    assert len(events) < 1_500
    phases = {each.pod.metadata.name: each.pod.status.phase for each in events if isinstance(each, PodSeen)}
    assert {phases[f"p{number}"] for number in range(10)} == {str(4_990 + number) for number in range(10)}


async def test_a_consumer_that_fails_hears_what_comes_next(access: Access, server: FakeApiServer) -> None:
    heard: list[KubernetesEvent] = []
    errors: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))

    def deliver(events: Sequence[KubernetesEvent]) -> None:
        heard.extend(events)
        raise ZeroDivisionError

    watch = ClusterWatch(access(), deliver, times=QUICK, batch=1)
    watch.start()
    await eventually_async(lambda: len(heard) == 2)
    assert {type(each) for each in errors} == {ZeroDivisionError}
    await watch.close()


async def test_after_close_nothing_is_told_and_no_thread_runs(server: FakeApiServer, hear: Hear) -> None:
    heard = hear()
    await heard.watching(server)
    await heard.watch.close()
    told = len(heard.events)
    server.put("pods", pod("p"))
    heard.watch.relist("too late")
    await heard.watch.close()
    assert len(heard.events) == told
    assert not any(thread.name == "kubernetes-watch" for thread in threading.enumerate())
    await eventually_async(lambda: server.watching == {"nodes": 0, "pods": 0})


async def test_a_watch_that_never_began_is_closed(access: Access) -> None:
    await ClusterWatch(access(), lambda _: None).close()
