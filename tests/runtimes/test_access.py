"""Only who knows a container's secret can use the container, and can tell it from another process."""

from __future__ import annotations

import re
import socket
import subprocess

import pytest

from owmesos.runtimes.access import Gate, proof_of, verifier_of
from owmesos.runtimes.framing import NONCE_LENGTH, VERIFIER
from tests.runtimes.conftest import Start
from tests.runtimes.container import COMMANDS, free_port

SECRET = "5ec" + "7e7" * 20 + "0"
NONCE = "0123456789abcdef" * 4
ECHO = {
    "python:3": "def main(args):\n    return {'got': args}",
    "nodejs:20": "function main(args) { return { got: args } }",
}
LOOK = {
    "python:3": "import os\n"
    "def read(path):\n"
    "    with open(path, 'rb') as file:\n"
    "        return file.read().decode('latin-1')\n"
    "def main(args):\n"
    "    names = ['environ', 'cmdline']\n"
    "    seen = [read(f'/proc/{pid}/{name}') for pid in ('self', os.getppid()) for name in names]\n"
    "    return {'environment': dict(os.environ), 'seen': seen}",
    "nodejs:20": "const fs = require('fs')\n"
    "const files = ['self', process.ppid].flatMap((pid) => [`/proc/${pid}/environ`, `/proc/${pid}/cmdline`])\n"
    "const main = () => ({ environment: { ...process.env }, seen: files.map((f) => fs.readFileSync(f, 'latin1')) })",
}


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def code(kind: str, text: str) -> dict[str, object]:
    return {"value": {"name": "test", "main": "main", "code": text, "binary": False, "env": {}}}


class TestRequests:
    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"Authorization": ""},
            {"Authorization": SECRET},
            {"Authorization": f"Basic {SECRET}"},
            bearer(""),
            bearer(SECRET[:-1]),
            bearer(SECRET.upper()),
            bearer("\xff" * 64),
            bearer(verifier_of(SECRET)),
        ],
    )
    def test_without_the_secret_nothing_is_done(self, headers: dict[str, str], kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        refusal = {"error": "the Authorization header must have this container's secret"}
        assert container.post("/init", code(kind, ECHO[kind]), headers=headers) == (401, refusal)
        assert container.init(ECHO[kind])[0] == 200  # it was not initialized before
        assert container.post("/run", {"value": {}}, headers=headers) == (401, refusal)
        assert container.run({"n": 1}) == (200, {"got": {"n": 1}})

    def test_the_secret_is_asked_for_on_every_path_and_method(self, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        for method, path in (("GET", "/"), ("POST", "/other"), ("GET", "/run"), ("POST", "//init")):
            assert container.post(path, b"", method=method, headers={})[0] == 401

    def test_nothing_of_a_strangers_body_is_waited_for_or_kept(self, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        for path in ("/init", "/prove"):
            with socket.create_connection(("127.0.0.1", container.port), timeout=10) as connection:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000000\r\n\r\n"
                connection.sendall(head.encode())
                answer = b""
                while data := connection.recv(65536):  # until it closes
                    answer += data
            assert answer.startswith(b"HTTP/1.1 401 ")

    def test_strangers_who_keep_connections_do_not_shut_the_invoker_out(self, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        idle = [socket.create_connection(("127.0.0.1", container.port), timeout=10) for _ in range(200)]
        try:
            assert container.init(ECHO[kind])[0] == 200
            assert container.run({}) == (200, {"got": {}})
        finally:
            for connection in idle:
                connection.close()

    def test_without_a_verifier_everybody_is_served(self, kind: str, start: Start) -> None:
        container = start(kind)
        assert container.post("/init", code(kind, ECHO[kind]), headers={})[0] == 200
        assert container.post("/prove", NONCE.encode(), headers={})[0] == 404

    @pytest.mark.parametrize("verifier", ["", "0" * 63, "0" * 65, "x" * 64, "A" * 64])
    def test_what_is_not_a_verifier_is_no_container(self, verifier: str, kind: str) -> None:
        command = [*COMMANDS[kind], "--port", str(free_port())]
        ended = subprocess.run(
            command, check=False, env={VERIFIER: verifier}, capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 1
        assert f"{VERIFIER} must be 64 hexadecimal digits" in ended.stderr


class TestUserCode:
    def test_nothing_that_it_sees_lets_it_call_a_container(self, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        assert container.init(LOOK[kind])[0] == 200
        status, looked = container.run({})
        assert status == 200
        assert VERIFIER not in looked["environment"]
        seen = " ".join(looked["seen"])
        assert SECRET not in seen
        assert SECRET not in str(looked)
        found = set(re.findall("[0-9a-f]{64}", seen))
        assert verifier_of(SECRET) in found  # /proc of the process that listens shows it: it is of no use
        for each in found:
            assert container.post("/run", {"value": {}}, headers=bearer(each))[0] == 401


class TestProofs:
    def test_a_container_proves_what_it_is(self, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        assert container.post("/prove", NONCE.encode(), headers={}) == (
            200,
            {"proof": proof_of(verifier_of(SECRET), NONCE)},
        )

    @pytest.mark.parametrize("challenge", [b"", b"0" * 63, b"G" * 64, b"\xff" * 64])
    def test_what_is_not_a_challenge_is_not_answered(self, challenge: bytes, kind: str, start: Start) -> None:
        container = start(kind, secret=SECRET)
        refusal = {"error": "a challenge is 64 hexadecimal digits"}
        assert container.post("/prove", challenge, headers={}) == (400, refusal)

    def test_proofs_of_other_nonces_and_containers_differ(self) -> None:
        proofs = {proof_of(verifier_of(secret), nonce) for secret in ("a", "b") for nonce in (NONCE, NONCE[::-1])}
        assert len(proofs) == 4
        assert all(len(proof) == NONCE_LENGTH for proof in proofs)

    def test_both_runtimes_prove_alike(self) -> None:
        gate = Gate(verifier_of(SECRET))
        assert gate.prove(NONCE) == proof_of(verifier_of(SECRET), NONCE)
        assert gate.prove(NONCE.upper()) is None
