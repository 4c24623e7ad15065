"""`BlockingFramework` is `Framework` for programs without asyncio: the same names with the same parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from owmesos import BlockingFramework, BlockingLaunch, Framework, FrameworkStopped, InvalidInput, LaunchHandle

WITHIN = {
    *(
        "access",
        "follow",
        "health",
        "host",
        "leads",
        "now",
        "secure",
        "shell",
        "record",
        "renew_access",
        "renew_secret",
        "state_away",
        "view",
        "wait_for",
    ),  # for what runs in the framework's own event loop: the
    *("launch_documents", "kill_chosen", "wait_documents"),  # admin API and invokers
}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def parameters(function: Callable[..., Any]) -> dict[str, tuple[Any, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return {each.name: (each.kind, each.default, each.annotation) for each in found if each.name != "self"}


@pytest.mark.parametrize(
    ("kind", "blocking", "within"), [(Framework, BlockingFramework, WITHIN), (LaunchHandle, BlockingLaunch, set())]
)
def test_it_has_the_same_public_names(kind: type, blocking: type, within: set[str]) -> None:
    assert public(blocking) == public(kind) - within


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((Framework, name) for name in sorted(public(BlockingFramework))),
        *((LaunchHandle, name) for name in sorted(public(BlockingLaunch))),
        (Framework, "__init__"),
    ],
)
def test_each_method_has_the_same_parameters(kind: type, name: str) -> None:
    theirs, ours = (
        getattr(kind, name),
        getattr({Framework: BlockingFramework, LaunchHandle: BlockingLaunch}[kind], name),
    )
    if isinstance(theirs, property):
        assert isinstance(ours, property)
        return
    found = parameters(ours)
    if "timeout" not in parameters(theirs):
        found.pop("timeout", None)  # asyncio.timeout is the other's
    assert found == parameters(theirs)


def test_it_starts_and_stops_without_a_block() -> None:
    framework = BlockingFramework(master="127.0.0.1:1")
    framework.start()
    with pytest.raises(InvalidInput, match="started already"):
        framework.start()
    assert (framework.nodes(), framework.subscribed) == ([], False)
    framework.stop(teardown=False)
    framework.stop(teardown=False)
    with pytest.raises(FrameworkStopped, match="this program has stopped it"):
        framework.nodes()
