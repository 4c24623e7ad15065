"""The drivers that the cases run with. Another one is one more entry in `DRIVERS`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from owmesos.mesos.messages import Subscribe
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import parse_master
from owmesos.mesos.wire.detector import Detector, access_for, detector_for
from owmesos.mesos.wire.driver import Driver
from owmesos.mesos.wire.http_driver import HttpDriver
from owmesos.system.retry_pause import RetryPause

Connect = Callable[[str, Access, Subscribe], Driver]
"""A driver for a master (as `parse_master` takes it) that subscribes when its events are asked for."""


def find_master(master: str, access: Access) -> tuple[Detector, Access]:
    """`master` as a case's cluster names it. Credentials in it come from the environment."""
    masters = parse_master(master, credentials_allowed=True)
    return detector_for(masters), access_for(masters, access)


def _http(master: str, access: Access, subscription: Subscribe) -> Driver:
    detector, access = find_master(master, access)
    return HttpDriver(detector, subscription, access, backoff=RetryPause(shortest=0.05, longest=0.5))


def _pymesos(master: str, access: Access, subscription: Subscribe) -> Driver:
    pytest.importorskip("pymesos", reason="pymesos is not installed: pip install ./compat/http-parser pymesos")
    from owmesos.mesos.pymesos.driver import PymesosDriver

    detector, access = find_master(master, access)
    return PymesosDriver(detector, subscription, access, backoff=RetryPause(shortest=0.05, longest=0.5))


def _pymesos_alone(master: str, access: Access, subscription: Subscribe) -> Driver:
    from tests.conformance.pymesos_alone import PymesosAlone

    return PymesosAlone(master, access, subscription)


DRIVERS: dict[str, Connect] = {"http": _http, "pymesos": _pymesos, "pymesos-alone": _pymesos_alone}
USUAL = ["http", "pymesos"]
"""Those that are run when none is named. pymesos by itself fails many cases: that is for the docs to show."""
