"""An agent's HTTP API: the files of its sandboxes, and the state of its tasks (docs/operator-http-api.md)."""

from __future__ import annotations

import base64
import grp
import os
import pwd
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from owmesos.mesos.messages import ID
from owmesos.mesos.messages.operator import Task
from owmesos.simulator.agent.agent import SimulatedAgent
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.listener import RequestRefused, document_in, json_answer, posted_json, principal_of, refusal
from owmesos.simulator.protocol import VERSION, VERSION_INFO

MOST = 64 * 1024
"""Bytes in one answer."""


class AgentHttp:
    """`work_folder` is the root of the served files; None if tasks have no processes."""

    def __init__(self, agent: SimulatedAgent, work_folder: Path | None, secrets: Mapping[str, str] | None) -> None:
        """`secrets` of the principals that have access; None allows everybody."""
        self._agent = agent
        self._secrets = secrets
        self._work_folder = work_folder
        self._calls: dict[str, Callable[[Any], dict[str, Any]]] = {
            "GET_HEALTH": lambda _: {"healthy": True},
            "GET_VERSION": lambda _: {"version_info": VERSION_INFO},
            "GET_FLAGS": lambda _: {"flags": [{"name": "work_dir", "value": str(work_folder or "")}]},
            "GET_AGENT": lambda _: {"agent_info": {"hostname": agent.description.hostname, "id": ID(agent.id or "")}},
            "GET_TASKS": lambda _: self._tasks(),
            "GET_CONTAINERS": lambda _: self._containers(),
            "GET_STATE": lambda _: {"get_tasks": self._tasks(), "get_executors": {}, "get_frameworks": {}},
            "READ_FILE": self._read_file,
            "LIST_FILES": self._list_files,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Raises RequestRefused."""
        path = request.path.removeprefix("/slave(1)")
        if path == "/health":
            return web.Response()
        if self._secrets is not None and principal_of(request, self._secrets) is None:
            return refusal(401, "401 Unauthorized.", WWW_Authenticate='Basic realm="mesos-agent-readwrite"')
        if path == "/api/v1":
            return self._answer(document_in(await posted_json(request)))
        if path in ("/state", "/slave/state"):
            return json_answer(self._state())
        if path in ("/files/read", "/files/browse", "/files/download"):
            return self._files(path, request)
        return refusal(404)

    # -- POST /api/v1

    def _answer(self, document: Any) -> web.Response:
        kind = document.get("type") if isinstance(document, dict) else None
        answer = self._calls.get(kind) if isinstance(kind, str) else None
        if answer is None:
            return refusal(400, "Failed to validate agent::Call: Expecting 'type' to be present")
        field = str(kind).lower()
        return json_answer({"type": kind, field: answer(document.get(field))})

    def _read_file(self, body: Any) -> dict[str, Any]:
        if not isinstance(body, dict):
            raise RequestRefused(400, "Failed to validate agent::Call: Expecting 'read_file' to be present")
        missing = [f"read_file.{name}" for name in ("path", "offset") if not isinstance(body.get(name), (str, int))]
        if missing:
            text = f"Failed to convert JSON into Call protobuf: Missing required fields: {', '.join(missing)}"
            raise RequestRefused(400, text)
        file = self._find(str(body["path"]))
        if file is None or not file.is_file():
            raise RequestRefused(404)
        size, data = _read(file, int(body["offset"]), body.get("length"))
        return {"size": size, "data": base64.b64encode(data).decode()}

    def _list_files(self, body: Any) -> dict[str, Any]:
        folder = self._find(str(body.get("path"))) if isinstance(body, dict) else None
        if folder is None or not folder.is_dir():
            raise RequestRefused(404)
        listing = _listing(body["path"], folder)
        return {"file_infos": [{**each, "mtime": {"nanoseconds": each["mtime"] * 10**9}} for each in listing]}

    # -- /files

    def _files(self, path: str, request: web.BaseRequest) -> web.StreamResponse:
        wanted = request.query.get("path", "")
        found = self._find(wanted)
        if not wanted:
            return refusal(400, "Expecting 'path=value' in query.\n")
        if found is None:
            return refusal(404)
        if path == "/files/browse":
            return json_answer(_listing(wanted, found)) if found.is_dir() else refusal(404)
        if not found.is_file():
            return refusal(400, "Cannot read a directory.\n")
        if path == "/files/download":
            return web.FileResponse(found)
        try:
            offset, length = int(request.query.get("offset", "-1")), int(request.query.get("length", "-1"))
        except ValueError:
            return refusal(400, "Failed to parse offset or length\n")
        size, data = _read(found, offset, length)
        return json_answer({"data": data.decode(errors="replace"), "offset": size if offset < 0 else offset})

    def _find(self, path: str) -> Path | None:
        """What a path of the API means, within the work folder only."""
        if self._work_folder is None:
            return None
        root = os.path.realpath(self._work_folder)
        wanted = path
        if path.startswith("/frameworks/"):
            parts = path.split("/")
            if "runs" in parts and parts[parts.index("runs") + 1 : parts.index("runs") + 2] != ["latest"]:
                return None
            wanted = f"{root}/slaves/{self._agent.id or 'none'}{path}"
        try:
            found = os.path.realpath(wanted)
        except (OSError, ValueError):
            return None
        inside = wanted.startswith("/") and (found == root or found.startswith(f"{root}/"))
        return Path(found) if inside and Path(found).exists() else None

    # -- what it says of its tasks

    def _tasks(self) -> dict[str, Any]:
        documents: dict[str, list[Task]] = {}
        agent_id = ID(self._agent.id or "")
        for run in self._agent.runs.values():
            kind = "queued_tasks" if run.launching is not None else "launched_tasks"
            info, framework_id = run.info, ID(run.framework_id)
            task = Task(info.name, info.task_id, framework_id, agent_id, run.state, resources=info.resources)
            documents.setdefault(kind, []).append(task)
        return documents

    def _living(self) -> list[TaskRun]:
        return [run for run in self._agent.runs.values() if run.launching is None and run.state != "TASK_STAGING"]

    def _containers(self) -> dict[str, Any]:
        """The limits include those of the executor, 0.1 cpu and 32 MB."""
        containers = []
        for run in self._living():
            total = run.pieces.total()
            statistics = {
                "timestamp": time.time(),
                "cpus_limit": total.cpus + 0.1,
                "cpus_soft_limit": total.cpus + 0.1,
                "mem_limit_bytes": round((total.mem + 32) * 1024 * 1024),
            }
            containers.append(
                {
                    "framework_id": ID(run.framework_id),
                    "executor_id": run.info.task_id,
                    "executor_name": f"Command Executor (Task: {run.task_id})",
                    "container_id": ID(run.container_id),
                    "container_status": {"container_id": ID(run.container_id), "executor_pid": run.pid or 0},
                    "resource_statistics": statistics,
                }
            )
        return {"containers": containers}

    def _state(self) -> dict[str, Any]:
        """The old /state, which tools read for the sandboxes' folders."""
        frameworks: dict[str, list[dict[str, Any]]] = {}
        for run in self._living():
            executor = {"id": run.task_id, "container": run.container_id, "directory": run.sandbox or ""}
            frameworks.setdefault(run.framework_id, []).append(executor)
        return {
            "id": self._agent.id,
            "hostname": self._agent.description.hostname,
            "version": VERSION,
            "flags": {"work_dir": str(self._work_folder or "")},
            "frameworks": [{"id": name, "executors": executors} for name, executors in frameworks.items()],
        }


def _read(file: Path, offset: int, length: int | None) -> tuple[int, bytes]:
    """The file's size, and at most 64 KiB from `offset`."""
    size = file.stat().st_size
    if offset < 0 or offset >= size:
        return size, b""
    wanted = MOST if length is None or length < 0 else min(length, MOST)
    with file.open("rb") as opened:
        opened.seek(offset)
        return size, opened.read(wanted)


def _listing(path: str, folder: Path) -> list[dict[str, Any]]:
    return [_described(path, each) for each in sorted(folder.iterdir())]


def _described(path: str, file: Path) -> dict[str, Any]:
    known = file.lstat()
    return {
        "path": f"{path.rstrip('/')}/{file.name}",
        "size": known.st_size,
        "mode": stat.filemode(known.st_mode),
        "mtime": int(known.st_mtime),
        "nlink": known.st_nlink,
        "uid": _name(lambda: pwd.getpwuid(known.st_uid).pw_name, known.st_uid),
        "gid": _name(lambda: grp.getgrgid(known.st_gid).gr_name, known.st_gid),
    }


def _name(find: Callable[[], str], number: int) -> str:
    try:
        return find()
    except KeyError:
        return str(number)
