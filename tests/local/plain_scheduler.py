"""A scheduler of a few lines on plain HTTP, so that these tests need no other part of owmesos."""

from __future__ import annotations

import base64
import http.client
import json
import time
from types import TracebackType
from typing import Any

Json = dict[str, Any]


def operator(address: str, call: str, authorization: str = "") -> Json:
    """The answer of a master's or an agent's operator API. Raises OSError if its status is not 200."""
    connection = http.client.HTTPConnection(address, timeout=10)
    try:
        headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        connection.request("POST", "/api/v1", json.dumps({"type": call}), headers)
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise OSError(f"{response.status} {body!r}")
    answer: Json = json.loads(body)[call.lower()]
    return answer


def agents(address: str, authorization: str = "") -> dict[str, Json]:
    """The active agents of a master by hostname."""
    listed = operator(address, "GET_AGENTS", authorization).get("agents", [])
    return {each["agent_info"]["hostname"]: each for each in listed if each["active"]}


class PlainScheduler:
    """Subscribes; `launch` waits for an offer, `update` for the next update of a task, which it acknowledges."""

    def __init__(self, master: str, *, killing: bool = False, framework_id: str = "", authorization: str = "") -> None:
        self._master = master
        self._offers: list[Json] = []
        capabilities = ["PARTITION_AWARE", "MULTI_ROLE"] + (["TASK_KILLING_STATE"] if killing else [])
        info = {"user": "root", "name": "plain", "roles": ["test"], "checkpoint": True, "failover_timeout": 600.0}
        info["capabilities"] = [{"type": each} for each in capabilities]
        call: Json = {"type": "SUBSCRIBE", "subscribe": {"framework_info": info}}
        if framework_id:
            info["id"] = call["framework_id"] = {"value": framework_id}
        self._stream = http.client.HTTPConnection(master, timeout=30)
        headers = {"Content-Type": "application/json"} | ({"Authorization": authorization} if authorization else {})
        self._stream.request("POST", "/api/v1/scheduler", json.dumps(call), headers)
        self._events = self._stream.getresponse()
        assert self._events.status == 200, self._events.read()
        self._headers = headers | {"Mesos-Stream-Id": self._events.headers["Mesos-Stream-Id"]}
        self.framework_id: str = self._next("SUBSCRIBED")["subscribed"]["framework_id"]["value"]

    def __enter__(self) -> PlainScheduler:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.close()
        self._stream.close()

    def call(self, call: Json) -> None:
        """One call; it must be taken."""
        connection = http.client.HTTPConnection(self._master, timeout=10)
        try:
            body = {"framework_id": {"value": self.framework_id}, **call}
            connection.request("POST", "/api/v1/scheduler", json.dumps(body), self._headers)
            response = connection.getresponse()
            assert response.status == 202, response.read()
        finally:
            connection.close()

    def launch(self, task_id: str, command: Json, **more: Any) -> Json:
        """Launches a task on the first offer; gives the offer."""
        if not self._offers:
            self._offers = self._next("OFFERS")["offers"]["offers"]
        offer = self._offers.pop()
        sizes = {"cpus": 0.1, "mem": 32}
        resources = [{"name": name, "type": "SCALAR", "scalar": {"value": size}} for name, size in sizes.items()]
        task = {"name": task_id, "task_id": {"value": task_id}, "agent_id": offer["agent_id"], "command": command}
        launch = {"type": "LAUNCH", "launch": {"task_infos": [{**task, "resources": resources, **more}]}}
        self.call({"type": "ACCEPT", "accept": {"offer_ids": [offer["id"]], "operations": [launch]}})
        return offer

    def kill(self, task_id: str) -> None:
        """KILL, by the task's own kill policy."""
        self.call({"type": "KILL", "kill": {"task_id": {"value": task_id}}})

    def update(self) -> Json:
        """The next update's status, acknowledged."""
        status: Json = self._next("UPDATE")["update"]["status"]
        if "uuid" in status:
            assert len(base64.b64decode(status["uuid"])) == 16
            fields = {key: status[key] for key in ("task_id", "agent_id", "uuid")}
            self.call({"type": "ACKNOWLEDGE", "acknowledge": fields})
        return status

    def states(self, last: str) -> list[str]:
        """The states that arrive, up to `last`."""
        found = [self.update()["state"]]
        while found[-1] != last:
            found.append(self.update()["state"])
        return found

    def _next(self, kind: str, timeout: float = 30.0) -> Json:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline and (length := self._events.readline()):
            event: Json = json.loads(self._events.read(int(length)))
            if event["type"] == kind:
                return event
            assert event["type"] != "ERROR", event
            if event["type"] == "OFFERS":
                self._offers += event["offers"]["offers"]
        raise AssertionError(f"no {kind}: the stream ended, or {timeout:g} s passed")
