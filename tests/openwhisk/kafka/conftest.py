"""For the tests with kafka-python's clients."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="module")
def sockets_collected() -> Iterator[None]:
    """kafka-python leaves sockets to the garbage collector: no test of another module gets the warning."""
    yield
    gc.collect()
