"""A framework as `owmesos run` has it: with the admin API, and the history for the dashboard."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping

from owmesos.invoker.standalone import Standalone
from owmesos.service.admin import AdminServer
from owmesos.service.admin_tokens import Tokens
from owmesos.service.framework import Framework


@contextlib.asynccontextmanager
async def served(
    name: str, framework: Framework, extension: Standalone | None = None
) -> AsyncIterator[Mapping[str, object]]:
    """Gives the objects whose tables are measured, by name."""
    async with framework:
        server = AdminServer("127.0.0.1", 0)
        try:
            if extension is not None:
                await extension.start(framework)
            await server.start(framework, Tokens(admin="admin", read="read"), extension)
            yield {name: framework.shell, f"{name}'s history": server.events}
        finally:
            await server.stop()
            if extension is not None:
                await extension.close()
