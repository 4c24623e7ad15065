"""What makes an action another one for the containers that it has: everything of it but its revision."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from owmesos.openwhisk.entities import ActionDocument, to_executable
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.messages import EntityName
from tests.openwhisk.container.invoker import FakeInvoker
from tests.openwhisk.documents import MANIFEST, action_document
from tests.openwhisk.runs import action


def read(**changes: Any) -> Executable:
    document = msgspec.convert({**action_document(), **changes}, ActionDocument)
    return to_executable(EntityName("guest", "hello"), document, "pass", MANIFEST)


def test_another_revision_of_the_same_is_the_same() -> None:
    assert read(_rev="1-a").for_pool() == read(_rev="2-b", updated=5).for_pool()
    invoker = FakeInvoker()
    container_id = invoker.warm()
    run_id = invoker.run(msgspec.structs.replace(action(), revision="2-b"))
    assert invoker.given[run_id] == container_id


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "def main(args):\n    return {}"},
        {"main": "other"},
        {"binary": True},
        {"timeout": 1000},
        {"logs": 1},
        {"concurrency": 2},
        {"provides_api_key": False},
    ],
    ids=str,
)
def test_with_other_contents_and_the_same_version_it_gets_a_container_of_its_own(changes: dict[str, Any]) -> None:
    invoker = FakeInvoker()
    container_id = invoker.warm()
    run_id = invoker.run(action(**changes))
    assert invoker.given[run_id] != container_id
    invoker.init(run_id)
    invoker.answer(run_id)
    assert invoker.given[invoker.run()] == container_id, "the other one is still there for what it was"


@pytest.mark.parametrize("field", ["parameters", "annotations"])
def test_what_it_was_set_with_is_of_its_contents(field: str) -> None:
    one, other = (read(**{field: [{"key": "secret", "value": value}]}) for value in ("x", "y"))
    assert one.for_pool() != other.for_pool()
