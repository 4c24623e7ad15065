"""What the tests of the command line share."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from owmesos.service.admin import AdminServer
from owmesos.service.framework import Framework
from owmesos.system.private_files import write_private
from tests.cli.running import Ran, owmesos
from tests.fixtures.admin import TOKENS

Ask = Callable[..., Awaitable[Ran]]


@pytest.fixture(autouse=True)
def _no_settings_of_the_testers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OWMESOS_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands in this process soon give up."""
    monkeypatch.setattr("owmesos.cli.client.PATIENCE", 0.3)
    monkeypatch.setattr("owmesos.cli.client.STARTING", 0.0)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a process's state, which it makes itself."""
    return tmp_path / "state"


@pytest.fixture
async def ask(framework: Framework, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Ask]:
    """Runs a command that talks to a framework on the fake cluster: `await ask("nodes", "-o", "json")`."""
    server = AdminServer("127.0.0.1", 0)
    await server.start(framework, TOKENS)
    token = tmp_path / "admin.token"
    write_private(token, TOKENS.admin)
    monkeypatch.setenv("OWMESOS_ADMIN", server.url)
    monkeypatch.setenv("OWMESOS_ADMIN_TOKEN_FILE", str(token))

    async def run(*arguments: str) -> Ran:
        return await asyncio.to_thread(owmesos, *arguments)

    yield run
    await server.stop()
