"""The action container protocol, the part that decides: what `/init` and `/run` say, and what their answers mean.

No I/O here. Texts and the order of the tests are OpenWhisk's (Container.scala, ActivationResult.scala, Messages).
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec

from owmesos.openwhisk.activation import APPLICATION_ERROR, ERROR, Response, developer_error, success
from owmesos.openwhisk.arguments import as_variable
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.ids import transaction_name
from owmesos.openwhisk.messages import ABSENT, ActivationMessage

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
MAX_RESPONSE = 2**20  # bytes
RETRY_INTERVAL = 0.05  # seconds, while a container does not listen yet
OK = 200
UNAVAILABLE = 503

ABNORMAL_INITIALIZATION = "The action did not initialize and exited unexpectedly."
ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
MEMORY_EXHAUSTED = "The action exhausted its memory and was aborted."


class Answer(msgspec.Struct, frozen=True):
    """What a container answered. `body` is at most as long as is allowed; `length` is what it was."""

    status: int
    body: bytes
    length: int

    @property
    def truncated(self) -> bool:
        return self.length > len(self.body)


class Silence(str, Enum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"  # it could not be connected to: nothing was sent
    TIMED_OUT = "timed out"
    BROKEN = "broken"  # the connection ended, or what came was no HTTP with a Content-Length
    OUT_OF_MEMORY = "out of memory"


Outcome = Answer | Silence


class _Result(msgspec.Struct):
    """An object: all that is asked of it is whether it has this key."""

    error: msgspec.Raw = ABSENT


_result = msgspec.json.Decoder(_Result)
_encode = msgspec.json.Encoder().encode


# -- what is said


def context_of(message: ActivationMessage, executable: Executable, now: float) -> dict[str, Any]:
    """What each run tells its action, beside the arguments. `now` in seconds since the epoch."""
    context: dict[str, Any] = {}
    if executable.provides_api_key and isinstance(message.user.authkey, dict):
        context |= message.user.authkey
    return context | {
        "namespace": message.user.namespace.name,
        "action_name": f"/{executable.path}",
        "action_version": executable.version,
        "activation_id": message.activation_id,
        "transaction_id": transaction_name(message.transid),
        "deadline": str(int(now * 1000) + executable.limits.timeout),
    }


def init_body(
    message: ActivationMessage, executable: Executable, env: dict[str, str], now: float
) -> tuple[bytes, bytes]:
    """The body of `/init` in two parts; the second is the action's own, the same object each time."""
    own = {f"__OW_{key.upper()}": as_variable(value) for key, value in context_of(message, executable, now).items()}
    return b'{"value":{"env":' + _encode(env | own) + b",", executable.initializer


def run_body(message: ActivationMessage, executable: Executable, arguments: msgspec.Raw, now: float) -> bytes:
    return _encode({"value": arguments, **context_of(message, executable, now)})


# -- what is answered


def should_reschedule(outcome: Outcome, *, initializing: bool, reused: bool) -> bool:
    """The container is sick and the run was not taken: another container may have it."""
    if isinstance(outcome, Answer):
        return outcome.status == UNAVAILABLE and (initializing or reused)
    return outcome is Silence.UNREACHABLE and reused


def failed_init(outcome: Outcome, executable: Executable) -> Response | None:
    """None when the action is initialized."""
    if isinstance(outcome, Silence):
        if outcome in (Silence.TIMED_OUT, Silence.UNREACHABLE):
            return developer_error(f"{_exceeded(executable)} during initialization.")
        return developer_error(MEMORY_EXHAUSTED if outcome is Silence.OUT_OF_MEMORY else ABNORMAL_INITIALIZATION)
    if outcome.truncated:
        return developer_error(_too_long(outcome))
    if outcome.status == OK:
        return None
    said = _error_in(outcome.body)
    return developer_error(_invalid("The action failed during initialization", outcome) if said is None else said)


def response_of(outcome: Outcome, executable: Executable) -> Response:
    """How the run ended."""
    if isinstance(outcome, Silence):
        if outcome is Silence.TIMED_OUT:
            return developer_error(f"{_exceeded(executable)}.")
        return developer_error(MEMORY_EXHAUSTED if outcome is Silence.OUT_OF_MEMORY else ABNORMAL_RUN)
    body, size = outcome.body, outcome.length
    if outcome.truncated:
        return Response(APPLICATION_ERROR, {ERROR: _too_long(outcome)}, size)
    if outcome.status != OK:
        said = _error_in(body)
        return developer_error(_invalid_run(outcome) if said is None else said)
    try:
        body.decode()
        if body.lstrip()[:1] == b"[":
            msgspec.json.decode(body, type=list[msgspec.Raw])
            return success(msgspec.Raw(body), size)
        error = _result.decode(body).error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return developer_error(_invalid_run(outcome))
    if error:
        return Response(APPLICATION_ERROR, msgspec.Raw(b'{"error":' + bytes(error) + b"}"), size)
    return success(msgspec.Raw(body), size)


def _error_in(body: bytes) -> Any:
    """What an object says under `error`; None when it is none or says nothing."""
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return found.get(ERROR) if isinstance(found, dict) else None


def _exceeded(executable: Executable) -> str:
    return f"The action exceeded its time limits of {executable.limits.timeout} milliseconds"


def _invalid_run(answer: Answer) -> str:
    return _invalid("The action did not produce a valid JSON response", answer)


def _invalid(what: str, answer: Answer) -> str:
    said = answer.body.decode(errors="replace")
    return f"{what}: {said}" if said else f"{what}."


def _too_long(answer: Answer) -> str:
    return (
        f"The action produced a response that exceeded the allowed length: {answer.length} > {len(answer.body)} bytes. "
        f"The truncated response was: {answer.body.decode(errors='replace')}"
    )
