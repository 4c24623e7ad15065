"""owmesos's own action containers beside plain programs that serve the same two requests.

The plain ones are what one would write in a dozen lines: `http.server` in python, `node:http` in node, one process, no
logs, no secret, and no way to tell a crash. "Warm" is the time of the processor that all processes of the container
take for one `/run` with a small argument and result, over one connection. "Cold" is the same from the start of the
program to the answer to `/init`, with an action of one line. Ours has a secret, as it has on a cluster.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from benchmarks.row import Row
from owmesos import runtimes
from owmesos.runtimes.access import verifier_of
from owmesos.runtimes.framing import VERIFIER

RUNS, STARTS = 3_000, 20
PYTHON_WARM_MS, PYTHON_COLD_MS = 0.25, 100.0
_TICK_MS = 1000 / os.sysconf("SC_CLK_TCK")
_PATIENCE = 30.0  # seconds

PLAIN_PYTHON = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    space = {}
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/init":
            exec(body["value"]["code"], self.space)
            answer = {}
        else:
            answer = self.space["main"](body["value"])
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_): pass
HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""
PLAIN_NODE = """
const http = require('node:http')
let main
http.createServer((request, response) => {
  const parts = []
  request.on('data', (part) => parts.push(part))
  request.on('end', () => {
    const body = JSON.parse(Buffer.concat(parts))
    if (request.url === '/init') main = new Function(body.value.code + '; return main')()
    const data = JSON.stringify(request.url === '/init' ? {} : main(body.value))
    response.writeHead(200, { 'Content-Length': Buffer.byteLength(data) })
    response.end(data)
  })
}).listen(Number(process.argv.at(-1)), '127.0.0.1')
"""
CODE = {
    "python:3": "def main(args):\n    return {'hello': args['name']}",
    "nodejs:20": "function main(args) { return { hello: args.name } }",
}


class Program(NamedTuple):
    """A command that gets `--port N`, and its secret, if it has one."""

    kind: str
    command: tuple[str, ...]
    secret: str | None = None


class Costs(NamedTuple):
    """In ms; `warm` and `cold` of the processor, `latency` the median of warm runs by the clock."""

    warm: float
    latency: float
    cold: float


@contextmanager
def _started(program: Program) -> Iterator[tuple[int, http.client.HTTPConnection]]:
    """The process, a group of its own, and a connection to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = dict(os.environ)
    if program.secret is not None:
        env[VERIFIER] = verifier_of(program.secret)
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(
            [*program.command, "--port", str(port)],
            cwd=folder,
            env=env | {"PYTHONPATH": str(Path(runtimes.__file__).parents[2])},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            yield process.pid, _connected(port)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _connected(port: int) -> http.client.HTTPConnection:
    deadline = time.monotonic() + _PATIENCE
    while not _listens(port):
        if time.monotonic() > deadline:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.005)
    return http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _ask(connection: http.client.HTTPConnection, path: str, value: object, secret: str | None) -> object:
    headers = {"Content-Type": "application/json"}
    if secret is not None:
        headers["Authorization"] = f"Bearer {secret}"
    connection.request("POST", path, json.dumps({"value": value}), headers)
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status == 200, body
    return json.loads(body)


def _used(group: int) -> float:
    """Ms of the processor that the processes of a group have taken, with those that they have seen end."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(fields[2]) == group:
                    ticks += sum(map(int, fields[11:15]))
    return ticks * _TICK_MS


def _initialized(program: Program, group: int, connection: http.client.HTTPConnection) -> float:
    value = {"name": "hello", "main": "main", "binary": False, "code": CODE[program.kind], "env": {}}
    _ask(connection, "/init", value, program.secret)
    return _used(group)


def measure(program: Program, runs: int, starts: int) -> Costs:
    cold = []
    for _ in range(starts):
        with _started(program) as (group, connection):
            cold.append(_initialized(program, group, connection))
    with _started(program) as (group, connection):
        _initialized(program, group, connection)
        for _ in range(runs // 10):
            _ask(connection, "/run", {"name": "x"}, program.secret)
        before, took = _used(group), []
        for _ in range(runs):
            begun = time.perf_counter()
            assert _ask(connection, "/run", {"name": "x"}, program.secret) == {"hello": "x"}
            took.append(time.perf_counter() - begun)
        return Costs((_used(group) - before) / runs, statistics.median(took) * 1000, statistics.mean(cold))


def run(quick: bool = False) -> list[Row]:
    runs, starts = (200, 2) if quick else (RUNS, STARTS)
    secret = secrets.token_hex(32)
    rows = []
    own = (sys.executable, "-m", "owmesos.runtimes.python")
    pairs = [
        (Program("python:3", own, secret), Program("python:3", (sys.executable, "-c", PLAIN_PYTHON)), True),
    ]
    node = shutil.which("node")
    if node is not None:
        file = Path(runtimes.__file__).with_name("nodejs.js")
        plain = (node, "-e", PLAIN_NODE, "--")
        pairs.append((Program("nodejs:20", (node, str(file)), secret), Program("nodejs:20", plain), False))
    for ours, other, has_targets in pairs:
        costs, others = measure(ours, runs, starts), measure(other, runs, starts)
        rows += _rows(ours.kind, costs, others, has_targets=has_targets, quick=quick)
    return rows


def _rows(kind: str, costs: Costs, others: Costs, *, has_targets: bool, quick: bool) -> list[Row]:
    against = f"a plain {kind.partition(':')[0].removesuffix('js')} program"
    rows = []
    for what, ours, other, target in (
        ("warm run, of the processor", costs.warm, others.warm, PYTHON_WARM_MS if has_targets else None),
        ("warm run, median by the clock", costs.latency, others.latency, None),
        (
            "cold start to /init answered, of the processor",
            costs.cold,
            others.cold,
            PYTHON_COLD_MS if has_targets else None,
        ),
    ):
        rows.append(
            Row(
                name=f"{kind}: {what}",
                ours=ours,
                unit="ms",
                against=against,
                other=other,
                target="" if target is None else f"{target:g} ms",
                met=None if quick or target is None else ours <= target,
            )
        )
    return rows
