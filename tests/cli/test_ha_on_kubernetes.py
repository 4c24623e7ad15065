"""`owmesos run --ha --cluster kubernetes`: two processes on a fake API server; how one takes over from the other."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from owmesos.kubernetes import leases
from owmesos.system.private_files import write_private
from tests.cli.running import Running, owmesos, owmesos_process, running
from tests.cli.test_high_availability import answer_of
from tests.fakes.api_server import FakeApiServer
from tests.fixtures.admin import TOKENS
from tests.service.kubernetes.scene import fake_node
from tests.waiting import eventually_async

LEADS = "this process leads now"
INVOKER = ("--kafka", "127.0.0.1:1", "--couchdb", "http://127.0.0.1:1", "--id", "0")
RUNTIMES = {
    "runtimes": {
        "python": [
            {
                "kind": "python:3",
                "default": True,
                "image": {"prefix": "p", "name": "python", "tag": "t"},
                "stemCells": [{"initialCount": 1, "memory": "256 MB"}],
            }
        ]
    }
}


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    server = await FakeApiServer(None).start()
    server.put("nodes", fake_node("n1"))
    yield server
    await server.stop()


class Group:
    """Starts processes of one group. Each has a token of its own, by which its requests are known."""

    def __init__(self, server: FakeApiServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self._numbers = count()
        self.token = folder / "token"
        write_private(self.token, TOKENS.admin)
        (folder / "runtimes.json").write_text(json.dumps(RUNTIMES))

    def options(self, name: str) -> tuple[str, ...]:
        kubeconfig = self.folder / f"kubeconfig-{name}"
        cluster, user = {"server": self.server.url}, {"token": name}
        write_private(
            kubeconfig,
            json.dumps(
                {
                    "current-context": "t",
                    "contexts": [{"name": "t", "context": {"cluster": "t", "user": "t"}}],
                    "clusters": [{"name": "t", "cluster": cluster}],
                    "users": [{"name": "t", "user": user}],
                }
            ),
        )
        return (
            *("--ha", "--cluster", "kubernetes", "--kubeconfig", str(kubeconfig), *INVOKER, "--drain", "0"),
            *("--state", str(self.folder / f"state-{name}"), "--admin-token-file", str(self.token)),
            *("--runtimes", str(self.folder / "runtimes.json")),
        )

    @asynccontextmanager
    async def process(self, name: str) -> AsyncIterator[Running]:
        async with running(*self.options(name)) as process:
            yield process

    @asynccontextmanager
    async def leader_and_standby(self) -> AsyncIterator[tuple[Running, Running]]:
        """`a` leads and has a container, and knows that `b` waits."""
        async with self.process("a") as leader:
            await leader.said(LEADS)
            await eventually_async(lambda: self.writes("a"))
            async with self.process("b") as standby:
                await standby.said(
                    rf"standby: process {leader.process.pid} on \S+ leads, its admin API is at {leader.url}"
                )
                await eventually_async(lambda: f"process {standby.process.pid} on" in leases.waiting_of(self.lease()))
                assert self.writes("b") == []
                yield leader, standby

    def lease(self) -> dict[str, Any]:
        return self.server.leases.get_lease("default", "owmesos-invoker0").body

    def requests(self, name: str) -> list[str]:
        of = f"Bearer {name}"
        return [
            request
            for request, headers in zip(self.server.requests, self.server.headers, strict=False)
            if headers.get("Authorization") == of
        ]

    def writes(self, name: str) -> list[str]:
        """Requests of this process that change a pod."""
        return [
            each
            for each in self.requests(name)
            if each.startswith(("POST", "DELETE")) and "/pods" in each and "dryRun" not in each
        ]


@pytest.fixture
def group(server: FakeApiServer, tmp_path: Path) -> Group:
    return Group(server, tmp_path)


async def took(standby: Running, harm: Callable[[], object]) -> float:
    """Seconds from the harm until the standby leads."""
    began = time.monotonic()
    harm()
    await standby.said(LEADS)
    return time.monotonic() - began


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_the_standby_takes_over_from_a_leader_that_ended(
    group: Group, number: signal.Signals, figures: Callable[[str], None]
) -> None:
    async with group.leader_and_standby() as (leader, standby):
        seconds = await took(standby, lambda: leader.process.send_signal(number))
        figures(f"{number.name} of the leader by a Lease: the standby led after {seconds:.1f} s")
        assert (await leader.ended()).code == (0 if number == signal.SIGTERM else -9)
        await eventually_async(lambda: group.writes("b"))
        assert group.lease()["spec"]["leaseTransitions"] == 1
        assert leases.waiting_of(group.lease()) == ""
        assert (await standby.end(signal.SIGTERM)).code == 0
        assert group.lease()["spec"]["holderIdentity"] == ""


async def test_a_leader_that_was_frozen_changes_no_pod_when_it_wakes_up(
    group: Group, figures: Callable[[str], None]
) -> None:
    """Its pods are gone meanwhile, and it would start others. For some seconds it is not told that it was replaced."""
    async with group.leader_and_standby() as (leader, standby):
        seconds = await took(standby, lambda: leader.process.send_signal(signal.SIGSTOP))
        figures(f"SIGSTOP of the leader by a Lease: the standby led after {seconds:.1f} s")
        await eventually_async(lambda: any(each.startswith("DELETE") for each in group.writes("b")))
        before, looks = group.writes("a"), len(group.requests("a"))
        group.server.unavailable = lambda request: (
            "/leases/" in request.path and request.headers["Authorization"] == "Bearer a"
        )
        leader.process.send_signal(signal.SIGCONT)
        await eventually_async(lambda: sum("/leases/" in each for each in group.requests("a")[looks:]) >= 4)
        await leader.said("who leads is not known: not now")
        group.server.unavailable = lambda _: False
        ended = await leader.ended()
        assert ended.code == 1
        last = ended.err.splitlines()[-1]
        assert "this process has lost the lead, and ends at once: the Lease default/owmesos-invoker0: another" in last
        assert group.writes("a") == before
        assert standby.process.returncode is None


async def test_what_a_standby_answers(group: Group) -> None:
    async with group.leader_and_standby() as (leader, standby):
        assert answer_of(standby.url, "/healthz") == (200, {"standby": True, "leader": leader.url}, None)
        assert answer_of(standby.url, "/healthz?leader")[0] == 503
        await eventually_async(lambda: answer_of(leader.url, "/healthz?leader")[0] == 200)
        status, _, location = answer_of(standby.url, "/api/v1/nodes", token=TOKENS.admin)
        assert (status, location) == (307, f"{leader.url}/api/v1/nodes")
        token = ("--admin-token-file", str(group.token))
        assert len((await standby.ask("nodes", "-o", "json", *token)).json) == 1


async def test_a_standby_that_ends_says_that_it_does_not_wait_any_more(group: Group) -> None:
    async with group.leader_and_standby() as (leader, standby):
        ended = await standby.end(signal.SIGTERM)
        assert ended.code == 0
        assert "this process does not lead" in ended.err.splitlines()[-1]
        assert leases.waiting_of(group.lease()) == ""
        assert leader.process.returncode is None


async def test_a_lease_that_was_deleted_by_hand_is_made_anew(group: Group) -> None:
    async with group.leader_and_standby() as (leader, standby):
        assert group.server.leases.delete_lease("default", "owmesos-invoker0").done
        await eventually_async(lambda: group.server.leases.get_lease("default", "owmesos-invoker0").done)
        assert f"process {leader.process.pid} on" in group.lease()["spec"]["holderIdentity"]
        await leader.said("was made[\\s\\S]*was made")
        assert LEADS not in standby.log


async def test_an_api_server_that_was_away_leaves_the_lead_where_it_was(group: Group) -> None:
    """The other one did not reach it either."""
    async with group.leader_and_standby() as (leader, standby):
        await group.server.stop()
        await leader.said("the Lease default/owmesos-invoker0 cannot be read or written, so who leads is not known: ")
        await eventually_async(lambda: answer_of(leader.url, "/healthz?leader")[0] == 503)
        await group.server.start()
        await eventually_async(lambda: answer_of(leader.url, "/healthz?leader")[0] == 200 or LEADS in standby.log)
        assert leader.log.count("who leads is not known") == 1


# -- what cannot be


@pytest.mark.parametrize("verb", ["get", "create", "update"])
async def test_a_missing_right_ends_it_with_the_rule(group: Group, verb: str) -> None:
    if verb == "update":
        group.server.leases.post_lease("default", leases.new_lease("default", "invoker0"))
    group.server.denied.add((verb, "leases"))
    ended = await owmesos_process("run", *group.options("a"), "--admin", "127.0.0.1:0")
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert (
        f"the Lease default/owmesos-invoker0 cannot be used: RBAC forbids u to {verb} leases in the namespace" in last
    )
    assert "see deploy/kubernetes/rbac.yaml" in last


async def test_another_program_s_lease_is_left_alone(group: Group) -> None:
    theirs = leases.new_lease("default", "invoker0")
    spec = {"holderIdentity": "postgres-0", "leaseDurationSeconds": 1, "renewTime": "2026-01-01T00:00:00.000000Z"}
    group.server.leases.post_lease("default", {**theirs, "spec": spec})
    ended = await owmesos_process("run", *group.options("a"), "--admin", "127.0.0.1:0")
    assert ended.code == 1
    assert "it belongs to another program: its holder is 'postgres-0'" in ended.err.splitlines()[-1]
    assert group.lease()["spec"] == spec


async def test_a_namespace_that_does_not_exist_ends_it(group: Group) -> None:
    ended = await owmesos_process("run", *group.options("a"), "--admin", "127.0.0.1:0", "--namespace", "nowhere")
    assert ended.code == 1
    assert "the Lease nowhere/owmesos-invoker0 cannot be used: " in ended.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--standalone",), "--ha cannot be combined with --standalone: it keeps actions and records on this machine"),
        ((), "--cluster kubernetes needs --standalone or --kafka"),
        ((*INVOKER, "--state", "zk://h:1/a"), "--state zk://… is for --cluster mesos"),
        ((*INVOKER, "--invoker-name", "My_Invoker"), "--ha needs an invoker name of a-z, 0-9, - and ., for its Lease"),
        ((*INVOKER, "--ha-admin", "nonsense"), "'nonsense' is not an address of an admin API"),
    ],
)
async def test_settings_that_do_not_fit_are_rejected(group: Group, options: tuple[str, ...], expected: str) -> None:
    group.options("a")
    where = ("--kubeconfig", str(group.folder / "kubeconfig-a"))
    ran = owmesos("run", "--ha", "--cluster", "kubernetes", *where, *options)
    assert ran.code == 2
    assert expected in ran.line


async def test_doctor_checks_the_rights(group: Group) -> None:
    group.server.denied.add(("update", "leases"))
    ran = await owmesos_process("doctor", *group.options("a"), "-o", "json")
    found = {each["check"]: each for each in ran.document}
    assert found["rights"]["state"] == "fail"
    assert "update leases owmesos-invoker0 (a Role in namespace default)" in found["rights"]["message"]
