"""How long an answer may be: the system's limits, an operator's for namespaces, and a namespace's own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.activation import APPLICATION_ERROR, SUCCESS
from owmesos.openwhisk.container.protocol import ContainerAnswer
from owmesos.openwhisk.container.run_state import ContainerProxy, Execute, Initialize, Interval, SendAck
from owmesos.openwhisk.limits import PayloadLimits, ResponseLimits
from owmesos.openwhisk.messages import Identity, Namespace, UserLimits
from owmesos.openwhisk.whisk_config import WhiskConfig, payload_limits
from tests.openwhisk.runs import order

MB = 2**20
SET = {"CONFIG_whisk_activation_payload_max": "5242880", "CONFIG_whisk_activation_payload_truncation": "10240"}
NAMESPACES = {
    "CONFIG_whisk_namespaceDefaultLimit_activation_payload_max": "2 m",
    "CONFIG_whisk_namespaceDefaultLimit_activation_payload_truncation": "1 k",
}


def allowed(variables: dict[str, str], **limits: Any) -> tuple[int, int]:
    found = payload_limits(WhiskConfig(variables)).of(msgspec.convert(limits, UserLimits) if limits else None)
    return found.max, found.truncation


def test_without_settings_they_are_1_mb() -> None:
    assert allowed({}) == (MB, MB)
    assert payload_limits(WhiskConfig({})).max_message == MB + 6068


def test_the_operator_sets_them() -> None:
    assert allowed(SET) == (5 * MB, 10240)
    assert payload_limits(WhiskConfig({**SET, "CONFIG_whisk_activation_serdesOverhead": "7000"})).max_message == (
        5 * MB + 7000
    )


def test_a_namespace_has_its_own() -> None:
    assert allowed({}, maxPayloadSize="512 KB", truncationSize="10 KB") == (512 * 1024, 10240)
    assert allowed(SET, maxPayloadSize="2 MB") == (2 * MB, 10240)


def test_no_namespace_has_more_than_the_system() -> None:
    assert allowed(SET, maxPayloadSize="48 MB", truncationSize="48 MB") == (5 * MB, 10240)


def test_the_operator_sets_those_of_namespaces_that_have_none() -> None:
    assert allowed(SET | NAMESPACES) == (2 * MB, 1024)
    assert allowed(SET | NAMESPACES, maxPayloadSize="3 MB") == (3 * MB, 1024)
    assert allowed(SET | dict(list(NAMESPACES.items())[:1])) == (5 * MB, 10240)
    assert allowed(NAMESPACES) == (MB, 1024)


@pytest.mark.parametrize("said", [7, "much", None, [], "5 EB"])
def test_a_limit_that_is_not_a_size_is_none(said: Any) -> None:
    assert allowed(SET, maxPayloadSize=said, truncationSize=said) == (5 * MB, 10240)


@pytest.mark.parametrize("value", ["lots", "-1", "900 GB"])
def test_a_setting_that_cannot_be_used_is_told(value: str) -> None:
    with pytest.raises(InvalidInput, match="payload"):
        allowed({"CONFIG_whisk_activation_payload_max": value})


def test_a_run_has_those_of_its_namespace_and_init_the_systems() -> None:
    limits = UserLimits(max_payload_size="512 KB", truncation_size="10 KB")
    user = Identity("subject", Namespace("guest", "uuid"), limits=limits)
    wanted = order()
    wanted = msgspec.structs.replace(wanted, message=msgspec.structs.replace(wanted.message, user=user))
    proxy = ContainerProxy("c1", payload=PayloadLimits(system=ResponseLimits(5 * MB, MB)))
    (asked,) = proxy.run(wanted, 1.0, initialize=True)
    assert isinstance(asked, Initialize)
    assert asked.limits == ResponseLimits(5 * MB, MB)
    *_, asked_next = proxy.initialized(wanted.run_id, ContainerAnswer(200, b"{}", 2), Interval(1.0, 2.0), 2.0)
    assert isinstance(asked_next, Execute)
    assert asked_next.limits == ResponseLimits(512 * 1024, 10240)


def test_what_is_within_is_a_success_and_what_is_over_is_cut() -> None:
    body = b'{"b":"' + b"x" * 600_000 + b'"}'
    assert ended(ContainerAnswer(200, body, len(body))) == (SUCCESS, len(body))
    code, said = ended(ContainerAnswer(200, body[:10240], len(body), 512 * 1024))
    assert code == APPLICATION_ERROR
    assert 10240 < said < 10240 + 200


def ended(answer: ContainerAnswer) -> tuple[int, int]:
    """Status code and length of the result."""
    wanted = order()
    proxy = ContainerProxy("c1")
    proxy.run(wanted, 1.0, initialize=True)
    proxy.initialized(wanted.run_id, ContainerAnswer(200, b"{}", 2), Interval(1.0, 2.0), 2.0)
    effects = proxy.executed(wanted.run_id, answer, Interval(2.0, 3.0))
    (told,) = [effect for effect in effects if isinstance(effect, SendAck)]
    response = told.activation.response
    return response.status_code, len(msgspec.json.encode(response.result))
