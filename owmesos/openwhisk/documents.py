"""Actions, activations and their logs, as the admin API and `-o json` give them, with `wsk`'s names.

Like `owmesos.documents`: a contract, and nothing but `typing` is imported.
"""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class LimitsDocument(TypedDict):
    """The limits of an action: `memory` and `logs` in MB, `timeout` in ms."""

    timeout: int
    memory: int
    logs: int
    concurrency: int


class _Exec(TypedDict):
    kind: str
    binary: bool


class ExecDocument(_Exec, total=False):
    """What an action runs. `code` is missing in a list, `main` if it is the runtime's default."""

    code: Any
    main: str


class PairDocument(TypedDict):
    """A parameter or an annotation."""

    key: str
    value: Any


class ListedAction(TypedDict):
    """An action, as OpenWhisk's API has it. `updated` in ms since the epoch."""

    namespace: str
    name: str
    version: str
    exec: ExecDocument
    limits: LimitsDocument
    parameters: list[Any]
    annotations: list[PairDocument]
    publish: bool
    updated: int | None


class _Cause(TypedDict, total=False):
    cause: str


class ActivationName(_Cause):
    """Which activation of which action, and when: `start` and `end` in ms since the epoch, `duration` in ms. `cause`:
    the activation that has caused it, if there is one."""

    activationId: str
    namespace: str
    name: str
    version: str
    start: int
    end: int
    duration: int | None


class ListedActivation(ActivationName):
    """An activation in a list."""

    statusCode: int
    annotations: list[PairDocument]
    publish: bool


class UnfinishedActivation(TypedDict):
    """A listed activation that waits or runs. Fields that are known only at its end are None; `start`: its arrival."""

    namespace: str
    name: str
    version: str
    activationId: str
    start: int
    end: None
    duration: None
    statusCode: None
    annotations: list[PairDocument]
    publish: bool
    state: Literal["waiting", "running"]
    containerId: str | None  # the one it is in, or that is starting for it
    summary: str | None  # why it waits


class _Size(TypedDict, total=False):
    size: int


class ResponseDocument(_Size):
    """What became of an activation. `size`: bytes of the result, where that is known."""

    status: str
    statusCode: int
    success: bool
    result: Any


class ShownActivation(ActivationName):
    """An activation with its result and logs."""

    annotations: list[PairDocument]
    publish: bool
    subject: str
    response: ResponseDocument
    logs: list[str]


class LogsDocument(TypedDict):
    """What an activation has logged."""

    logs: list[str]


class ResultDocument(TypedDict):
    """An activation's result."""

    result: Any
    status: str
    success: bool


class StartedDocument(TypedDict):
    """An activation that has no result yet, or none to be shown."""

    activationId: str
