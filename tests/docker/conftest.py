"""A whole invoker on Apache Mesos and Docker, with fakes for what is around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

import msgspec
import pytest

from owmesos.local.cluster import MesosCluster
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.manifest import ImageName, Manifest, Runtime
from owmesos.openwhisk.messages import ActivationMessage, EntityName
from tests.invoker.invoking import Scene, invoking
from tests.openwhisk.runs import activation


class Invoking(Protocol):
    def __call__(self, *actions: Executable, **named: Any) -> AbstractAsyncContextManager[Scene]: ...


class _Several:
    """Gives each action by its name."""

    def __init__(self, actions: Iterable[Executable]) -> None:
        self._actions = {each.entity.name: each for each in actions}

    async def action(self, entity: EntityName, revision: str | None) -> Executable:
        return self._actions[entity.name]


def image_manifest(image: str) -> Manifest:
    """Its python:3 is that image."""
    name, _, tag = image.partition(":")
    return Manifest({"python": (Runtime(kind="python:3", image=ImageName(name=name, tag=tag)),)})


@pytest.fixture
def docker_invoking(docker_cluster: MesosCluster, python_image: str) -> Invoking:
    """Its python:3 is an image. `named` is for `invoking`."""
    manifest = image_manifest(python_image)

    @asynccontextmanager
    async def make(*actions: Executable, **named: Any) -> AsyncIterator[Scene]:
        async with invoking(docker_cluster.master, actions[0], **{"manifest": manifest, **named}) as scene:
            scene.patience = 90.0  # containers take their time on a busy machine
            scene.actions.action = _Several(actions).action  # type: ignore[method-assign]
            yield scene

    return make


def of(action: Executable, content: Any = None, **named: Any) -> ActivationMessage:
    """An activation of it."""
    message = activation(content, **named)
    return msgspec.structs.replace(message, action=action.entity)
