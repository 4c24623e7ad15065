"""What of deploy/ can be checked without Docker: see its README."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.manifest import parse
from tests.cli.running import running
from tests.invoker.kafka_scene import result, scene
from tests.openwhisk.store.couch import Couch, databases_of
from tests.openwhisk.supervision import State

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
CONTROLLER_CONF = (DEPLOY / "controller.conf").read_text()


def test_its_parts_fit_together() -> None:
    assert set(SERVICES) == {"kafka", "couchdb", "jar", "databases", "controller", "owmesos"}
    for name, service in SERVICES.items():
        assert service["image"], name
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            if how["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[other]
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or source.startswith(("/", ".")), volume
    built = {name for name, service in SERVICES.items() if "build" in service}
    assert built == {"databases"}
    assert SERVICES["owmesos"]["image"] == SERVICES["databases"]["image"]


def test_the_files_that_it_names_are_there() -> None:
    said = (DEPLOY / "docker-compose.yml").read_text()
    for name in re.findall(r"/deploy/([\w.]+)", said):
        assert (DEPLOY / name).is_file(), name
    build = SERVICES["databases"]["build"]
    root = (DEPLOY / build["context"]).resolve()
    assert (root / build["dockerfile"]).is_file()
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY"):
            assert all((root / source).exists() for source in line.split()[1:-1]), line


def test_both_sides_name_the_same_databases() -> None:
    environment = SERVICES["owmesos"]["environment"]
    for name in ("WhiskAuth", "WhiskEntity", "WhiskActivation"):
        stated = re.search(rf'{name} = "(\w+)"', CONTROLLER_CONF)
        assert stated is not None
        assert stated[1] == environment[f"CONFIG_whisk_couchdb_databases_{name}"]
    prefix = SERVICES["databases"]["entrypoint"][-1]
    assert environment["CONFIG_whisk_couchdb_databases_WhiskEntity"] == f"{prefix}whisks"
    credentials = SERVICES["couchdb"]["environment"]
    assert f'password = "{credentials["COUCHDB_PASSWORD"]}"' in CONTROLLER_CONF
    assert environment["CONFIG_whisk_couchdb_password"] == credentials["COUCHDB_PASSWORD"]


def test_both_sides_speak_over_the_same_kafka() -> None:
    assert SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://kafka:9092"
    assert {SERVICES[name]["environment"]["KAFKA_HOSTS"] for name in ("controller", "owmesos")} == {"kafka:9092"}


def test_the_controller_is_given_the_providers_that_the_docs_name() -> None:
    """Those of common/scala/src/main/resources/reference.conf in 1.0.0; 2.0.0's has the FPC ones in two places."""
    core = "org.apache.openwhisk.core"
    needed = {
        "LoadBalancerProvider": f"{core}.loadBalancer.ShardingContainerPoolBalancer",
        "EntitlementSpiProvider": f"{core}.entitlement.LocalEntitlementProvider",
        "MessagingProvider": "org.apache.openwhisk.connector.kafka.KafkaMessagingProvider",
        "ArtifactStoreProvider": f"{core}.database.CouchDbStoreProvider",
    }
    assert dict(re.findall(r'(\w+Provider) = "([\w.]+)"', CONTROLLER_CONF)) == needed
    documented = (DEPLOY.parent / "docs" / "openwhisk.md").read_text()
    assert dict(re.findall(r"CONFIG_whisk_spi_(\w+)=([\w.]+)", documented)) == needed


def test_the_controller_takes_the_kinds_that_owmesos_brings() -> None:
    manifest = parse((DEPLOY / "runtimes.json").read_bytes())
    assert set(manifest.kinds) == set(embedded_manifest(node="node").kinds)


def test_its_readme_names_its_images_and_files() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for service in SERVICES.values():
        assert re.sub(r"\$\{\w+:-(.*)\}", r"\1", service["image"]) in readme
    for file in DEPLOY.iterdir():
        assert file.name in readme or file.name in ("README.md", "__pycache__"), file


# -- on real servers


@pytest.fixture
def jar(tmp_path: Path) -> Path:
    """With as much in it as OpenWhisk's has of what is looked for."""
    sys.path.insert(0, str(DEPLOY))
    try:
        from init_db import VIEWS
    finally:
        sys.path.remove(str(DEPLOY))
    path = tmp_path / "openwhisk-standalone.jar"
    with zipfile.ZipFile(path, "w") as opened:
        for name in {name for names in VIEWS.values() for name in names}:
            document = {"_id": f"_design/{name.removesuffix('.json')}", "views": {}}
            opened.writestr(f"BOOT-INF/classes/couch/{name}", json.dumps(document))
    return path


@pytest.mark.couchdb
async def test_the_databases_are_made_once(jar: Path, couchdb_url: str, couchdb_prefix: str) -> None:
    for _ in range(2):
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(DEPLOY / "init_db.py"), couchdb_url, str(jar), "--prefix", couchdb_prefix
        )
        assert await asyncio.wait_for(process.wait(), 60) == 0
    async with databases_of(couchdb_url, couchdb_prefix, make=False) as couch:
        found = await couch.all(couch.names.subjects)
        assert "_design/namespace_throttlings_design_document_for_subjects_db" in found
        assert len(await couch.all(couch.names.activations)) == 5


@pytest.mark.kafka
@pytest.mark.couchdb
async def test_owmesos_runs_with_its_command_and_environment(
    broker: Broker, couchdb_url: str, couchdb_prefix: str, tmp_path: Path
) -> None:
    service = SERVICES["owmesos"]
    command = [str(tmp_path) if word == "/state" else word for word in service["command"]]
    assert (command[0], command[-2:]) == ("run", ["--admin", "127.0.0.1:8686"])
    host, _, port = couchdb_url.rpartition("://")[2].rpartition(":")
    variables = {
        **service["environment"],
        "OWMESOS_MASTER": "local",
        "KAFKA_HOSTS": broker.address,
        "CONFIG_whisk_kafka_topics_prefix": broker.prefix,
        "CONFIG_whisk_couchdb_host": host,
        "CONFIG_whisk_couchdb_port": port,
    }
    for name in ("WhiskAuth", "WhiskEntity", "WhiskActivation"):
        key = f"CONFIG_whisk_couchdb_databases_{name}"
        variables[key] = variables[key].replace("whisk_local_", couchdb_prefix)
    for name in ("username", "password"):
        del variables[f"CONFIG_whisk_couchdb_{name}"]  # the tests' server knows no users
    async with databases_of(couchdb_url, couchdb_prefix) as couch:
        await _healthy_and_running(broker, couch, command[1:-2], variables)


async def _healthy_and_running(broker: Broker, couch: Couch, options: list[str], variables: dict[str, str]) -> None:
    async with scene(broker, couch, "") as world, running(*options, variables=variables) as process:
        await world.becomes(State.HEALTHY)
        code = "import os\ndef main(args):\n    return {'host': os.environ['__OW_API_HOST']}"
        action = await world.deploy("where", code)
        assert result(await world.response(action)) == {"host": "http://controller:3233"}
        assert "settings ignored" not in process.log
        process.process.terminate()
        assert (await process.ended(60)).code == 0
        world.accounts_are_right()
