"""pymesos's scheduler under its own names, on the wire of owmesos.

A framework that is written for pymesos moves here by changing one import, and runs on Python 3.10 to 3.13 with a
heartbeat watchdog, back-off, TLS, `https://` and several masters, and without TEARDOWN where a callback raises.
docs/porting-from-pymesos.md lists what differs. Executors and the operator API are not here.
"""

from __future__ import annotations

from owmesos.compat.pymesos.driver import MesosSchedulerDriver
from owmesos.compat.pymesos.interface import Scheduler, SchedulerDriver, decode_data, encode_data
from owmesos.compat.pymesos.link import DriverError
from owmesos.mesos.wire.access import Tls

__all__ = [
    "DriverError",
    "MesosSchedulerDriver",
    "Scheduler",
    "SchedulerDriver",
    "Tls",
    "decode_data",
    "encode_data",
]
