"""HTTP basic authentication, on real Mesos."""

from __future__ import annotations

import getpass
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.local.toolchain import BuildError
from owmesos.mesos.messages import Revive, Subscribe, Subscribed
from owmesos.mesos.wire.access import Access, read_secret
from owmesos.mesos.wire.address import Credentials, parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.driver import SubscribeRefused
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorRefused
from tests.mesos.wire.conftest import INFO, Drive

pytestmark = [pytest.mark.real_mesos, pytest.mark.cluster]
USER = msgspec.structs.replace(INFO, user=getpass.getuser())


@pytest.fixture(scope="module")
def mesos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MesosCluster]:
    """A master without agents that lets in whom it knows."""
    folder = tmp_path_factory.mktemp("mesos")
    known = folder / "credentials"
    known.write_text(json.dumps({"credentials": [{"principal": "me", "secret": "xyzzy"}]}))
    known.chmod(0o600)
    flags = {
        "credentials": str(known),
        "authenticate_http_frameworks": "true",
        "http_framework_authenticators": "basic",
        "authenticate_http_readonly": "true",
        "authenticate_http_readwrite": "true",
    }
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = MesosCluster(folder, master_port=port, agents=0, master_flags={**flags, "registry": "in_memory"})
    try:
        cluster.up()
    except BuildError as reason:
        pytest.skip(str(reason))
    yield cluster
    cluster.down()


def operator(mesos: MesosCluster, credentials: Credentials | None) -> OperatorClient:
    return OperatorClient(detector_for(parse_master(mesos.master, credentials_allowed=False)), Access(credentials))


async def test_a_known_principal_subscribes_and_calls(mesos: MesosCluster, drive: Drive, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("xyzzy\n")
    file.chmod(0o600)
    credentials = Credentials("me", read_secret(file, {}) or "")
    info = msgspec.structs.replace(USER, principal="me")
    driving = drive(mesos.master, access=Access(credentials), subscription=Subscribe(info))
    await driving.until(Subscribed)
    await driving.driver.call(Revive())
    async with operator(mesos, credentials) as client:
        assert (await client.version()).version_info.version == "1.11.0"


@pytest.mark.parametrize("credentials", [None, Credentials("me", "wrong"), Credentials("you", "xyzzy")])
async def test_all_others_are_refused_with_the_masters_words(
    mesos: MesosCluster, drive: Drive, credentials: Credentials | None
) -> None:
    driving = drive(mesos.master, access=Access(credentials), subscription=Subscribe(USER))
    refused = (await driving.until(SubscribeRefused))[0]
    assert refused == SubscribeRefused(401, "401 Unauthorized.")
    async with operator(mesos, credentials) as client:
        with pytest.raises(OperatorRefused, match=r"refused the call \(401\)"):
            await client.agents()


async def test_a_principal_that_is_not_ones_own_is_refused(mesos: MesosCluster, drive: Drive) -> None:
    info = msgspec.structs.replace(USER, principal="you")
    driving = drive(mesos.master, access=Access(Credentials("me", "xyzzy")), subscription=Subscribe(info))
    refused = (await driving.until(SubscribeRefused))[0]
    assert isinstance(refused, SubscribeRefused)
    assert refused.status == 400
    assert "does not match principal 'you'" in refused.reason
