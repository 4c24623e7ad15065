"""The log of `owmesos run`, on stderr."""

from __future__ import annotations

import logging
import time

from owmesos.cli.columns import short_ids


class ShortIdFormatter(logging.Formatter):
    """With the ids of agents and offers as tables have them: `S0`."""

    def format(self, record: logging.LogRecord) -> str:
        return short_ids(super().format(record))


class ProcessLog:
    """Times are UTC, as everywhere in owmesos. Other libraries log warnings and errors only. `debug` has whole ids."""

    def __init__(self, level: str) -> None:
        self.level = ""
        self.handler = logging.StreamHandler()
        self.set(level)
        logging.basicConfig(level=logging.WARNING, handlers=[self.handler])

    def set(self, level: str) -> None:
        """The lowest level to log, from now on."""
        self.level = level
        formatter_type = logging.Formatter if level == "debug" else ShortIdFormatter
        formatter = formatter_type("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
        formatter.converter = time.gmtime
        formatter.default_time_format, formatter.default_msec_format = "%Y-%m-%dT%H:%M:%S", "%s.%03dZ"
        self.handler.setFormatter(formatter)
        logging.getLogger("owmesos").setLevel(level.upper())
