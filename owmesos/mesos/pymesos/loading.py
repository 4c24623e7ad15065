"""Imports pymesos without what that does to the process.

`import pymesos` takes SIGINT for itself, which fails outside the main thread, and logs to stderr past every setting.
Nothing else of owmesos may be the first to import it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

from owmesos.errors import OwmesosError

_importing = threading.Lock()
NAME = "pymesos"


class PymesosMissing(OwmesosError):
    """It, or something that it needs, cannot be imported; the text says how to install it on this Python."""


def import_pymesos() -> None:
    """After it `import pymesos` is harmless, on any thread. Raises PymesosMissing.

    What pymesos would log is at CRITICAL and above from then on: the driver says all of it in words of its own, and
    pymesos's come with tracebacks. Where a program imported pymesos itself, nothing is changed.
    """
    with _importing:
        known = sys.modules.get(NAME) is not None
        logger = logging.getLogger(NAME)
        handlers, level = list(logger.handlers), logger.level
        try:
            with _sigint_kept():
                import addict  # noqa: F401
                import pymesos  # noqa: F401
        except ImportError as error:
            raise PymesosMissing(_advice(error)) from None
        if known:
            return
        for handler in logger.handlers:
            if handler not in handlers:
                logger.removeHandler(handler)
        logger.setLevel(level or logging.CRITICAL)


def _advice(error: ImportError) -> str:
    if sys.version_info < (3, 11):
        how = "pip install 'owmesos[pymesos]'"
    else:
        how = "from owmesos's source tree, pip install ./compat/http-parser pymesos (see the README)"
    return f"the driver pymesos is not installed ({error}): {how}"


@contextlib.contextmanager
def _sigint_kept() -> Iterator[None]:
    """Within it, what this thread would set as a signal's handler is not set."""
    real, thread = signal.signal, threading.get_ident()

    def keeping(number: int, handler: Any) -> Any:
        if threading.get_ident() == thread:
            return signal.getsignal(number)
        return real(number, handler)

    signal.signal = keeping  # type: ignore[assignment]
    try:
        yield
    finally:
        signal.signal = real
