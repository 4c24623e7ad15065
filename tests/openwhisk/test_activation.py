"""What is said and kept of an activation that is over."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.openwhisk.activation import (
    Activation,
    Annotation,
    Reporter,
    Response,
    application_error,
    developer_error,
    document,
    not_run,
    success,
    whisk_error,
)
from owmesos.openwhisk.kafka.acks import shrunk
from owmesos.openwhisk.messages import decode_activation, invoker_id
from owmesos.system.lone_surrogates import encode
from tests.openwhisk import samples

NOW = 1573724401.05
BLOCKING = decode_activation(samples.ACTIVATION_1_0)
SEQUENCE = decode_activation(samples.ACTIVATION_2_0)
INVOKER = invoker_id(0)
reporter = Reporter(INVOKER, lambda: NOW)


def activation(response: Response | None = None, **changes: Any) -> Activation:
    plain = msgspec.json.decode(samples.ACTIVATION, type=Activation)
    if response is not None:
        changes["response"] = response
    return msgspec.structs.replace(plain, **changes)


def as_json(message: msgspec.Struct) -> Any:
    return json.loads(encode(message))


class TestActivation:
    def test_comes_back_word_for_word(self) -> None:
        assert encode(activation()) == samples.ACTIVATION

    def test_is_stored_with_what_the_database_adds(self) -> None:
        stored = as_json(document(activation(), NOW))
        assert stored == {
            **json.loads(samples.ACTIVATION),
            "_id": f"guest/{samples.ACTIVATION_ID}",
            "entityType": "activation",
            "updated": 1573724401050,
        }

    def test_that_never_ran_says_why(self) -> None:
        assert as_json(not_run(SEQUENCE, application_error("gone"), NOW)) == {
            "namespace": "guest",
            "name": "hello",
            "subject": "guest",
            "activationId": samples.ACTIVATION_ID,
            "start": 1573724401050,
            "end": 1573724401050,
            "cause": "d3c2c0e5f2b34f2f82c0e5f2b3df2fca",
            "response": {"statusCode": 1, "result": {"error": "gone"}},
            "logs": [],
            "version": "0.0.2",
            "publish": False,
            "annotations": [
                {"key": "path", "value": "guest/tools/hello"},
                {"key": "kind", "value": "unknown"},
                {"key": "causedBy", "value": "sequence"},
            ],
            "duration": 0,
        }

    @pytest.mark.parametrize(
        ("response", "code"),
        [(success({}), 0), (application_error("e"), 1), (developer_error("e"), 2), (whisk_error("e"), 3)],
    )
    def test_is_our_fault_only_with_a_whisk_error(self, response: Response, code: int) -> None:
        assert response.status_code == code
        assert response.system_error is (code == 3)


class TestAcknowledgements:
    def test_blocking_without_logs_get_result_and_slot_at_once(self) -> None:
        message = as_json(reporter.combined(BLOCKING, activation(logs=["a line"])))
        assert message["response"] == json.loads(samples.ACTIVATION)
        assert message["isSystemError"] is False
        assert message["instance"] == message["invoker"] == as_json(INVOKER)
        assert message["transid"] == BLOCKING.transid

    def test_a_result_has_no_slot(self) -> None:
        assert as_json(reporter.result(BLOCKING, activation())) == {
            "transid": BLOCKING.transid,
            "response": json.loads(samples.ACTIVATION),
        }

    def test_a_completion_has_no_result(self) -> None:
        message = as_json(reporter.completion(SEQUENCE, activation(whisk_error("broken"))))
        assert message.keys() == {"transid", "activationId", "isSystemError", "instance", "invoker"}
        assert message["isSystemError"] is True

    def test_nobody_who_does_not_wait_gets_a_result(self) -> None:
        assert as_json(reporter.combined(SEQUENCE, activation()))["response"] == samples.ACTIVATION_ID

    def test_what_is_too_large_shrinks_to_its_id(self) -> None:
        for message in (reporter.combined(BLOCKING, activation()), reporter.result(BLOCKING, activation())):
            small = shrunk(message)
            assert as_json(small)["response"] == samples.ACTIVATION_ID
            assert shrunk(small) is small
        completion = reporter.completion(BLOCKING, activation())
        assert shrunk(completion) is completion


class TestEvents:
    def test_say_what_the_annotations_know(self) -> None:
        notes = {
            "path": "guest/hello",
            "kind": "nodejs:14",
            "waitTime": 3,
            "conductor": True,
            "limits": {"memory": 256, "timeout": 60000},
            "causedBy": "sequence",
        }
        ended = activation(
            success({"statusCode": 418}, size=18), annotations=[Annotation(*note) for note in notes.items()]
        )
        expected = json.loads(samples.EVENT)
        expected["body"] |= {"conductor": True, "size": 18}
        expected["timestamp"] = int(NOW * 1000)
        assert as_json(reporter.event(BLOCKING, ended)) == expected

    @pytest.mark.parametrize(
        ("result", "status"),
        [
            ({"error": {"statusCode": 404}}, 404),
            ({"error": {"statusCode": 404}, "statusCode": 200}, 404),
            ({"statusCode": "200"}, 400),
            ({"error": "text"}, None),
            ([1], None),
            (None, None),
            (msgspec.Raw(b'{"statusCode": 201}'), 201),
        ],
    )
    def test_know_the_action_s_own_status(self, result: Any, status: int | None) -> None:
        assert reporter.event(BLOCKING, activation(success(result))).body.user_defined_status_code == status  # type: ignore[union-attr]
