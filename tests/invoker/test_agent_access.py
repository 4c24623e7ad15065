"""Agents are asked for logs as the masters are asked for all else: with the same credentials, by TLS where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from owmesos.invoker.extension import container_pool
from owmesos.mesos.wire.access import Tls
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.service.framework import Framework
from tests.fixtures.real_mesos import ClusterFactory
from tests.invoker.invoking import Scene
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

PRINTS = "def main(args):\n    print('said')\n    return args"


@pytest.mark.parametrize(
    ("master", "tls", "secure"),
    [
        ("host:5050", None, False),
        ("http://host:5050", Tls(), False),
        ("host:5050", Tls(), True),
        ("https://host:5050,other", None, True),
        ("zk://host/mesos", None, False),
        ("zk://host/mesos", Tls(), True),
    ],
)
def test_agents_speak_tls_where_the_masters_do(master: str, tls: Tls | None, secure: bool) -> None:
    assert Framework(master=master, tls=tls).secure is secure


@pytest.mark.real_mesos
async def test_logs_are_read_at_agents_that_let_in_whom_they_know(
    mesos_cluster: ClusterFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known = tmp_path / "credentials"
    known.write_text(json.dumps({"credentials": [{"principal": "me", "secret": "xyzzy"}]}))
    known.chmod(0o600)
    # The second is for the idle master that is in an agent's process, too.
    flags = {"authenticate_http_readwrite": "true", "http_credentials": str(known), "credentials": str(known)}
    cluster = mesos_cluster(agents=1, agent_flags=flags)
    for secret, line, containers in (("xyzzy", "stdout: said", 1), ("other", "There was an issue", 0)):
        pool = container_pool(embedded_manifest())
        async with Framework(master=cluster.master, principal="me", secret=secret, pool=pool) as framework:
            await eventually_async(lambda framework=framework: framework.nodes())  # type: ignore[misc]
            scene = Scene(framework, action(code=PRINTS, logs=1))
            message = activation()
            await scene.run(message)
            await eventually_async(lambda scene=scene: scene.records.kept)  # type: ignore[misc]
            assert line in scene.records.kept[message.activation_id].logs[-1]
            await scene.accounts_are_right()
            left = [each for each in framework.containers() if each["state"] == "warm"]
            assert len(left) == containers
            await scene.invoker.close()
    assert caplog.text.count("a node refuses to give logs") == 1
