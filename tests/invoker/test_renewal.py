"""What an invoker on Kafka reads again on SIGHUP: a broker with TLS and a login, both renewed, under a process that
goes on. All but Mesos is real."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from owmesos.openwhisk.kafka.broker import Broker
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system.private_files import write_private
from tests.cli.running import Running, running
from tests.invoker.kafka_scene import Scene, result, scene
from tests.openwhisk.controller import Invokable
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import State
from tests.servers.kafka import PASSWORD, USER, Kafka

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.couchdb,
    pytest.mark.cluster,
    pytest.mark.simulator(resources="cpus:4;mem:2048;disk:1024"),
]
WHAT = "Kafka's TLS and login"


@pytest.fixture
async def world(renewed: Kafka, broker: Broker, couch: Couch, simulator: SimulatedCluster) -> AsyncIterator[Scene]:
    """Ends before the broker does."""
    async with scene(broker, couch, simulator.master) as world:
        yield world


class Files:
    """What an operator gives to `run`, and replaces."""

    def __init__(self, folder: Path) -> None:
        self.authority, self.settings = folder / "kafka-ca.pem", folder / "kafka.toml"

    def write(self, kafka: Kafka, password: str) -> None:
        """The authority that the broker has now, or will have when it starts again."""
        shutil.copyfile(kafka.authority, self.authority)
        login = {"sasl_mechanism": "PLAIN", "sasl_plain_username": USER, "sasl_plain_password": password}
        lines = {"security_protocol": "SASL_SSL", "ssl_cafile": str(self.authority), **login}
        write_private(self.settings, "".join(f'{name} = "{value}"\n' for name, value in lines.items()))


def options(world: Scene, kafka: Kafka, files: Files, folder: Path) -> tuple[str, ...]:
    return (
        *("--master", world.master, "--state", str(folder / "state"), "--name", "renewed"),
        *("--kafka", f"127.0.0.1:{kafka.secure_port}", "--topic-prefix", world.broker.prefix, "--id", "0"),
        *("--kafka-settings", str(files.settings)),
        *("--couchdb", world.couch.url, "--couchdb-prefix", world.couch.prefix),
    )


async def works(world: Scene, action: Invokable) -> None:
    await world.becomes(State.HEALTHY)
    assert result(await world.response(action, {"n": 1})) == {"got": {"n": 1}}


async def restart(process: Running, kafka: Kafka, password: str) -> str:
    """Its connections end, and new ones are accepted only with the new authority and the new password. Away until
    `process` has said so: what is shorter it may not notice. The pattern of the line that says that it is back."""
    away, back = process.log.count("has been down"), process.log.count("is back")
    await asyncio.to_thread(kafka.stop)
    await process.said(rf"(?s)(has been down.*){{{away}}}Kafka at \S+ has been down")
    kafka.password = password
    await asyncio.to_thread(kafka.start)
    return rf"(?s)(is back.*){{{back}}}Kafka at \S+ is back"


async def test_kafkas_authority_and_login(world: Scene, renewed: Kafka, tmp_path: Path) -> None:
    kafka, files = renewed, Files(tmp_path)
    files.write(kafka, PASSWORD)
    action = await world.deploy()
    async with running(*options(world, kafka, files, tmp_path)) as process:
        await works(world, action)

        # Renewed before the broker has them: what is connected goes on.
        kafka.certify()
        files.write(kafka, "second")
        await process.hang_up(f"renewed: {WHAT}")
        await works(world, action)
        assert "Kafka at " not in process.log
        await process.said(await restart(process, kafka, "second"))
        await works(world, action)

        # Nothing that is wrong replaces what is right.
        files.authority.write_text("no certificate")
        await process.hang_up(rf"not renewed: {WHAT}: .* ssl_cafile {files.authority} cannot be used: .* is kept")
        write_private(files.settings, "security_protocol = ")
        await process.hang_up(f"not renewed: {WHAT}: {files.settings} is not valid TOML: .* is kept")
        files.settings.unlink()
        await process.hang_up(f"not renewed: {WHAT}: the secret file {files.settings} cannot be read")
        await process.said(await restart(process, kafka, "second"))
        await process.said("a new connection to Kafka has what was read before: ssl_cafile")
        await works(world, action)

        # The broker has a password first: it rejects the former one, until that is renewed.
        is_back = await restart(process, kafka, "third")
        await process.said("correct the login in --kafka-settings, then send SIGHUP")
        files.write(kafka, "third")
        await process.hang_up(f"renewed: {WHAT}")
        await process.said(is_back)
        await works(world, action)
        await world.all_ended()
        world.accounts_are_right()
        assert (await process.end()).code == 0
