"""Two `owmesos run --cluster kubernetes` without --ha: one invoker name is one process's, on a fake API server."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from owmesos.kubernetes import leases
from tests.cli.running import Ran, owmesos_process, running
from tests.cli.test_ha_on_kubernetes import Group
from tests.fakes.api_server import FakeApiServer
from tests.service.kubernetes.scene import fake_node
from tests.waiting import eventually_async

LEASE = ("default", "owmesos-invoker0")
LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/default/leases/owmesos-invoker0"


class Alone(Group):
    """Processes that do not know of each other."""

    def options(self, name: str) -> tuple[str, ...]:
        return tuple(each for each in super().options(name) if each != "--ha")

    def holder(self) -> str:
        return str(self.lease().get("spec", {}).get("holderIdentity") or "")

    async def ended(self, name: str) -> Ran:
        return await owmesos_process("run", *self.options(name), "--admin", "127.0.0.1:0")


@pytest.fixture
async def group(tmp_path: Path) -> AsyncIterator[Alone]:
    server = await FakeApiServer(None).start()
    server.put("nodes", fake_node("n1"))
    yield Alone(server, tmp_path)
    await server.stop()


async def test_who_comes_later_ends_and_deletes_nothing(group: Alone) -> None:
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        later = await group.ended("b")
        assert later.code == 1
        last = later.err.splitlines()[-1]
        assert f"process {first.process.pid} on " in last
        assert "is invoker invoker0 in namespace default already" in last
        assert (
            "choose another name (--invoker-name, or --id with --kafka) or --namespace, or start both with --ha" in last
        )
        assert group.writes("b") == []
        assert "127.0.0.1:1" not in later.err  # its Kafka: joining the topic would have displaced the first one
        assert "127.0.0.1:1" in first.log
        assert first.process.returncode is None


async def test_an_orderly_end_leaves_the_name_to_the_next_one(group: Alone) -> None:
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        assert (await first.end(signal.SIGTERM)).code == 0
        assert group.holder() == ""
    async with group.process("b"):
        await eventually_async(lambda: group.writes("b"))


async def test_after_a_kill_9_the_same_state_goes_on_at_once(group: Alone) -> None:
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        first.process.kill()
        await first.ended()
    before = group.holder()
    async with group.process("a") as second:
        await eventually_async(lambda: f"process {second.process.pid} on" in group.holder())
        assert "waiting up to" not in second.log
        assert group.holder().split()[0] == before.split()[0]


async def test_after_a_kill_9_another_state_waits_for_the_lease_to_run_out(group: Alone) -> None:
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        first.process.kill()
        await first.ended()
    lease: dict[str, Any] = group.lease()
    shorter = {**lease, "spec": {**lease["spec"], "leaseDurationSeconds": 8}}
    assert group.server.leases.put_lease(*LEASE, shorter).done
    async with group.process("b") as second:
        await eventually_async(lambda: group.writes("b"))
        assert re.search("waiting up to 8 s for the name: [0-9a-f]{8} process", second.log)
        requests = group.requests("b")
        assert requests.index(group.writes("b")[0]) > requests.index(f"PUT {LEASE_PATH}")
        assert f"process {second.process.pid} on" in group.holder()


async def test_who_lost_the_name_ends(group: Alone) -> None:
    """As one that was frozen while another one took its name."""
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        other = leases.taken(group.lease(), "00000000 process 1 on elsewhere", "", 15, "2026-01-01T00:00:00.000000Z")
        assert group.server.leases.put_lease(*LEASE, other).done
        ended = await first.ended()
        assert ended.code == 1
        assert "process 1 on elsewhere is invoker invoker0 in namespace default already" in ended.err
        assert group.lease()["spec"] == other["spec"]


@pytest.mark.parametrize("verb", ["get", "create"])
async def test_without_the_right_to_a_lease_it_runs_with_a_warning(group: Alone, verb: str) -> None:
    group.server.denied.add((verb, "leases"))
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        await first.said("who is invoker invoker0 in namespace default is not known")
        assert "see deploy/kubernetes/rbac.yaml" in first.log


async def test_a_standby_of_a_group_waits_for_one_without_ha(group: Alone) -> None:
    async with group.process("a") as first:
        await eventually_async(lambda: group.writes("a"))
        async with Group(group.server, group.folder).process("b") as standby:
            await standby.said(rf"standby: process {first.process.pid} on \S+ leads")
            assert group.writes("b") == []


async def test_a_name_that_no_lease_can_have_is_warned_of(group: Alone) -> None:
    async with running(*group.options("a"), "--invoker-name", "My_Invoker") as process:
        await process.said("another process with the invoker name My_Invoker would not be noticed")
        await eventually_async(lambda: group.writes("a"))
