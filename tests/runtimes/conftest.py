"""Containers of both kinds, ended with their test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.runtimes.container import COMMANDS, ActionContainer

Start = Callable[..., ActionContainer]


@pytest.fixture(params=list(COMMANDS))
def kind(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(kind, env=…)`: a container that listens."""
    with ExitStack() as stack:

        def one(kind: str, **options: object) -> ActionContainer:
            folder = tmp_path / f"sandbox-{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(ActionContainer(kind, folder, **options))  # type: ignore[arg-type]

        yield one


# Before pytest chooses by marker.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What Node runs is the same on every Python."""
    for item in items:
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        kind = parameters.get("kind")
        if isinstance(kind, str) and kind.startswith("nodejs"):
            item.add_marker("one_python")
