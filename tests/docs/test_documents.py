"""The fields that docs/cli.md lists are those of `owmesos.documents`."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import get_args, get_type_hints
from urllib.parse import quote

import pytest

from owmesos import documents
from owmesos.core.node_stats import NodeState
from owmesos.core.pool.containers import ContainerState
from owmesos.core.reservations import ReservationState
from owmesos.mesos.scheduler.lifecycle import ENDED, State
from owmesos.mesos.scheduler.offer_book import OfferState
from owmesos.openwhisk import documents as openwhisk_documents
from owmesos.service.admin_tokens import tokens

CLI = Path(__file__).parents[2] / "docs" / "cli.md"
WRITTEN = re.compile(r"\*\*(?P<name>[a-z -]+)\*\*: (?:[^`]*: )?`(?P<fields>[^`]+)`")
"""`- **offers**: `offer_id, agent_id, …`"""


def written() -> dict[str, list[str]]:
    text = CLI.read_text(encoding="utf-8").partition("## Documents")[2].partition("## Admin API")[0]
    return {found["name"]: re.findall(r"\w+", found["fields"]) for found in WRITTEN.finditer(text)}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("doctor", documents.CheckDocument),
        ("status", documents.StatusDocument),
        ("nodes", documents.NodeDocument),
        ("offers", documents.OfferDocument),
        ("reservations", documents.ReservationDocument),
        ("launches", documents.LaunchDocument),
        ("launches --unreadable", documents.UnreadableDocument),
        ("containers", documents.ContainerDocument),
        ("actions", openwhisk_documents.ListedAction),
        ("explain", documents.LaunchExplanation),
        ("invoker", documents.InvokerDocument),
        ("simulate", documents.SimulationDocument),
    ],
)
def test_the_fields_in_the_docs_are_those_of_the_type_in_its_order(name: str, document: type) -> None:
    assert written()[name] == list(document.__annotations__)


@pytest.mark.parametrize("page", ["cli.md", "metrics.md"])
def test_a_token_that_run_makes_has_the_characters_that_the_docs_say(page: str, tmp_path: Path) -> None:
    text = " ".join((CLI.parent / page).read_text(encoding="utf-8").split())
    assert "one of letters, digits, `-` and `_`, such as `run` makes" in text
    for token in tokens(tmp_path / "state"):
        assert token is not None
        assert re.fullmatch(r"[A-Za-z0-9_-]+", token)
        assert quote(token, safe="") == token


def test_a_story_and_its_entries_are_in_the_docs() -> None:
    assert written()["story"] == [*documents.StoryDocument.__annotations__, *documents.StoryEntry.__annotations__]


def test_the_fields_of_a_listed_activation_are_in_the_docs() -> None:
    fields = set(openwhisk_documents.ListedActivation.__required_keys__) - {"statusCode"}  # described in words
    assert set(written()["activations"]) == fields


def test_an_activation_is_explained_with_the_fields_of_a_launch_but_two() -> None:
    fields = [name for name in documents.LaunchExplanation.__annotations__ if name != "queue_position"]
    assert ["launch_id", *list(documents.ActivationExplanation.__annotations__)[1:]] == fields


def test_the_words_of_a_status_are_those_that_there_are() -> None:
    assert set(get_args(documents.NodeStateWord)) == {each.value for each in NodeState}
    assert set(get_args(documents.ContainerStateWord)) == {each.value for each in ContainerState}


@pytest.mark.parametrize(
    ("document", "states"),
    [
        (documents.NodeDocument, NodeState),
        (documents.OfferDocument, OfferState),
        (documents.ReservationDocument, ReservationState),
        (documents.LaunchDocument, State),
        (documents.ContainerDocument, ContainerState),
    ],
)
def test_a_documents_states_are_those_that_there_are(document: type, states: type[Enum]) -> None:
    assert set(get_args(get_type_hints(document)["state"])) == {each.value for each in states}


def test_a_state_in_which_a_launch_has_ended_is_one() -> None:
    assert set(get_args(documents.EndedState)) == {each.value for each in ENDED}
