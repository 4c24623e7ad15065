"""What the page for the operator on call quotes of owmesos's log and answers is what owmesos says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from owmesos.core.pool.settings import PoolSettings
from owmesos.openwhisk.kafka.feed_settings import FeedSettings
from owmesos.openwhisk.limits import ForcedCompletion
from tests.openwhisk.supervision import BUFFER_SIZE, ERROR_TOLERANCE, PING_TIMEOUT, State

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "openwhisk-on-call.md").read_text(encoding="utf-8")
SOURCE = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "owmesos").rglob("*.py")))

QUOTED = (
    "no container within",
    "activations were under way when the previous process ended",
    "The invoker ended while the activation was running",
    "no container: too late to end",
    "The action's container was lost while it ran.",
    "Action could not be fetched.",
    "Action version is not compatible and cannot be invoked.",
    "The invoker was stopped before the activation ended.",
    "nothing can be launched: Controllers are asked to reject requests",
    "there is room again",
    "no more activations are taken",
    "as this invoker: give each invoker its own --id",
    "is back, after",
    "pip install 'owmesos[openwhisk]'",
    "not subscribed, trying again",
    "its container did not start",
    "records_waiting",
)


@pytest.mark.parametrize("text", QUOTED)
def test_it_quotes_what_owmesos_says(text: str) -> None:
    assert text in " ".join(PAGE.split())
    assert text in SOURCE


def test_it_names_each_state_as_the_controller_does() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|", PAGE, re.MULTILINE)
    assert {name: state.upper() for name, state in rows} == {state.value: state.name for state in State}


def test_it_has_the_numbers_by_which_invokers_are_judged() -> None:
    assert f"more than {ERROR_TOLERANCE} of the last {BUFFER_SIZE}" in PAGE
    assert f"no ping for {PING_TIMEOUT:g} s" in PAGE
    assert f"`--max-activations` ({FeedSettings().max_count})" in PAGE
    assert "of up to 60 s waits for 110 s and more, one of 300 s for 350 s" in PAGE
    forced = ForcedCompletion()
    assert (forced.start_within(60.0), forced.start_within(300.0)) == (110.0, 350.0)
    assert PoolSettings().max_wait is None  # so that this is all that bounds the wait
