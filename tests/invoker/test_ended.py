"""What is remembered of activations that have ended."""

from __future__ import annotations

import msgspec
import pytest

from owmesos.invoker.ended import EndedActivation, EndedActivations
from owmesos.invoker.kafka import KafkaInvoker
from owmesos.openwhisk.activation import Activation, Annotation, Response, application_error, success
from owmesos.service.errors import NotKnown


def ended(activation_id: str, response: Response | None = None) -> Activation:
    return Activation(
        namespace="guest",
        name="hello",
        subject="guest",
        activation_id=activation_id,
        start=1000,
        end=1500,
        response=response or success(msgspec.Raw(b"{}")),
        logs=["a line"],
        version="0.0.1",
        publish=False,
        annotations=[Annotation("path", "guest/hello"), Annotation("waitTime", 7), Annotation("kind", "python:3")],
        duration=500,
    )


def test_only_so_many_and_the_earliest_go_first() -> None:
    known = EndedActivations(most=2)
    for activation_id in ("a", "b", "a", "c"):
        known.remember(ended(activation_id))
    assert list(known) == ["a", "c"]
    assert "b" not in known
    assert known["a"] == EndedActivation("a", "guest/hello", 1000, 1500, 500, 7, None, None)


def test_of_an_error_the_beginning() -> None:
    known = EndedActivations()
    for activation_id, result in (
        ("short", b'{"error":"no"}'),
        ("long", b'{"error":"%s"}' % (b"x" * 5000)),
        ("huge", b'{"error":"%s"}' % (b"x" * 100_000)),
        ("odd", b"1e999"),
    ):
        known.remember(ended(activation_id, Response(1, msgspec.Raw(result))))
    known.remember(ended("ours", application_error("as we say")))
    said = {each: known[each].error for each in known}
    assert said == {
        "short": "no",
        "long": "x" * 1024,
        "huge": '{"error":"' + "x" * 1014,
        "odd": "1e999",
        "ours": "as we say",
    }


async def test_one_that_is_forgotten_is_not_known() -> None:
    invoker = KafkaInvoker.__new__(KafkaInvoker)
    invoker._ended = EndedActivations()
    invoker._ended.remember(ended("a"))
    assert (await invoker._ended_one("a")).activation_id == "a"
    with pytest.raises(NotKnown, match="unknown activation b"):
        await invoker._ended_one("b")
