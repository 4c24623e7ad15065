"""A real action container on a free port: started as a task starts it, asked over HTTP, its streams in files."""

from __future__ import annotations

import base64
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from owmesos import runtimes
from owmesos.runtimes.access import verifier_of
from owmesos.runtimes.framing import VERIFIER
from tests.waiting import eventually

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
NODE_FILE = Path(runtimes.__file__).with_name("nodejs.js")
COMMANDS = {"python:3": [sys.executable, "-m", "owmesos.runtimes.python"]}
if shutil.which("node") is not None:
    COMMANDS["nodejs:20"] = ["node", str(NODE_FILE)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ActionContainer:
    """`with ActionContainer("python:3", tmp_path) as container: container.init(...)`.

    With a `secret` its task has the verifier, and what is asked here carries the secret.
    """

    def __init__(
        self, kind: str, folder: Path, *, env: Mapping[str, str] | None = None, secret: str | None = None
    ) -> None:
        self.secret = secret
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = folder
        command = [*COMMANDS[kind], "--port", str(self.port)]
        sandbox = {"MESOS_SANDBOX": str(folder), **(env or {})}
        if secret is not None:
            sandbox[VERIFIER] = verifier_of(secret)
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env={**os.environ, **sandbox}, stdout=out, stderr=err, start_new_session=True
            )

    def __enter__(self) -> ActionContainer:
        eventually(self.listens, what=f"the container listens on {self.port}")
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)
        if self.members():
            os.killpg(self.process.pid, signal.SIGKILL)

    def listens(self) -> bool:
        assert self.process.poll() is None, self.stderr()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def members(self) -> list[int]:
        """The processes of the container that live."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has just ended
                if int(fields[3]) == self.process.pid and fields[0] not in "ZX":
                    found.append(int(entry.name))
        return found

    def post(
        self,
        path: str,
        body: object,
        *,
        method: str = "POST",
        timeout: float = 20.0,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and decoded answer. `body` may be bytes, sent as they are; `headers` are in the secret's place."""
        if headers is None:
            headers = {} if self.secret is None else {"Authorization": f"Bearer {self.secret}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            assert response.getheader("Content-Length") is not None
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def init(self, code: str, *, main: str = "main", binary: bool = False, env: object = None) -> tuple[int, Any]:
        value = {"name": "test", "main": main, "code": code, "binary": binary, "env": env or {}}
        return self.post("/init", {"value": value})

    def run(self, value: object = None, **context: object) -> tuple[int, Any]:
        return self.post("/run", {"value": {} if value is None else value, **context})

    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()


def zipped(files: Mapping[str, str]) -> str:
    """As `wsk` sends it."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return base64.b64encode(data.getvalue()).decode()
