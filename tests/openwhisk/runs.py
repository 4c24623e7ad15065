"""Actions and activations for tests, with as little said of them as the test is about."""

from __future__ import annotations

import itertools
import json
from typing import Any

import msgspec

from owmesos.openwhisk.container.run_state import Execute, Initialize, Order
from owmesos.openwhisk.executable import ActionLimits, Executable, StoredCode, digest_of, initializer_of
from owmesos.openwhisk.messages import ABSENT, ActivationMessage, ControllerId, EntityName, Identity, Namespace

ECHO = "def main(args):\n    return {'got': args}"
API_KEY = "23bc46b1:secret"
_numbers = itertools.count(1)


def executable(
    entity: EntityName,
    code: str | StoredCode | None,
    *,
    kind: str = "python:3",
    limits: ActionLimits | None = None,
    main: str | None = None,
    binary: bool = False,
    **named: Any,
) -> Executable:
    """Version 0.0.2, revision 1-a, unless it says so."""
    limits = limits or ActionLimits()
    initializer = initializer_of(entity.name, code, main=main, binary=binary)
    digest = digest_of(initializer, (kind, limits, named.get("image"), named.get("provides_api_key")))
    fields = {"version": "0.0.2", "revision": "1-a", "kind": kind, "limits": limits, **named}
    return Executable(entity=entity, initializer=initializer, digest=digest, **fields)


def action(
    name: str = "hello",
    code: str | None = ECHO,
    *,
    kind: str = "python:3",
    timeout: int = 60_000,
    memory: int = 256,
    logs: int = 0,
    concurrency: int = 1,
    **named: Any,
) -> Executable:
    """`guest/tools/<name>`, version 0.0.2; without logs unless it says so."""
    entity = EntityName("guest/tools", name, "0.0.2")
    limits = ActionLimits(timeout, memory, logs, concurrency)
    return executable(entity, code, kind=kind, limits=limits, **named)


def activation(
    content: Any = None, *, blocking: bool = True, started: int = 1_000_000, **named: Any
) -> ActivationMessage:
    """Each has an id of its own. `started` in ms."""
    number = next(_numbers)
    return ActivationMessage(
        transid=[f"transaction{number}", started],
        action=EntityName("guest/tools", "hello", "0.0.2"),
        revision="1-a",
        user=Identity("subject", Namespace("guest", "uuid"), {"api_key": API_KEY}),
        activation_id=f"{number:032x}",
        root_controller_index=ControllerId("0"),
        blocking=blocking,
        content=ABSENT if content is None else msgspec.Raw(json.dumps(content).encode()),
        **named,
    )


def order(content: Any = None, *, of: Executable | None = None, **named: Any) -> Order:
    return Order(activation(content, **named), of or action())


def inline(of: Executable) -> bytes:
    """Its initializer, as one JSON document."""
    return b"{" + rest_of_init(of)[:-1]


def rest_of_init(of: Executable) -> bytes:
    assert isinstance(of.initializer, bytes)
    return of.initializer


def decoded(asked: Initialize | Execute) -> Any:
    """What the container is told."""
    if isinstance(asked, Execute):
        return json.loads(asked.body)
    assert isinstance(asked.initializer, bytes)
    return json.loads(asked.head + asked.initializer)
