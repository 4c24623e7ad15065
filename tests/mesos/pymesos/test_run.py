"""`owmesos run --driver pymesos`: what goes wrong is one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from tests.cli.running import owmesos, owmesos_process, running
from tests.fakes.master import FakeMaster, plain
from tests.mesos.pymesos.conftest import PYMESOS_MISSING
from tests.waiting import eventually_async

RUN = ("run", "--driver", "pymesos", "--admin", "127.0.0.1:0")


@pytest.fixture(autouse=True)
def _installed() -> None:
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)


def test_tls_is_refused(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(authority))
    for options in (("--master", "https://m:5050"), ("--master", "m:5050", "--tls-ca", str(authority))):
        ran = owmesos(*RUN, *options, "--state", str(tmp_path))
        assert "pymesos does not support TLS: use the driver http" in ran.err.splitlines()[-1]
        assert ran.code == 2


async def test_where_pymesos_is_missing_it_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "pymesos.py").write_text("raise ImportError('not here')")
    ran = await owmesos_process(
        *RUN, "--master", "m:5050", "--state", str(tmp_path), variables={"PYTHONPATH": str(tmp_path)}
    )
    assert ran.code == 1
    assert "the driver pymesos is not installed (not here): " in ran.line
    assert "pip install" in ran.line


async def test_a_master_that_refuses_ends_it_with_the_masters_words(master: FakeMaster, tmp_path: Path) -> None:
    master.on_subscribe = plain(401, "who are you?")
    ran = await owmesos_process(*RUN, "--master", master.address, "--state", str(tmp_path))
    assert ran.code == 1
    assert "who are you?" in ran.err.splitlines()[-1]
    assert "Traceback" not in ran.err
    assert not any(call["type"] == "TEARDOWN" for call in master.calls)


async def test_a_master_that_is_not_ready_is_waited_for_and_sigterm_sends_no_teardown(
    master: FakeMaster, tmp_path: Path
) -> None:
    master.on_subscribe = plain(503, "Master has not finished recovery")
    async with running("--driver", "pymesos", "--master", master.address, "--state", str(tmp_path)) as framework:
        await framework.said("answers SUBSCRIBE with 503: Master has not finished recovery")
        await eventually_async(lambda: len(master.subscribes) >= 2)
        ran = await framework.end()
    assert ran.code == 0
    assert "Traceback" not in ran.err
    assert not any(call["type"] == "TEARDOWN" for call in master.calls)
