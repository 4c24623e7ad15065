"""The simulator's own speed.

Over HTTP: 10,000 launches on 1,000 agents, tasks without processes, from the first ACCEPT to the last TASK_RUNNING,
which comes only once the task's TASK_STARTING is acknowledged, as Mesos demands. The simulator has a process of its
own; the framework is plain sockets (ten tasks to an ACCEPT, calls pipelined on one connection), so that little is
measured but the simulator. In virtual time: 50,000 agents and owmesos's own scheduler, 100,000 launches handed to it at
once, from nothing to all of them running.
"""

from __future__ import annotations

import gc
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from benchmarks.row import Row
from owmesos.mesos.scheduler.launch import Launch
from owmesos.simulator.agent.settings import AgentSettings
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.simulator.virtual import VirtualCluster
from owmesos.testing.virtual_scheduler import VirtualScheduler

LAUNCHES, AGENTS, EACH = 10_000, 1_000, 10
RATE = 1000.0
VIRTUAL_LAUNCHES, VIRTUAL_AGENTS = 100_000, 50_000
VIRTUAL_SECONDS = 120.0
_ROLE = "bench"
Json = dict[str, Any]


def serve(agents: int, resources: str = f"cpus:{EACH};mem:{32 * EACH}") -> None:
    """Prints where the master is, and ends with its standard input."""
    cluster = SimulatedCluster(
        agents=agents,
        resources=resources,
        processes=False,
        agent_settings=AgentSettings(launch_delay=0.0),
    )
    with cluster:
        gc.freeze()
        print(cluster.master, flush=True)
        sys.stdin.read()


class Calls:
    """Calls one behind the other on one connection; their answers are counted by a thread."""

    def __init__(self, master: str, headers: dict[str, str]) -> None:
        host, port = master.split(":")
        self._socket = socket.create_connection((host, int(port)))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        fields = "".join(f"{name}: {value}\r\n" for name, value in {"Host": master, **headers}.items())
        self._head = f"POST /api/v1/scheduler HTTP/1.1\r\n{fields}Content-Length: "
        self._lock = threading.Lock()
        self.taken = self.refused = 0
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def send(self, call: Json) -> None:
        body = json.dumps(call)
        self._socket.sendall(f"{self._head}{len(body)}\r\n\r\n{body}".encode())

    def _count(self) -> None:
        answers = self._socket.makefile("rb")
        for line in answers:
            if line.startswith(b"HTTP/1.1 "):
                taken = line.startswith(b"HTTP/1.1 202")
                self.taken += taken
                self.refused += not taken

    def close(self) -> None:
        """Once all are answered: the last line of the last answer comes with its end."""
        self._socket.shutdown(socket.SHUT_WR)
        self._thread.join()
        self._socket.close()


class Bench:
    """One subscription, from OFFERS to the last acknowledgement."""

    def __init__(self, master: str, launches: int) -> None:
        self._launches = launches
        self._launched = 0
        self._stream = http.client.HTTPConnection(master, timeout=60)
        info = {"user": "root", "name": "bench", "roles": [_ROLE], "checkpoint": True, "failover_timeout": 60.0}
        info["capabilities"] = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]
        headers = {"Content-Type": "application/json"}
        subscribe = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        self._stream.request("POST", "/api/v1/scheduler", json.dumps(subscribe), headers)
        self._events = self._stream.getresponse()
        self._calls = Calls(master, headers | {"Mesos-Stream-Id": self._events.headers["Mesos-Stream-Id"]})
        self._framework: Json = {}

    def run(self) -> tuple[float, int]:
        """Seconds, and how many ran."""
        began = 0.0
        running: set[str] = set()
        while len(running) < self._launches:
            event = json.loads(self._events.read(int(self._events.readline())))
            if event["type"] == "UPDATE":
                status = event["update"]["status"]
                if "uuid" in status:
                    fields = {key: status[key] for key in ("task_id", "agent_id", "uuid")}
                    self._call({"type": "ACKNOWLEDGE", "acknowledge": fields})
                if status["state"] == "TASK_RUNNING":
                    running.add(status["task_id"]["value"])
            elif event["type"] == "OFFERS":
                began = began or time.perf_counter()
                for offer in event["offers"]["offers"]:
                    self._accept(offer)
            elif event["type"] == "SUBSCRIBED":
                self._framework = event["subscribed"]["framework_id"]
        seconds = time.perf_counter() - began
        self._call({"type": "TEARDOWN"})
        self._calls.close()
        self._events.close()
        self._stream.close()
        if self._calls.refused:
            raise AssertionError(f"{self._calls.refused} calls were refused")
        return seconds, len(running)

    def _call(self, call: Json) -> None:
        self._calls.send({"framework_id": self._framework, **call})

    def _accept(self, offer: Json) -> None:
        infos = []
        for _ in range(min(EACH, self._launches - self._launched)):
            self._launched += 1
            name = f"task-{self._launched}"
            resources = [
                {"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}},
                {"name": "mem", "type": "SCALAR", "scalar": {"value": 32}},
            ]
            info = {"name": name, "task_id": {"value": name}, "agent_id": offer["agent_id"], "resources": resources}
            infos.append({**info, "command": {"value": "sleep 1000"}})
        launch = {"type": "LAUNCH", "launch": {"task_infos": infos}}
        self._call({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "operations": [launch]}})


def over_http(launches: int, agents: int) -> tuple[float, int]:
    """Seconds, and how many ran."""
    command = [sys.executable, "-c", f"from benchmarks.simulator import serve; serve({agents})"]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        return Bench(process.stdout.readline().strip(), launches).run()


def in_virtual_time(launches: int, agents: int) -> tuple[float, int]:
    """Seconds, and how many run."""
    gc.disable()  # millions of objects that all stay: collecting takes longer than the work
    began = time.perf_counter()
    cluster = VirtualCluster(agents)
    scheduler = VirtualScheduler(cluster, durable=False)
    cluster.run(6.0)
    scheduler.submit(*(Launch(command="sleep 100000", cpus=1, mem=1024, deadline=3600.0) for _ in range(launches)))
    cluster.run_until(cluster.now + 600.0, lambda: not scheduler.scheduler.state.queue)
    cluster.run(5.0)
    running = sum(record.state.value == "RUNNING" for record in scheduler.records())
    seconds = time.perf_counter() - began
    gc.enable()
    return seconds, running


def run(quick: bool = False) -> list[Row]:
    launches, agents = (1_000, 100) if quick else (LAUNCHES, AGENTS)
    seconds, ran = over_http(launches, agents)
    rate = ran / seconds
    virtual_launches, virtual_agents = (2_000, 1_000) if quick else (VIRTUAL_LAUNCHES, VIRTUAL_AGENTS)
    virtual_seconds, virtual_ran = in_virtual_time(virtual_launches, virtual_agents)
    return [
        Row(
            name=f"launches over HTTP, {agents:,} agents, to RUNNING",
            ours=rate,
            unit="a second",
            target=f"{RATE:,.0f} a second",
            met=None if quick else rate >= RATE,
        ),
        Row(
            name=f"of {launches:,} launches lost",
            ours=launches - ran,
            unit="launches",
            target="0",
            met=ran == launches,
        ),
        Row(
            name=f"{virtual_launches:,} launches on {virtual_agents:,} agents in virtual time",
            ours=virtual_seconds,
            unit="s",
            target=f"{VIRTUAL_SECONDS:,.0f} s",
            met=None if quick else virtual_seconds <= VIRTUAL_SECONDS,
        ),
        Row(
            name=f"of {virtual_launches:,} launches lost",
            ours=virtual_launches - virtual_ran,
            unit="launches",
            target="0",
            met=virtual_ran == virtual_launches,
        ),
    ]
