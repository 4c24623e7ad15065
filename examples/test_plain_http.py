"""A framework that knows nothing of owmesos, on plain HTTP, and its test on the simulator. Run it with pytest.

The framework takes the first offer, runs one command on it, and returns the state in which that ended.
"""

from __future__ import annotations

import http.client
import json

import pytest

from owmesos.simulator import SimulatedCluster


def run_one(master: str, command: str) -> str:
    info = {"user": "root", "name": "plain", "roles": ["plain"], "checkpoint": True}
    info["capabilities"] = [{"type": "MULTI_ROLE"}, {"type": "PARTITION_AWARE"}]
    headers = {"Content-Type": "application/json"}
    stream, calls = http.client.HTTPConnection(master), http.client.HTTPConnection(master)
    subscribe = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
    stream.request("POST", "/api/v1/scheduler", json.dumps(subscribe), headers)
    events = stream.getresponse()
    headers["Mesos-Stream-Id"] = events.headers["Mesos-Stream-Id"]
    while True:
        event = json.loads(events.read(int(events.readline())))
        if event["type"] == "SUBSCRIBED":
            framework = event["subscribed"]["framework_id"]
        elif event["type"] == "OFFERS":
            offer = event["offers"]["offers"][0]
            wanted = [{"name": "cpus", "type": "SCALAR", "scalar": {"value": 0.5}}]
            task = {"name": "one", "task_id": {"value": "one"}, "agent_id": offer["agent_id"], "resources": wanted}
            operation = {"type": "LAUNCH", "launch": {"task_infos": [{**task, "command": {"value": command}}]}}
            call(calls, headers, framework, "ACCEPT", {"offer_ids": [offer["id"]], "operations": [operation]})
        elif event["type"] == "UPDATE":
            status = event["update"]["status"]
            if "uuid" in status:
                fields = {name: status[name] for name in ("agent_id", "task_id", "uuid")}
                call(calls, headers, framework, "ACKNOWLEDGE", fields)
            if status["state"] not in ("TASK_STARTING", "TASK_RUNNING"):
                calls.close()
                events.close()
                stream.close()
                return str(status["state"])


def call(
    calls: http.client.HTTPConnection, headers: dict[str, str], framework: object, kind: str, body: object
) -> None:
    document = {"framework_id": framework, "type": kind, kind.lower(): body}
    calls.request("POST", "/api/v1/scheduler", json.dumps(document), headers)
    answer = calls.getresponse()
    assert answer.status == 202, answer.read()
    answer.read()


@pytest.mark.parametrize(("command", "state"), [("true", "TASK_FINISHED"), ("exit 3", "TASK_FAILED")])
def test_it_tells_how_its_task_ended(simulator: SimulatedCluster, command: str, state: str) -> None:
    assert run_one(simulator.master, command) == state


@pytest.mark.simulator(agents=1, resources="cpus:0.2;mem:64")
def test_it_does_not_look_at_what_is_offered(simulator: SimulatedCluster) -> None:
    assert run_one(simulator.master, "true") == "TASK_ERROR"
