"""A cluster behind the fake master: it has agents with room, offers it when revived, and runs what is accepted.

As much of a master as a test of the framework process needs: no filters, no neighbours, no time. A test that asks what
Mesos really does belongs to the conformance suite.
"""

from __future__ import annotations

import base64
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes.master import FRAMEWORK_ID, FakeMaster, subscribed

ENDED = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR")


@dataclass
class FakeAgent:
    """An agent and what it has free. Ports are not counted: a launch may ask for few."""

    agent_id: str
    hostname: str
    cpus: float
    mem: float
    attributes: dict[str, str] = field(default_factory=dict)
    disk: float = 1000.0
    ports: tuple[int, int] = (31000, 31999)
    listens: int | None = None  # its own port, where the offers shall say it
    used_cpus: float = 0.0
    used_mem: float = 0.0
    unavailability: dict[str, Any] | None = None  # as its offers say it

    def resources(self, cpus: float, mem: float) -> list[dict[str, Any]]:
        begin, end = self.ports
        scalars = {"cpus": cpus, "mem": mem, "disk": self.disk}
        named = [{"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in scalars.items()]
        return [*named, {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": begin, "end": end}]}}]

    def info(self) -> dict[str, Any]:
        attributes = [{"name": name, "type": "TEXT", "text": {"value": text}} for name, text in self.attributes.items()]
        return {"id": {"value": self.agent_id}, "hostname": self.hostname, "attributes": attributes}


class FakeCluster:
    """`tasks` maps each task id to its state. With `hold` a task stays STAGING until the test says `update`."""

    def __init__(self, master: FakeMaster, agents: list[FakeAgent]) -> None:
        self.master = master
        self.agents = {agent.agent_id: agent for agent in agents}
        self.tasks: dict[str, str] = {}
        self.hold = False
        self._infos: dict[str, dict[str, Any]] = {}
        self._offers: dict[str, str] = {}
        self._numbers = itertools.count()
        master.on_subscribe = self._subscribe
        master.on_call = self._call
        master.operator["GET_AGENTS"] = self._get_agents

    async def update(self, task_id: str, state: str, message: str = "", *, reliable: bool = True) -> None:
        """The task changes its state, and the framework is told; a `reliable` update wants to be acknowledged."""
        info = self._infos[task_id]
        agent = self.agents[info["agent_id"]["value"]]
        if state in ENDED and self.tasks[task_id] not in ENDED:
            cpus, mem = _scalars(info)
            agent.used_cpus -= cpus
            agent.used_mem -= mem
        self.tasks[task_id] = state
        status: dict[str, Any] = {
            "task_id": {"value": task_id},
            "agent_id": {"value": agent.agent_id},
            "state": state,
            "message": message,
            "source": "SOURCE_EXECUTOR",
        }
        if reliable:
            status["uuid"] = base64.b64encode(b"%016d" % next(self._numbers)).decode()
        else:
            status["reason"] = "REASON_RECONCILIATION"
        await self.master.send({"type": "UPDATE", "update": {"status": status}})

    async def _unknown(self, task: dict[str, Any]) -> None:
        """As Mesos answers for a registered agent: an ACCEPT that never came must be seen to have launched nothing."""
        status = {**task, "state": "TASK_GONE", "source": "SOURCE_MASTER", "reason": "REASON_RECONCILIATION"}
        await self.master.send({"type": "UPDATE", "update": {"status": status}})

    def running(self) -> list[str]:
        return [task_id for task_id, state in self.tasks.items() if state == "TASK_RUNNING"]

    def info_of(self, task_id: str) -> dict[str, Any]:
        """The TaskInfo that was launched."""
        return self._infos[task_id]

    async def _subscribe(self, master: FakeMaster, request: web.Request) -> web.StreamResponse:
        self._offers.clear()
        return await subscribed(master, request)

    async def _call(self, master: FakeMaster, request: web.Request) -> web.StreamResponse:
        call = json.loads(await request.read())
        body = call.get(call["type"].lower(), {})
        if call["type"] == "REVIVE":
            await self._offer()
        elif call["type"] == "ACCEPT":
            await self._accept(body)
        elif call["type"] == "DECLINE":
            for offer_id in body["offer_ids"]:
                self._offers.pop(offer_id["value"], None)
        elif call["type"] == "KILL":
            await self._kill(body["task_id"]["value"])
        elif call["type"] == "RECONCILE":
            for task in body.get("tasks", []):
                task_id = task["task_id"]["value"]
                if task_id in self.tasks:
                    await self.update(task_id, self.tasks[task_id], reliable=False)
                else:
                    await self._unknown(task)
        return web.Response(status=202)

    async def _offer(self) -> None:
        offers = []
        for agent in self.agents.values():
            cpus, mem = agent.cpus - agent.used_cpus, agent.mem - agent.used_mem
            if agent.agent_id in self._offers.values() or cpus <= 0 or mem <= 0:
                continue
            offer_id = f"offer-{next(self._numbers)}"
            self._offers[offer_id] = agent.agent_id
            info = agent.info()
            address = {"hostname": agent.hostname, "ip": "127.0.0.1", "port": agent.listens}
            url = {"url": {"scheme": "http", "address": address}} if agent.listens is not None else {}
            offers.append(
                {
                    **url,
                    **({"unavailability": agent.unavailability} if agent.unavailability is not None else {}),
                    "id": {"value": offer_id},
                    "framework_id": {"value": FRAMEWORK_ID},
                    "agent_id": info["id"],
                    "hostname": info["hostname"],
                    "attributes": info["attributes"],
                    "resources": agent.resources(cpus, mem),
                    "allocation_info": {"role": "*"},
                }
            )
        if offers:
            await self.master.send({"type": "OFFERS", "offers": {"offers": offers}})

    async def _accept(self, accept: dict[str, Any]) -> None:
        for offer_id in accept["offer_ids"]:
            del self._offers[offer_id["value"]]
        for info in [info for each in accept["operations"] for info in each["launch"]["task_infos"]]:
            task_id = info["task_id"]["value"]
            assert task_id not in self.tasks, f"{task_id} is launched twice"
            agent = self.agents[info["agent_id"]["value"]]
            cpus, mem = _scalars(info)
            agent.used_cpus += cpus
            agent.used_mem += mem
            self._infos[task_id], self.tasks[task_id] = info, "TASK_STAGING"
            if not self.hold:
                await self.update(task_id, "TASK_RUNNING")

    async def _kill(self, task_id: str) -> None:
        if self.tasks.get(task_id) not in (None, *ENDED):
            await self.update(task_id, "TASK_KILLED")

    async def _get_agents(self, master: FakeMaster, request: web.Request) -> web.StreamResponse:
        agents = []
        for agent in self.agents.values():
            entry: dict[str, Any] = {
                "agent_info": agent.info(),
                "active": True,
                "total_resources": agent.resources(agent.cpus, agent.mem),
            }
            if agent.listens is not None:
                entry["pid"] = f"slave(1)@127.0.0.1:{agent.listens}"
            if agent.used_mem:
                used = {"cpus": agent.used_cpus, "mem": agent.used_mem}
                entry["allocated_resources"] = [
                    {"name": name, "type": "SCALAR", "scalar": {"value": value}} for name, value in used.items()
                ]
            agents.append(entry)
        return web.json_response({"type": "GET_AGENTS", "get_agents": {"agents": agents}})


def _scalars(info: dict[str, Any]) -> tuple[float, float]:
    amounts = {each["name"]: each.get("scalar", {}).get("value", 0.0) for each in info["resources"]}
    return amounts.get("cpus", 0.0), amounts.get("mem", 0.0)
