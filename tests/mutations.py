"""Faults that are put into the decisions on purpose, so that the random histories can show that they would see them.

Without this, a check that never bites would look like a rule that is always kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.examples import examples

Patch = Callable[[pytest.MonkeyPatch], None]


class Mutations(dict[str, Patch]):
    """By name. Used as a decorator; each breaks one rule by patching it."""

    def __call__(self, patch: Patch) -> Patch:
        self[patch.__name__] = patch
        return patch

    def chosen(self) -> list[str]:
        """All of them, or some where fewer examples are wanted."""
        return list(self)[: examples(len(self))]

    def is_caught(
        self, name: str, machine: type[RuleBasedStateMachine], monkeypatch: pytest.MonkeyPatch, *, most: int
    ) -> None:
        """Fails unless one of at most `most` histories of 50 steps goes wrong."""
        self[name](monkeypatch)
        few = settings(
            max_examples=most,  # a history that shows the fault ends the search
            stateful_step_count=50,
            deadline=None,
            database=None,
            derandomize=True,
            report_multiple_bugs=False,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
            print_blob=False,
        )
        with pytest.raises((AssertionError, KeyError, ValueError)):
            run_state_machine_as_test(machine, settings=few)


def wrap(patch: pytest.MonkeyPatch, owner: type, name: str, around: Callable[..., Any]) -> None:
    """`around(original, self, *args)` takes the method's place."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *args, **named: around(original, self, *args, **named))


def nothing(*args: Any, **named: Any) -> None:
    """In the place of a rule."""
