"""The drivers that the cases run with. Another one is one more entry in `DRIVERS`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from owmesos.mesos.access import Access
from owmesos.mesos.address import parse_master
from owmesos.mesos.backoff import Backoff
from owmesos.mesos.client import HttpDriver
from owmesos.mesos.detector import Detector, access_for, detector_for
from owmesos.mesos.driver import Driver, Subscription

Connect = Callable[[str, Access, Subscription], Driver]
"""A driver for a master (as `parse_master` takes it) that subscribes when its events are asked for."""


def find_master(master: str, access: Access) -> tuple[Detector, Access]:
    """`master` as a case's cluster names it. Credentials in it come from the environment."""
    masters = parse_master(master, credentials_allowed=True)
    return detector_for(masters), access_for(masters, access)


def _http(master: str, access: Access, subscription: Subscription) -> Driver:
    detector, access = find_master(master, access)
    return HttpDriver(detector, subscription, access, backoff=Backoff(shortest=0.05, longest=0.5))


def _pymesos(master: str, access: Access, subscription: Subscription) -> Driver:
    pytest.importorskip("pymesos", reason="pymesos is not installed: pip install ./compat/http-parser pymesos")
    from owmesos.mesos.pymesos_driver import PymesosDriver

    detector, access = find_master(master, access)
    return PymesosDriver(detector, subscription, access, backoff=Backoff(shortest=0.05, longest=0.5))


def _pymesos_alone(master: str, access: Access, subscription: Subscription) -> Driver:
    from tests.conformance.pymesos_alone import PymesosAlone

    return PymesosAlone(master, access, subscription)


DRIVERS: dict[str, Connect] = {"http": _http, "pymesos": _pymesos, "pymesos-alone": _pymesos_alone}
USUAL = ["http", "pymesos"]
"""Those that are run when none is named. pymesos by itself fails many cases: that is for the docs to show."""
