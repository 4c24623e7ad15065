"""The operator client: typed answers, and one line for whatever else is at the address."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from owmesos.mesos.messages import ID, Resource, Scalar, unknown_fields
from owmesos.mesos.messages.operator import (
    ListedAgent,
    MachineID,
    MaintenanceSchedule,
    MaintenanceWindow,
    QuotaConfig,
)
from owmesos.mesos.messages.values import TimeInfo, Unavailability
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Credentials, parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.operator_client import (
    MasterUnreachable,
    OperatorClient,
    OperatorFailed,
    OperatorRefused,
    free,
    reserved_role,
)
from owmesos.resources import NOTHING, Resources
from tests.fakes.master import FakeMaster, cut, hang, plain


def answer(kind: str, body: dict[str, Any]) -> Any:
    return plain(200, json.dumps({"type": kind, kind.lower(): body}), "application/json")


@pytest.fixture
async def client(master: FakeMaster) -> AsyncIterator[OperatorClient]:
    detector = detector_for(parse_master(master.address, credentials_allowed=False))
    async with OperatorClient(detector, Access(Credentials("me", "xyzzy")), timeout=2) as operator:
        yield operator


def scalar(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "SCALAR", "scalar": {"value": value}, **more}


AGENT = {
    "agent_info": {"hostname": "h1", "port": 5051, "id": {"value": "S0"}, "attributes": []},
    "active": True,
    "deactivated": False,
    "pid": "slave(1)@10.0.0.1:5051",
    "total_resources": [
        scalar("cpus", 4.0, role="*"),
        scalar("mem", 2048.0, role="*"),
        scalar("cpus", 1.0, reservations=[{"type": "DYNAMIC", "role": "other"}]),
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31009}]}},
    ],
    "allocated_resources": [
        scalar("cpus", 1.5, allocation_info={"role": "t"}),
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 31000, "end": 31001}]}},
    ],
    "offered_resources": [scalar("mem", 1024.0, allocation_info={"role": "u"})],
    "capabilities": [{"type": "MULTI_ROLE"}, {}],
}


class TestAnswers:
    async def test_agents_and_what_is_free_on_them(self, master: FakeMaster, client: OperatorClient) -> None:
        master.operator["GET_AGENTS"] = answer("GET_AGENTS", {"agents": [AGENT]})
        (agent,) = (await client.agents()).agents
        assert agent.agent_info.hostname == "h1"
        assert free(agent) == Resources.of(cpus=3.5, mem=1024, ports=[(31002, 31009)])

    async def test_what_is_reserved_for_others_is_left_out(self, master: FakeMaster, client: OperatorClient) -> None:
        master.operator["GET_AGENTS"] = answer("GET_AGENTS", {"agents": [AGENT]})
        (agent,) = (await client.agents()).agents
        assert free(agent, ["mine"]).cpus == 2.5
        assert free(agent, ["mine", "other"]).cpus == 3.5

    async def test_frameworks_tasks_and_roles(self, master: FakeMaster, client: OperatorClient) -> None:
        info = {"user": "u", "name": "n", "id": {"value": "F"}, "roles": ["t"]}
        task = {
            "name": "a",
            "task_id": {"value": "t1"},
            "framework_id": {"value": "F"},
            "agent_id": {"value": "S0"},
            "state": "TASK_RUNNING",
            "statuses": [{"task_id": {"value": "t1"}, "state": "TASK_RUNNING", "uuid": "eA=="}],
        }
        master.operator["GET_FRAMEWORKS"] = answer(
            "GET_FRAMEWORKS", {"frameworks": [{"framework_info": info, "active": True}]}
        )
        master.operator["GET_TASKS"] = answer("GET_TASKS", {"tasks": [task], "completed_tasks": []})
        master.operator["GET_ROLES"] = answer("GET_ROLES", {"roles": [{"name": "t", "weight": 1.0}]})
        assert (await client.frameworks()).frameworks[0].framework_info.name == "n"
        assert (await client.tasks()).tasks[0].state == "TASK_RUNNING"
        assert (await client.roles()).roles[0].name == "t"

    async def test_metrics_flags_version_health_and_master(self, master: FakeMaster, client: OperatorClient) -> None:
        metrics = [{"name": "master/tasks_running", "value": 3.0}, {"name": "odd"}]
        master.operator.update(
            GET_METRICS=answer("GET_METRICS", {"metrics": metrics}),
            GET_FLAGS=answer("GET_FLAGS", {"flags": [{"name": "port", "value": "5050"}]}),
            GET_VERSION=answer("GET_VERSION", {"version_info": {"version": "1.11.0"}}),
            GET_HEALTH=answer("GET_HEALTH", {"healthy": True}),
            GET_MASTER=answer("GET_MASTER", {"master_info": {"id": "M"}}),
        )
        assert await client.metrics() == {"master/tasks_running": 3.0}
        assert await client.flags() == {"port": "5050"}
        assert (await client.version()).version_info.version == "1.11.0"
        assert await client.healthy()
        assert (await client.master()).master_info.id == "M"
        assert master.headers[-1]["Authorization"] == "Basic bWU6eHl6enk="

    async def test_what_a_master_says_of_its_build_its_past_and_its_orphans(
        self, master: FakeMaster, client: OperatorClient
    ) -> None:
        then = {"nanoseconds": 5}
        agent = {"agent_info": {"hostname": "h"}, "reregistered_time": then, "estimated_drain_start_time": then}
        framework = {"framework_info": {"user": "u", "name": "n"}, "reregistered_time": then, "unregistered_time": then}
        ids = {name: {"value": "x"} for name in ("task_id", "framework_id", "agent_id")}
        task = {"name": "a", **ids, "state": "TASK_LOST", "status_update_uuid": "eA=="}
        build = {
            "build_date": "d",
            "build_time": 1.5,
            "build_user": "b",
            "git_sha": "s",
            "git_branch": "m",
            "git_tag": "t",
        }
        given: dict[str, dict[str, Any]] = {
            "GET_AGENTS": {"agents": [agent]},
            "GET_FRAMEWORKS": {"frameworks": [framework], "recovered_frameworks": [{"value": "F"}]},
            "GET_TASKS": {"pending_tasks": [task], "orphan_tasks": [task]},
            "GET_VERSION": {"version_info": {"version": "1.11.0", **build}},
            "GET_MASTER": {"master_info": {"id": "M"}, "start_time": 1.5, "elected_time": 2.5},
        }
        master.operator.update({kind: answer(kind, document) for kind, document in given.items()})
        answers = {
            "GET_AGENTS": await client.agents(),
            "GET_FRAMEWORKS": await client.frameworks(),
            "GET_TASKS": await client.tasks(),
            "GET_VERSION": await client.version(),
            "GET_MASTER": await client.master(),
        }
        unread = [path for kind, found in answers.items() for path in unknown_fields(type(found), given[kind], kind)]
        assert unread == []

    async def test_a_redirection_is_followed(self, master: FakeMaster, client: OperatorClient) -> None:
        leader = await FakeMaster().start()
        leader.operator["GET_HEALTH"] = answer("GET_HEALTH", {"healthy": True})
        master.operator["*"] = plain(307, Location=f"//{leader.address}/api/v1")
        assert await client.healthy()
        await leader.stop()


CPU = Resource("cpus", "SCALAR", Scalar(1.0), reservations=[{"type": "DYNAMIC", "role": "r"}])
Do = Callable[[OperatorClient], Awaitable[None]]


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (
            lambda client: client.reserve(ID("S"), [CPU]),
            {
                "type": "RESERVE_RESOURCES",
                "reserve_resources": {
                    "agent_id": {"value": "S"},
                    "resources": [scalar("cpus", 1.0, reservations=[{"type": "DYNAMIC", "role": "r"}])],
                },
            },
        ),
        (
            lambda client: client.unreserve(ID("S"), []),
            {
                "type": "UNRESERVE_RESOURCES",
                "unreserve_resources": {"agent_id": {"value": "S"}, "resources": []},
            },
        ),
        (
            lambda client: client.mark_agent_gone(ID("S")),
            {"type": "MARK_AGENT_GONE", "mark_agent_gone": {"agent_id": {"value": "S"}}},
        ),
        (
            lambda client: client.drain_agent(ID("S"), max_grace_period=1.5, mark_gone=True),
            {
                "type": "DRAIN_AGENT",
                "drain_agent": {
                    "agent_id": {"value": "S"},
                    "mark_gone": True,
                    "max_grace_period": {"seconds": 1, "nanos": 500_000_000},
                },
            },
        ),
        (
            lambda client: client.deactivate_agent(ID("S")),
            {"type": "DEACTIVATE_AGENT", "deactivate_agent": {"agent_id": {"value": "S"}}},
        ),
        (
            lambda client: client.reactivate_agent(ID("S")),
            {"type": "REACTIVATE_AGENT", "reactivate_agent": {"agent_id": {"value": "S"}}},
        ),
        (
            lambda client: client.update_maintenance_schedule(
                MaintenanceSchedule([MaintenanceWindow([MachineID("h", "1.2.3.4")], Unavailability(TimeInfo(5)))])
            ),
            {
                "type": "UPDATE_MAINTENANCE_SCHEDULE",
                "update_maintenance_schedule": {
                    "schedule": {
                        "windows": [
                            {
                                "machine_ids": [{"hostname": "h", "ip": "1.2.3.4"}],
                                "unavailability": {"start": {"nanoseconds": 5}},
                            }
                        ]
                    }
                },
            },
        ),
        (
            lambda client: client.start_maintenance([MachineID("h")]),
            {"type": "START_MAINTENANCE", "start_maintenance": {"machines": [{"hostname": "h"}]}},
        ),
        (
            lambda client: client.stop_maintenance([MachineID("h")]),
            {"type": "STOP_MAINTENANCE", "stop_maintenance": {"machines": [{"hostname": "h"}]}},
        ),
        (
            lambda client: client.update_quota([QuotaConfig("r", limits={"cpus": Scalar(1.0)})]),
            {
                "type": "UPDATE_QUOTA",
                "update_quota": {
                    "quota_configs": [{"role": "r", "limits": {"cpus": {"value": 1.0}}}],
                    "force": False,
                },
            },
        ),
        (
            lambda client: client.teardown(ID("F")),
            {"type": "TEARDOWN", "teardown": {"framework_id": {"value": "F"}}},
        ),
    ],
)
async def test_each_operation_is_written_as_mesos_reads_it(
    master: FakeMaster, client: OperatorClient, do: Do, said: dict[str, Any]
) -> None:
    await do(client)
    assert master.calls == [said]


class TestWhateverElseIsThere:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (plain(200, "<html><title>My router</title></html>", "text/html"), "My router.*is that a Mesos master"),
            (plain(200), "is not usable"),
            (plain(200, "", "application/json"), "is not usable"),
            (plain(200, "{", "application/json"), "is not usable"),
            (plain(200, "{}", "application/json"), "it is absent"),
            (plain(200, '{"get_agents":{"agents":5}}', "application/json"), "is not usable"),
            (plain(307, Location="gopher://x"), "redirects to 'gopher://x', which is not a master's URL"),
            (cut, "broke"),
        ],
    )
    async def test_what_is_no_answer(self, master: FakeMaster, client: OperatorClient, given: Any, words: str) -> None:
        master.operator["*"] = given
        with pytest.raises(OperatorFailed, match=words) as caught:
            await client.agents()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(("status", "text"), [(401, ""), (403, "no"), (503, "recovering"), (404, "<html>")])
    async def test_a_refusal(self, master: FakeMaster, client: OperatorClient, status: int, text: str) -> None:
        master.operator["*"] = plain(status, text)
        with pytest.raises(OperatorRefused, match=str(status)) as caught:
            await client.agents()
        assert caught.value.status == status
        assert "\n" not in str(caught.value)

    async def test_masters_that_redirect_in_a_circle(self, master: FakeMaster, client: OperatorClient) -> None:
        master.operator["*"] = plain(307, Location=f"//{master.address}/api/v1")
        with pytest.raises(OperatorFailed, match="circle"):
            await client.agents()

    async def test_no_answer_in_time(self, master: FakeMaster) -> None:
        master.operator["*"] = hang
        detector = detector_for(parse_master(master.address, credentials_allowed=False))
        async with OperatorClient(detector, timeout=0.2) as client:
            with pytest.raises(OperatorFailed, match=r"no answer in 0\.2 s"):
                await client.agents()

    async def test_nobody_there(self, master: FakeMaster, client: OperatorClient) -> None:
        await master.stop()
        with pytest.raises(MasterUnreachable, match="cannot connect"):
            await client.agents()


class TestFree:
    def test_a_debt_is_nothing(self) -> None:
        document = {"agent_info": {"hostname": "h"}, "allocated_resources": [scalar("cpus", 1.0)]}
        assert free(msgspec.convert(document, ListedAgent)) == NOTHING

    @pytest.mark.parametrize(
        ("resource", "role"),
        [
            (Resource("cpus"), None),
            (Resource("cpus", role="*"), None),
            (Resource("cpus", role="r"), "r"),
            (Resource("cpus", reservations=[{"role": "a"}, {"role": "a/b"}]), "a/b"),
        ],
    )
    def test_the_role_that_a_resource_is_reserved_for(self, resource: Resource, role: str | None) -> None:
        assert reserved_role(resource) == role
