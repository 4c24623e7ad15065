"""Lists and watches: what comes, in which order, and where a watch can be resumed."""

from __future__ import annotations

import pytest

from tests.kubernetes.conformance.cluster import Cluster, Program, Seen
from tests.kubernetes.conformance.pods import deleted, in_phase, pod, pod_of, ready, terminating

NAMES = [f"pod-{number}" for number in range(6)]


def kinds(seen: list[Seen], name: str) -> list[str]:
    return [each.type for each in seen if each.pod is not None and each.pod.metadata.name == name]


async def test_a_pods_life_comes_in_order(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        await cluster.post(pod("one"))
        await watch.until(ready("one"))
        await cluster.delete("one")
        await watch.until(deleted("one"))
        types = kinds([*watch.seen], "one")
        versions = [int(each.resource_version) for each in watch.seen]
    assert types[0] == "ADDED"
    assert types[-1] == "DELETED"
    assert set(types[1:-1]) == {"MODIFIED"}
    assert versions == sorted(versions)


async def test_a_watch_from_a_lists_version_shows_what_came_after_it(cluster: Cluster) -> None:
    await cluster.post(pod("before"), Program(ends_after=0))
    async with cluster.watch() as watch:
        await watch.until(in_phase("before", "Succeeded"))
    page = await cluster.list()
    await cluster.post(pod("after"))
    async with cluster.watch(page.resource_version) as watch:
        await watch.until(ready("after"))
        assert "ADDED" not in kinds([*watch.seen], "before")
        assert kinds([*watch.seen], "after")[0] == "ADDED"
    assert [each.metadata.name for each in page.pods] == ["before"]


async def test_a_watch_without_a_version_shows_first_what_there_is(cluster: Cluster) -> None:
    await cluster.post(pod("before"))
    async with cluster.watch() as watch:
        first = await watch.until(lambda seen: seen.pod is not None)
    assert (first.type, pod_of(first).metadata.name) == ("ADDED", "before")


async def test_resumed_at_any_event_it_misses_and_repeats_nothing(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        for name in NAMES:
            await cluster.post(pod(name))
        for name in NAMES:
            await watch.until(ready(name))
            await cluster.delete(name)
            await watch.until(deleted(name))
        whole = [each.resource_version for each in watch.seen]
    for place in range(0, len(whole) - 1, 7):
        async with cluster.watch(whole[place]) as resumed:
            await resumed.until(lambda seen: seen.resource_version == whole[-1])
            assert [each.resource_version for each in resumed.seen] == whole[place + 1 :]


async def test_initial_events_end_with_a_bookmark(cluster: Cluster) -> None:
    for name in NAMES:
        await cluster.post(pod(name))
    async with cluster.watch(initial=True) as watch:
        end = await watch.until(lambda seen: seen.initial_events_end)
        first = [*watch.seen][: watch.seen.index(end)]
        assert end.type == "BOOKMARK"
        assert {pod_of(each).metadata.name for each in first if each.type == "ADDED"} == {*NAMES}
        await cluster.delete(NAMES[0])
        changed = await watch.until(terminating(NAMES[0]))
        assert changed in watch.seen[watch.seen.index(end) :]


# Python 3.10 says so of a connection that its server closed, whatever its owner does.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_a_watch_ends_with_its_api_server_and_cannot_be_resumed_from_before_it(cluster: Cluster) -> None:
    async with cluster.watch() as watch:
        posted = await cluster.post(pod("before"))
        await watch.until(ready("before"))
        await cluster.restart_api_server()
        await watch.ended()
    assert all(each.type != "ERROR" for each in watch.seen)  # it ends without a word
    async with cluster.watch(posted.metadata.resource_version) as resumed:
        said = await resumed.until(lambda seen: seen.type == "ERROR")
        await resumed.ended()
    assert said.failure is not None
    assert (said.failure.status, said.failure.reason) == (410, "Expired")
    page = await cluster.list()
    assert [each.metadata.name for each in page.pods] == ["before"]
    async with cluster.watch(page.resource_version) as fresh:
        await cluster.delete("before")
        await fresh.until(deleted("before"))


async def test_pages_are_of_one_state(cluster: Cluster) -> None:
    for name in NAMES:
        await cluster.post(pod(name))
    first = await cluster.list(limit=4)
    await cluster.post(pod("pod-later"))
    second = await cluster.list(limit=4, more=first.more)
    assert [each.metadata.name for each in (*first.pods, *second.pods)] == NAMES
    assert first.resource_version == second.resource_version
    assert second.more == ""
