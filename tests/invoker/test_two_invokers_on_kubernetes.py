"""Two invokers on one real Kubernetes, each of which needs what the other has."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from benchmarks.kubernetes_invokers import INVOKERS, NODE_MEMORY, RoomWatch, together
from tests.fixtures.kubernetes import KubernetesFactory, namespace_in
from tests.kubernetes.conformance.cluster import Seen
from tests.kubernetes.objects import pod

COUNT = 60


def test_the_watch_sees_a_moment_at_which_too_much_is_given_away() -> None:
    room = RoomWatch({"n1": 1_000_000, "n2": 1_000_000})

    def see(name: str, node: str, phase: str = "Running", kind: Literal["MODIFIED", "DELETED"] = "MODIFIED") -> None:
        shown = pod(name, on=node, phase=phase, memory="600Mi")
        room.see(Seen(kind, 0.0, "1", shown))

    see("a", "n1")
    see("b", "")
    see("c", "n2")
    see("a", "n1", phase="Succeeded")
    see("b", "n1")
    see("c", "n2", kind="DELETED")
    see("d", "n2")
    assert room.over == []
    see("e", "n1")
    assert room.over == ["n1 has 1000000 and gives 1200000 with e"]
    assert room.used == {"n1", "n2"}


@pytest.mark.kubernetes
@pytest.mark.timeout(300)
async def test_neither_gives_away_what_the_other_has_and_both_go_on(
    kubernetes_clusters: KubernetesFactory, tmp_path: Path
) -> None:
    cluster = kubernetes_clusters(nodes=3, memory=NODE_MEMORY)
    with namespace_in(cluster, "two") as namespace:
        found = await together(cluster, namespace, tmp_path, COUNT)
    assert found.over == []
    assert found.rejected == []
    assert found.left == []
    assert found.nodes_used == {*cluster.nodes}
    for name in INVOKERS:
        invoker = found.invokers[name]
        assert (len(invoker.times), invoker.wrong, invoker.counts["failed"]) == (COUNT, 0, 0), name
        assert invoker.counts["evicted"] > 0, name  # there was not room for all
