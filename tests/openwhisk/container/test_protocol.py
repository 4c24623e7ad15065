"""What `/init` and `/run` say, and how answers are judged: OpenWhisk's texts and status codes."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS
from owmesos.openwhisk.container.protocol import (
    ContainerAnswer,
    NoAnswer,
    Outcome,
    failed_init,
    init_head,
    response_of,
    run_body,
    should_reschedule,
)
from owmesos.openwhisk.messages import EntityName
from tests.openwhisk.runs import API_KEY, action, activation, executable, rest_of_init

ACTION = action(timeout=3000)
INVALID = "The action did not produce a valid JSON response"
FAILED = "The action failed during initialization"


def said(body: bytes, status: int = 200) -> ContainerAnswer:
    return ContainerAnswer(status, body, len(body))


def judged(outcome: Outcome) -> tuple[int, Any]:
    """Status code and result of a run."""
    response = response_of(outcome, ACTION)
    return response.status_code, json.loads(msgspec.json.encode(response.result))


class TestWhatIsSaid:
    def test_init_brings_the_code_and_the_environment(self) -> None:
        message = activation(started=5)
        body = json.loads(init_head(message, ACTION, {"OWN": "x"}, 1000.0) + rest_of_init(ACTION))
        assert body == {
            "value": {
                "name": "hello",
                "main": "main",
                "code": "def main(args):\n    return {'got': args}",
                "binary": False,
                "env": {
                    "OWN": "x",
                    "__OW_NAMESPACE": "guest",
                    "__OW_ACTION_NAME": "/guest/tools/hello",
                    "__OW_ACTION_VERSION": "0.0.2",
                    "__OW_ACTIVATION_ID": message.activation_id,
                    "__OW_TRANSACTION_ID": message.transid[0],
                    "__OW_DEADLINE": "1003000",
                    "__OW_API_KEY": API_KEY,
                },
            }
        }

    def test_run_brings_the_arguments_and_the_context(self) -> None:
        message = activation({"a": 1})
        assert json.loads(run_body(message, ACTION, message.content, 1000.0)) == {
            "value": {"a": 1},
            "namespace": "guest",
            "action_name": "/guest/tools/hello",
            "action_version": "0.0.2",
            "activation_id": message.activation_id,
            "transaction_id": message.transid[0],
            "deadline": "1003000",
            "api_key": API_KEY,
        }

    def test_an_action_cannot_be_told_another_name_by_what_authenticates_its_user(self) -> None:
        message = msgspec.structs.replace(
            activation(), user=msgspec.structs.replace(activation().user, authkey={"action_name": "x", "token": "t"})
        )
        body = json.loads(run_body(message, ACTION, msgspec.Raw(b"{}"), 0.0))
        assert (body["action_name"], body["token"]) == ("/guest/tools/hello", "t")

    def test_a_blackbox_may_have_no_code(self) -> None:
        made = executable(EntityName("guest", "a"), None, kind="blackbox").initializer
        assert isinstance(made, bytes)
        assert "code" not in json.loads(b"{" + made[:-1])


class TestRuns:
    def test_an_object_is_a_success_and_is_not_decoded(self) -> None:
        response = response_of(said(b'{"a": [1, {"error": 2}]}'), ACTION)
        assert (response.status_code, response.size) == (SUCCESS, 24)
        assert bytes(response.result) == b'{"a": [1, {"error": 2}]}'

    def test_an_array_is_a_success(self) -> None:
        assert judged(said(b' [1, {"error": 1}]')) == (SUCCESS, [1, {"error": 1}])

    @pytest.mark.parametrize("error", ["text", {"code": 1}, None, [], 0])
    def test_an_object_with_an_error_is_an_error_of_the_application(self, error: object) -> None:
        answer = said(json.dumps({"error": error, "more": 1}).encode())
        assert judged(answer) == (APPLICATION_ERROR, {"error": error})

    @pytest.mark.parametrize("error", [b"1e999", b'{"of": -1e400}'])
    def test_an_error_with_a_number_beyond_every_float_is_passed_on_as_it_is(self, error: bytes) -> None:
        response = response_of(said(b'{"error": ' + error + b"}"), ACTION)
        assert response.status_code == APPLICATION_ERROR
        assert bytes(response.result) == b'{"error":' + error + b"}"

    @pytest.mark.parametrize(
        "body",
        [b"", b"garbage", b'"text"', b"3", b"null", b'{"a":NaN}', b'{"a":', b"[1,", b"[" * 9999],
    )
    def test_anything_else_is_the_developers(self, body: bytes) -> None:
        code, result = judged(said(body))
        assert code == DEVELOPER_ERROR
        assert result["error"].startswith(INVALID)

    def test_an_empty_answer_is_told_without_its_text(self) -> None:
        assert judged(said(b"")) == (DEVELOPER_ERROR, {"error": f"{INVALID}."})

    def test_another_status_is_the_developers_with_the_error_that_it_brings(self) -> None:
        assert judged(said(b'{"error":"it broke"}', 502)) == (DEVELOPER_ERROR, {"error": "it broke"})
        assert judged(said(b'{"no":1}', 500)) == (DEVELOPER_ERROR, {"error": f'{INVALID}: {{"no":1}}'})
        assert judged(said(b"oh", 404)) == (DEVELOPER_ERROR, {"error": f"{INVALID}: oh"})

    def test_what_is_too_long_is_cut_and_an_error_of_the_application(self) -> None:
        code, result = judged(ContainerAnswer(200, b"x" * 20, 100, 50))
        assert code == APPLICATION_ERROR
        assert result["error"] == (
            "The action produced a response that exceeded the allowed length: 100 > 50 bytes. "
            f"The truncated response was: {'x' * 20}"
        )

    @pytest.mark.parametrize(
        ("silence", "text"),
        [
            (NoAnswer.TIMED_OUT, "The action exceeded its time limits of 3000 milliseconds."),
            (NoAnswer.BROKEN, "The action did not produce a valid response and exited unexpectedly."),
            (NoAnswer.UNREACHABLE, "The action did not produce a valid response and exited unexpectedly."),
            (NoAnswer.OUT_OF_MEMORY, "The action exhausted its memory and was aborted."),
        ],
    )
    def test_silence_is_the_developers(self, silence: NoAnswer, text: str) -> None:
        assert judged(silence) == (DEVELOPER_ERROR, {"error": text})


class TestInit:
    def failure(self, outcome: Outcome) -> Any:
        response = failed_init(outcome, ACTION)
        assert response is not None
        assert response.status_code == DEVELOPER_ERROR
        return response.result["error"]

    def test_200_is_all_that_is_asked(self) -> None:
        assert failed_init(said(b""), ACTION) is None

    def test_the_error_that_it_brings_is_told(self) -> None:
        assert self.failure(said(b'{"error":{"at":3}}', 502)) == {"at": 3}
        assert self.failure(said(b"what", 403)) == f"{FAILED}: what"
        assert self.failure(said(b"", 500)) == f"{FAILED}."

    @pytest.mark.parametrize(
        ("silence", "text"),
        [
            (NoAnswer.TIMED_OUT, "The action exceeded its time limits of 3000 milliseconds during initialization."),
            (NoAnswer.BROKEN, "The action did not initialize and exited unexpectedly."),
            (NoAnswer.OUT_OF_MEMORY, "The action exhausted its memory and was aborted."),
        ],
    )
    def test_silence_is_told(self, silence: NoAnswer, text: str) -> None:
        assert self.failure(silence) == text

    def test_an_answer_that_is_too_long_is_a_failure(self) -> None:
        assert "exceeded the allowed length: 9 > 5 bytes" in self.failure(ContainerAnswer(200, b"x", 9, 5))


@pytest.mark.parametrize(
    ("outcome", "initializing", "reused", "again"),
    [
        (said(b"", 503), True, False, True),
        (said(b"", 503), False, True, True),
        (said(b"", 503), False, False, False),
        (said(b"", 502), False, True, False),
        (NoAnswer.UNREACHABLE, False, True, True),
        (NoAnswer.UNREACHABLE, False, False, True),
        (NoAnswer.UNREACHABLE, True, False, True),
        (NoAnswer.UNPROVEN, True, False, True),
        (NoAnswer.UNPROVEN, False, True, True),
        (NoAnswer.LOST, True, False, True),
        (NoAnswer.LOST, False, True, False),
        (NoAnswer.BROKEN, False, True, False),
        (NoAnswer.TIMED_OUT, False, True, False),
    ],
)
def test_only_a_run_that_was_not_taken_goes_to_another_container(
    outcome: Outcome, initializing: bool, reused: bool, again: bool
) -> None:
    assert should_reschedule(outcome, initializing=initializing, reused=reused) is again
