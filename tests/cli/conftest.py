"""What the tests of the command line share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from tests.cli.running import Ran, owmesos

Ask = Callable[..., Awaitable[Ran]]


@pytest.fixture(autouse=True)
def _no_settings_of_the_testers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OWMESOS_"):
            monkeypatch.delenv(name)


@pytest.fixture
async def ask(framework: Framework, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ask]:
    """Runs a command that talks to a framework on the fake cluster: `await ask("nodes", "-o", "json")`."""
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework)
    monkeypatch.setenv("OWMESOS_ADMIN", server.url)

    async def run(*arguments: str) -> Ran:
        return await asyncio.to_thread(owmesos, *arguments)

    yield run
    await server.stop()
