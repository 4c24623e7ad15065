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
