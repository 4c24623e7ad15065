"""The decisions of the action container protocol: the bodies of `/init` and `/run`, and the meaning of their
answers.

No I/O here. Texts and the order of the checks are OpenWhisk's (Container.scala, ActivationResult.scala, Messages).
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import msgspec

from owmesos.errors import NOT_READABLE
from owmesos.openwhisk.activation import APPLICATION_ERROR, ERROR, Response, developer_error, success, whisk_error
from owmesos.openwhisk.arguments import as_variable
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.messages import ABSENT, ActivationMessage, transaction_name
from owmesos.system.lone_surrogates import Decoder, encode

RETRY_INTERVAL = 0.05  # seconds, while a container does not listen yet
OK = 200
UNAVAILABLE = 503

ABNORMAL_INITIALIZATION = "The action did not initialize and exited unexpectedly."
ABNORMAL_RUN = "The action did not produce a valid response and exited unexpectedly."
LOST_RUN = "The action's container was lost while it ran."
MEMORY_EXHAUSTED = "The action exhausted its memory and was aborted."


class ContainerAnswer(msgspec.Struct, frozen=True):
    """A container's answer. `length` is that of its whole body, in bytes. If it exceeds the limit, `allowed` is the
    limit, and `body` is only the beginning."""

    status: int
    body: bytes
    length: int
    allowed: int | None = None

    @property
    def truncated(self) -> bool:
        return self.allowed is not None


class NoAnswer(str, Enum):
    """Why there is no answer."""

    UNREACHABLE = "unreachable"  # it could not be connected to: nothing was sent
    TIMED_OUT = "timed out"
    RESET = "reset"  # the connection ended before any byte of an answer
    BROKEN = "broken"  # the same, or it ended within an answer, or what came was not HTTP with a Content-Length
    OUT_OF_MEMORY = "out of memory"
    UNPROVEN = "unproven"  # the process there did not prove that it is the container: nothing was sent
    LOST = "lost"  # the cluster lost the container, or who answered may not have been it


Outcome = ContainerAnswer | NoAnswer
_NOT_SENT = (NoAnswer.UNREACHABLE, NoAnswer.UNPROVEN)
# Messages of a cluster have any length: what is looked for in them may take no time that grows with its square.
_NOT_PULLED = re.compile(r"\bpull\b|No such image", re.IGNORECASE)  # docker's words, by its containerizer
_DOCKER = re.compile(r"(?<![\w./-])[\w./-]*\bdocker -H \S+ ")
_COMMAND_NOT_FOUND = re.compile(r"exited with status 127\b|executable file not found")


class _Result(msgspec.Struct):
    """An object: all that is asked of it is whether it has this key."""

    error: msgspec.Raw = ABSENT


_result = Decoder(_Result)
_array = Decoder(list[msgspec.Raw])


# -- what is said


def context_of(message: ActivationMessage, executable: Executable, now: float) -> dict[str, Any]:
    """What each run passes to its action besides the arguments. `now` in seconds since the epoch."""
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


def init_head(message: ActivationMessage, executable: Executable, env: dict[str, str], now: float) -> bytes:
    """The body of `/init` up to the action's own initializer, which is always the same."""
    own = {f"__OW_{key.upper()}": as_variable(value) for key, value in context_of(message, executable, now).items()}
    return b'{"value":{"env":' + encode(env | own) + b","


def run_body(message: ActivationMessage, executable: Executable, arguments: msgspec.Raw, now: float) -> bytes:
    return encode({"value": arguments, **context_of(message, executable, now)})


# -- what is answered


def should_reschedule(outcome: Outcome, *, initializing: bool, reused: bool) -> bool:
    """The container does not work and did not take the run: another container may run it.

    OpenWhisk does not do so for a first run that cannot be sent. But nothing of it was sent, so the action did not
    cause it.
    """
    if isinstance(outcome, ContainerAnswer):
        return outcome.status == UNAVAILABLE and (initializing or reused)
    return outcome in _NOT_SENT or (outcome is NoAnswer.LOST and initializing)


def failed_init(outcome: Outcome, executable: Executable) -> Response | None:
    """None if the action is initialized."""
    if isinstance(outcome, NoAnswer):
        return _unanswered(outcome, executable, " during initialization", ABNORMAL_INITIALIZATION)
    if outcome.truncated:
        return developer_error(_too_long(outcome))
    if outcome.status == OK:
        return None
    said = _error_in(outcome.body)
    return developer_error(_invalid("The action failed during initialization", outcome) if said is None else said)


def response_of(outcome: Outcome, executable: Executable) -> Response:
    """How the run ended."""
    if outcome is NoAnswer.LOST:
        return whisk_error(LOST_RUN)
    if isinstance(outcome, NoAnswer):
        return _unanswered(outcome, executable, "", ABNORMAL_RUN)
    body, size = outcome.body, outcome.length
    if outcome.truncated:
        return Response(APPLICATION_ERROR, {ERROR: _too_long(outcome)}, size)
    if outcome.status != OK:
        said = _error_in(body)
        return developer_error(_invalid_run(outcome) if said is None else said)
    try:
        body = _as_utf8(body)
        if body.lstrip()[:1] == b"[":
            _array.decode(body)
            return success(msgspec.Raw(body), size)
        error = _result.decode(body).error
    except NOT_READABLE:
        return developer_error(_invalid_run(outcome))
    if error:
        return Response(APPLICATION_ERROR, msgspec.Raw(b'{"error":' + bytes(error) + b"}"), size)
    return success(msgspec.Raw(body), size)


def was_lost(response: Response) -> bool:
    """Whether the cluster lost the container while the action ran in it: no fault of the action, nor of the invoker."""
    return response.system_error and response.result == {ERROR: LOST_RUN}


def _error_in(body: bytes) -> Any:
    """What an object says under `error`; None when it is none or says nothing."""
    try:
        error = _result.decode(_as_utf8(body)).error
    except (msgspec.MsgspecError, RecursionError):
        return None
    try:
        return msgspec.json.decode(error) if error else None
    except (msgspec.MsgspecError, RecursionError):  # JSON all the same: a value that Python does not have
        return error


def _as_utf8(body: bytes) -> bytes:
    """What is not UTF-8 is replaced, as OpenWhisk reads an answer."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return body.decode(errors="replace").encode()
    return body


def _unanswered(outcome: NoAnswer, executable: Executable, when: str, otherwise: str) -> Response:
    if outcome is NoAnswer.TIMED_OUT:
        timeout = executable.limits.timeout
        return developer_error(f"The action exceeded its time limits of {timeout} milliseconds{when}.")
    return developer_error(MEMORY_EXHAUSTED if outcome is NoAnswer.OUT_OF_MEMORY else otherwise)


def _invalid_run(answer: ContainerAnswer) -> str:
    return _invalid("The action did not produce a valid JSON response", answer)


def _invalid(what: str, answer: ContainerAnswer) -> str:
    said = answer.body.decode(errors="replace")
    return f"{what}: {said}" if said else f"{what}."


def _too_long(answer: ContainerAnswer) -> str:
    return (
        f"The action produced a response that exceeded the allowed length: {answer.length} > {answer.allowed} bytes. "
        f"The truncated response was: {answer.body.decode(errors='replace')}"
    )


# -- what a run is answered whose container did not start


def _is_not_pulled(said: str) -> bool:
    if _NOT_PULLED.search(said):
        return True
    return any("not found" in line.partition("image ")[2] for line in said.lower().split("\n"))


def start_error(image: str | None, message: str, said: str | None, *, at_fault: bool) -> Response:
    """`image` is the user's own, or None; `said` is what the cluster said of the last start, if one was made.

    What is wrong with a user's own image is the developer's error, and says nothing of the invoker; everything else is
    ours (ContainerProxy.scala; Container.scala: WhiskContainerStartupError, BlackboxStartupError; ErrorResponse.scala).
    `at_fault`: such containers fail on several nodes, or where others start. How nodes call Docker is left out.
    """
    message = _DOCKER.sub("docker ", message)
    if image is None or said is None:
        return whisk_error(message)
    if _COMMAND_NOT_FOUND.search(said):
        return developer_error(f"executable file not found in image {image}")
    if _is_not_pulled(said):
        return developer_error(f"Failed to pull container image '{image}'.")
    return developer_error(f"Failed to run container with image '{image}'.") if at_fault else whisk_error(message)
