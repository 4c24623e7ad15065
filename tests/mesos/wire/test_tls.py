"""TLS to a master: verified by default, with an authority and a certificate of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from owmesos.mesos.messages import Revive, Subscribed
from owmesos.mesos.wire.access import Access, Tls
from owmesos.mesos.wire.address import Credentials, parse_master
from owmesos.mesos.wire.detector import detector_for
from owmesos.mesos.wire.operator_client import MasterUnreachable, OperatorClient, OperatorFailed
from tests.fakes.master import FakeMaster, plain
from tests.fakes.pki import Pki
from tests.mesos.wire.conftest import CountedBackoff, Drive
from tests.waiting import eventually_async


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
async def master(pki: Pki) -> AsyncIterator[FakeMaster]:
    fake = await FakeMaster(tls=pki.server("127.0.0.1")).start()
    yield fake
    await fake.stop()


@pytest.fixture
async def choosy(pki: Pki) -> AsyncIterator[FakeMaster]:
    """A master that wants a certificate of its clients."""
    fake = await FakeMaster(tls=pki.server("127.0.0.1", asks_client=True)).start()
    yield fake
    await fake.stop()


def operator(url: str, access: Access) -> OperatorClient:
    return OperatorClient(detector_for(parse_master(url, credentials_allowed=False)), access)


async def is_never_asked(master: FakeMaster, drive: Drive, access: Access) -> bool:
    """True if the driver gives up its tries before anything is said, and goes on trying."""
    backoff = CountedBackoff(shortest=0.02, longest=0.1)
    driving = drive(master.url, access=access, backoff=backoff)
    await eventually_async(lambda: len(backoff.waits) > 2)
    return set(driving.kinds()) == {"SubscribeUnanswered"} and not master.headers


async def test_an_authority_of_ones_own_is_trusted(master: FakeMaster, drive: Drive, pki: Pki) -> None:
    driving = drive(master.url, access=Access(tls=Tls(ca=pki.ca)))
    await driving.until(Subscribed)
    await driving.driver.call(Revive())


async def test_an_unknown_authority_is_not_trusted(master: FakeMaster, drive: Drive) -> None:
    access = Access(Credentials("me", "xyzzy"))
    assert await is_never_asked(master, drive, access)
    async with operator(master.url, access) as client:
        with pytest.raises(MasterUnreachable, match="is not trusted: unable to get local issuer certificate; give"):
            await client.agents()


async def test_a_certificate_for_another_host_is_not_trusted(drive: Drive, pki: Pki) -> None:
    fake = await FakeMaster(tls=pki.server("other.example.org")).start()
    assert await is_never_asked(fake, drive, Access(tls=Tls(ca=pki.ca)))
    await fake.stop()


async def test_a_client_certificate_is_shown(choosy: FakeMaster, drive: Drive, pki: Pki) -> None:
    access = Access(tls=Tls(ca=pki.ca, cert=pki.cert, key=pki.key))
    driving = drive(choosy.url, access=access)
    await driving.until(Subscribed)
    choosy.operator["GET_HEALTH"] = plain(
        200, '{"type":"GET_HEALTH","get_health":{"healthy":true}}', "application/json"
    )
    async with operator(choosy.url, access) as client:
        assert await client.healthy()


# Python 3.10 takes a TLS transport for unclosed when its peer ends the handshake.
@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
async def test_without_a_client_certificate_nothing_is_had(choosy: FakeMaster, drive: Drive, pki: Pki) -> None:
    access = Access(tls=Tls(ca=pki.ca))
    assert await is_never_asked(choosy, drive, access)
    async with operator(choosy.url, access) as client:
        with pytest.raises(OperatorFailed):
            await client.agents()


async def test_plain_http_to_a_tls_master_is_waited_out(master: FakeMaster, drive: Drive) -> None:
    backoff = CountedBackoff(shortest=0.02, longest=0.1)
    driving = drive(master.address, backoff=backoff)
    await eventually_async(lambda: len(backoff.waits) > 2)
    assert set(driving.kinds()) == {"SubscribeUnanswered"}


async def test_a_redirection_out_of_tls_is_not_followed(master: FakeMaster, drive: Drive, pki: Pki) -> None:
    bare = await FakeMaster().start()
    master.on_subscribe = plain(307, Location=f"{bare.url}/api/v1/scheduler")
    drive(master.url, access=Access(Credentials("me", "xyzzy"), Tls(ca=pki.ca)))
    await eventually_async(lambda: len(master.subscribes) > 1)
    assert not bare.headers
    await bare.stop()
