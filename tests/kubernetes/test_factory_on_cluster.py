"""The factory on the simulated cluster: single histories, among them those that once went wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.core.pool.settings import PoolSettings
from owmesos.kubernetes.pod_manifest import INVOKER
from owmesos.simulator.kubernetes.behaviours import PodBehaviour
from owmesos.simulator.kubernetes.objects import Document, changed, with_metadata
from owmesos.simulator.world import Fate
from tests.kubernetes.virtual_cluster import NAMESPACE, OTHERS, VirtualKubernetes
from tests.simulator.kubernetes.scene import pinned


def ready(**nodes: int) -> VirtualKubernetes:
    cluster = VirtualKubernetes(nodes)
    cluster.wait(0.1)
    return cluster


class TestRuns:
    def test_get_containers_and_those_wait_for_whom_there_is_no_room(self) -> None:
        cluster = ready(n0=512)
        runs = [cluster.run(f"a{number}", 256, lasts=5.0) for number in range(3)]
        cluster.wait(1.0)
        assert list(cluster.given) == runs[:2]
        assert cluster.driven.requests["post"] == 2
        cluster.wait(30.0)
        assert [cluster.ended.get(each, "not yet") for each in runs] == [None] * 3
        cluster.wait(700.0)
        assert cluster.our_pods() == []
        cluster.check_quiet()

    def test_end_with_the_node_that_they_are_on(self) -> None:
        cluster = ready(n0=512, n1=512)
        run_id = cluster.run("a", 256)
        cluster.wait(1.0)
        node = cluster.our_pods()[0]["spec"]["nodeName"]
        cluster.world.power_off(node)
        cluster.wait(60.0)
        assert cluster.ended[run_id] == f"node {node} is silent"
        again = cluster.run("a", 256, lasts=1.0)
        cluster.wait(10.0)
        assert cluster.ended[again] is None

    def test_of_a_process_that_was_killed_leave_orphans_that_are_deleted(self) -> None:
        cluster = ready(n0=512)
        cluster.run("a", 256)
        cluster.wait(1.0)
        cluster.crash()
        assert len(cluster.our_pods()) == 1
        cluster.wait(5.0)
        assert cluster.our_pods() == []
        cluster.check_quiet()


class TestAWebhook:
    def test_that_once_added_more_than_any_node_has_hinders_no_start_once_it_is_mended(self) -> None:
        cluster = ready(n0=1024, n1=1024)
        of_api = cluster.world.api.webhooks
        of_api.append(_with_a_huge_sidecar)
        runs = [cluster.run(f"a{number}", 256, lasts=1.0) for number in range(3)]
        cluster.wait(30.0)
        posts = cluster.driven.requests["post"]
        cluster.wait(20.0)
        assert (cluster.given, cluster.driven.requests["post"]) == ({}, posts), "what fits nowhere is posted no more"
        of_api.clear()
        cluster.wait(50.0)
        assert [cluster.ended.get(each, "not yet") for each in runs] == [None] * 3
        cluster.wait(700.0)
        cluster.check_quiet()


def _with_a_huge_sidecar(pod: Document) -> Document:
    sidecar = {"name": "proxy", "image": "proxy:1", "resources": {"requests": {"memory": "4Gi"}}}
    return {**pod, "spec": {**pod["spec"], "containers": [*pod["spec"]["containers"], sidecar]}}


class TestABusyApiServer:
    def test_is_asked_again_when_it_says_and_no_start_is_lost_or_made_twice(self) -> None:
        cluster = ready(n0=1024)
        cluster.driven.throttle(20.0, retry_after=7.0)
        runs = [cluster.run(f"a{number}", 256, lasts=1.0) for number in range(3)]
        cluster.wait(20.0)
        assert (cluster.driven.requests["post"], cluster.created) == (9, {})
        cluster.wait(7.0)
        assert [cluster.ended.get(each, "not yet") for each in runs] == [None] * 3
        assert len(cluster.created) == 3

    def test_is_told_of_no_start_that_waited_too_long(self) -> None:
        """Its run gets another one."""
        cluster = ready(n0=1024)
        cluster.driven.throttle(70.0, retry_after=60.0)
        run_id = cluster.run("a", 256, lasts=1.0)
        cluster.wait(150.0)
        assert cluster.ended[run_id] is None
        assert len(cluster.created) == 1

    def test_ends_what_runs_there_late_and_only_once(self) -> None:
        cluster = ready(n0=256)
        cluster.run("a", 256, lasts=1.0)
        cluster.wait(2.0)
        cluster.driven.throttle(20.0, retry_after=7.0)
        run_id = cluster.run("b", 256, lasts=1.0)
        cluster.wait(15.0)
        assert len(cluster.our_pods()) == 1
        cluster.wait(20.0)
        assert cluster.ended[run_id] is None
        assert len(cluster.created) == 2


class TestWatches:
    def test_that_stall_make_no_room_where_there_is_none(self) -> None:
        """A neighbour took the room while nothing was heard of it: kube-scheduler says so, and the run waits on."""
        cluster = ready(n0=512)
        for watch in cluster.driven.open_watches:
            watch.stall(3.0)
        cluster.neighbour("p", 512)
        cluster.wait(1.0)
        run_id = cluster.run("a", 256, lasts=1.0)
        cluster.wait(10.0)
        assert run_id not in cluster.ended
        assert cluster.driven.requests["post"] == 1
        cluster.neighbours_leave()
        cluster.wait(10.0)
        assert cluster.ended[run_id] is None


class TestHistoriesThatFailed:
    def test_a_pod_that_could_not_be_created_is_not_asked_for_again_once_its_room_is_gone(self) -> None:
        cluster = ready(n0=512)
        cluster.driven.lose_api_server()
        cluster.run("a", 256, lasts=1.0)
        cluster.neighbour("p", 512)
        cluster.wait(2.0)
        cluster.driven.find_api_server()
        cluster.wait(20.0)
        assert cluster.world.api.store.objects["Pod"].keys() == {("others", "p")}

    def test_a_quota_is_counted_anew_with_each_pod(self) -> None:
        cluster = ready(n0=1024)
        cluster.world.api.set_quota(NAMESPACE, {"pods": "1"})
        for number in range(3):
            cluster.run(f"a{number}", 128, lasts=1.0)
            cluster.wait(0.05)
        cluster.wait(100.0)
        assert all(reason is None for reason in cluster.ended.values())
        assert len(cluster.ended) == 3

    def test_a_pool_that_only_tries_whether_a_prewarm_fits_is_not_told_stats_for_ever(self) -> None:
        prewarm = (PrewarmSetting(ContainerShape("python:3", 256), 1),)
        cluster = VirtualKubernetes({"n0": 512}, prewarm=prewarm, pool=PoolSettings(idle_grace=0.0))
        cluster.wait(5.0)
        idle = cluster.run("a", 256, kind="nodejs:20", lasts=0.1)
        cluster.wait(5.0)
        large = cluster.run("b", 512, kind="nodejs:20", lasts=0.1)
        cluster.wait(30.0)
        assert (cluster.ended[idle], cluster.ended[large]) == (None, None)
        cluster.wait(100.0)
        cluster.check_quiet()

    def test_one_that_ends_while_it_is_deleted_is_forgotten(self) -> None:
        cluster = ready(n0=512)
        cluster.behaviour = PodBehaviour(obeys_after=None)
        cluster.run("a", 256)
        cluster.wait(1.0)
        name = cluster.our_pods()[0]["metadata"]["name"]
        cluster.world.api.evict_pod(NAMESPACE, name)
        cluster.world.evict_under_pressure((NAMESPACE, name))
        cluster.wait(10.0)
        assert cluster.world.api.pods == {}
        cluster.check_quiet()


class TestOtherInvokers:
    def test_have_the_room_that_their_pods_wait_for(self) -> None:
        """Theirs wait for containers that stop: kube-scheduler places them before ours."""
        cluster = ready(n0=512)
        theirs = {"metadata": {"name": "theirs", "labels": {INVOKER: "invoker1"}}}
        resources = {"requests": {"memory": "512Mi"}}
        spec = {"affinity": pinned("n0"), "containers": [{"name": "c", "image": "i", "resources": resources}]}
        cluster.neighbour("p", 256)
        cluster.world.api.post_pod(OTHERS, {**theirs, "spec": spec})
        cluster.wait(1.0)
        run_id = cluster.run("a", 256, lasts=1.0)
        cluster.wait(1.0)
        assert "post" not in cluster.driven.requests
        cluster.neighbours_leave()
        cluster.wait(5.0)
        assert cluster.ended[run_id] is None


class TestWebhooks:
    """Admission that changes or denies pods."""

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda pod: with_metadata(pod, labels={}), "no label owmesos/invoker"),
            (lambda pod: changed(pod, spec={"schedulerName": "other"}), "the schedulerName other"),
        ],
    )
    def test_one_that_is_changed_leaves_no_pod_though_its_post_got_no_answer(
        self, change: Callable[[Document], Document], said: str
    ) -> None:
        cluster = ready(n0=512)
        webhooks = cluster.world.api.webhooks
        webhooks.append(lambda pod: change(pod) if pod["metadata"]["namespace"] == NAMESPACE else pod)
        cluster.fates = [Fate.UNANSWERED]
        run_id = cluster.run("a", 256, lasts=1.0)
        cluster.wait(0.4)
        explanation = cluster.pool.explain(run_id)
        assert explanation is not None
        assert said in explanation.summary
        webhooks.clear()
        cluster.wait(60.0)
        assert cluster.ended[run_id] is None
        assert len(cluster.our_pods()) == 1
        cluster.check_quiet()

    def test_it_is_found_by_a_later_process_too(self) -> None:
        cluster = ready(n0=512)
        cluster.world.api.webhooks.append(lambda pod: with_metadata(pod, labels={}))
        cluster.fates = [Fate.UNANSWERED]
        cluster.run("a", 256)
        cluster.world.run(0.02)
        cluster.crash()
        cluster.world.api.webhooks.clear()
        cluster.wait(30.0)
        assert cluster.our_pods() == []
        cluster.check_quiet()


class TestOverhead:
    def test_of_what_runs_counts_twice_and_of_a_start_once(self) -> None:
        """128 MB and twice 300 leave 296 of 1,024: none starts beside it, and none is posted to be refused."""
        cluster = ready(n0=1024)
        cluster.world.api.webhooks.append(lambda pod: changed(pod, spec={"overhead": {"memory": "300Mi"}}))
        first = cluster.run("a", 128, lasts=20.0)
        cluster.wait(5.0)
        second = cluster.run("b", 128, lasts=1.0)
        cluster.wait(10.0)
        assert (len(cluster.created), list(cluster.given)) == (1, [first])
        cluster.check_quiet()
        cluster.wait(30.0)
        assert [cluster.ended.get(each, "not yet") for each in (first, second)] == [None] * 2
        assert len(cluster.created) == 2
        cluster.check_quiet()
