"""What the OpenAPI document says of a running process holds: schemathesis sends it requests that the document allows,
and such as it does not, and compares what is answered. The same requests each time.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import Ran, Running, environment, running
from tests.fixtures.task_ports import TaskPorts

TOKEN = "admin-token-of-the-tests"
EXAMPLES = "10"  # random requests for each operation, besides those that schemathesis makes of the bounds
SETTINGS = """\
[auth.openapi.token]
bearer = "{token}"

[[operations]]  # these have rules that no schema can say: which parameters or fields go together
include-path-regex = "/(launches|kill|actions/.name.)$"
checks.positive_data_acceptance.enabled = false

[[operations]]  # a key that was used for another request is rejected, 422
include-path-regex = "/invoke$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]

[[operations]]
include-path-regex = "/(explain|story)/"
parameters = {{ "path.id" = "{launch}" }}

[[operations]]
include-path-regex = "/activations/.id./cancel$"
parameters = {{ "path.id" = "{waiting}" }}

[[operations]]
include-path-regex = "/activations/.id.(/logs|/result)?$|/logs/.id."
parameters = {{ "path.id" = "{ended}" }}
"""


@pytest.fixture
async def process(task_ports: TaskPorts, tmp_path: Path) -> AsyncIterator[Running]:
    """With a launch, and an activation that has ended and one that waits, whose ids `schemathesis.toml` has. Its agent
    is dead, so that nothing runs that schemathesis makes up."""
    token, code = tmp_path / "token", tmp_path / "code.py"
    token.write_text(TOKEN)
    token.chmod(0o600)
    code.write_text("def main(args):\n    print('called')\n    return args\n")
    with SimulatedCluster(agents=1, resources=task_ports.resources(1)) as cluster:
        arguments = ("--standalone", "--master", cluster.master, "--state", str(tmp_path / "state"))
        async with running(*arguments, "--admin-token-file", str(token)) as process:

            async def ask(*command: str) -> Ran:
                return await process.ask(*command, "--admin-token-file", str(token))

            for name in ("ends", "waits"):
                assert (await ask("action", "create", name, str(code))).code == 0
            ended = (await ask("invoke", "ends", "--blocking", "-o", "json")).json
            cluster.kill("agent1")
            (launch,) = (await ask("launch", "--command", "true", "-o", "json")).json
            waiting = (await ask("invoke", "waits", "-o", "json")).json
            (tmp_path / "schemathesis.toml").write_text(
                SETTINGS.format(
                    token=TOKEN,
                    launch=launch["launch_id"],
                    waiting=waiting["activationId"],
                    ended=ended["activationId"],
                )
            )
            yield process


async def test_what_the_document_says_is_what_is_answered(process: Running, tmp_path: Path) -> None:
    schemathesis = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"),
        *("run", f"{process.url}/api/v1/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}"),  # for the document itself
        *("--exclude-path-regex", "/(teardown|events)$"),  # the process would end; the answer would not
        *(
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            EXAMPLES,
            "--generation-deterministic",
            "--no-shrink",
        ),
        *("--continue-on-failure", "--no-color", "--request-timeout", "90"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
        env=environment(),
    )
    out, _ = await schemathesis.communicate()
    assert schemathesis.returncode == 0, out.decode()
    assert "Traceback" not in process.log
