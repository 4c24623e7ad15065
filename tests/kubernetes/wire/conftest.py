"""What the tests of the wire to Kubernetes share: a fake API server, and access to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from owmesos.kubernetes.wire.access import ApiCredentials, ClusterAccess, Credential, FixedCredentials
from owmesos.kubernetes.wire.api_client import ApiClient
from tests.fakes.api_server import FakeApiServer
from tests.fakes.pki import Pki

Access = Callable[..., ClusterAccess]


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    folder = tmp_path / "pki"
    folder.mkdir()
    return Pki(folder)


@pytest.fixture
async def server(pki: Pki) -> AsyncIterator[FakeApiServer]:
    fake = await FakeApiServer(pki.server("127.0.0.1")).start()
    yield fake
    await fake.stop()


@pytest.fixture
def access(pki: Pki, server: FakeApiServer) -> Access:
    """To the fake, with other fields where they are given."""

    def access(credentials: ApiCredentials | None = None, **fields: Any) -> ClusterAccess:
        return ClusterAccess(
            **{
                "server": server.url,
                "credentials": credentials or FixedCredentials(Credential("t1"), "the token of user u"),
                "source": "context c of /k",
                "authority": pki.ca.read_text,
            }
            | fields
        )

    return access


@pytest.fixture
async def api(access: Access) -> AsyncIterator[ApiClient]:
    async with ApiClient(access()) as client:
        yield client
