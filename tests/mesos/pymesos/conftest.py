"""The fixtures of `tests/mesos/wire`, with the driver on pymesos in the place of our own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.mesos.wire.conftest import (
    Drive,
    driving,
    master,  # noqa: F401  (the same fixture)
)

PYMESOS_MISSING = "pymesos is not installed: pip install ./compat/http-parser pymesos"


@pytest.fixture
async def drive() -> AsyncIterator[Drive]:
    """As in `tests/mesos/wire`."""
    pytest.importorskip("pymesos", reason=PYMESOS_MISSING)
    from owmesos.mesos.pymesos.driver import PymesosDriver

    async with driving(PymesosDriver) as start:
        yield start
