"""Faults that are put into the decisions on purpose, so that the random histories can show that they would see them.

Without this, a check that never bites would look like a rule that is always kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

Patch = Callable[[pytest.MonkeyPatch], None]
Histories = dict[type[RuleBasedStateMachine], int]  # how many of each machine at most
_HUNDRED = 100


class Mutations(dict[str, Patch]):
    """By name. Used as a decorator; each breaks one rule by patching it."""

    def __call__(self, patch: Patch) -> Patch:
        self[patch.__name__] = patch
        return patch

    def is_caught(self, name: str, machines: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fails unless a history of 50 steps of one of the machines goes wrong. They are tried in turn."""
        self[name](monkeypatch)
        if not any(_goes_wrong(machine, most) for machine, most in machines.items()):
            pytest.fail(f"{name} was not caught")


def _goes_wrong(machine: type[RuleBasedStateMachine], most: int) -> bool:
    """Whether one of at most `most` histories does. Each hundred begins anew, by a seed of its own, so that it does not
    depend on one."""
    return any(_one_does(machine, begin, min(_HUNDRED, most - begin)) for begin in range(0, most, _HUNDRED))


def _one_does(machine: type[RuleBasedStateMachine], number: int, most: int) -> bool:
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
    seeded = seed(number)(type(machine.__name__, (machine,), {}))
    try:
        run_state_machine_as_test(seeded, settings=few)
    except (AssertionError, KeyError, ValueError):
        return True
    return False


def wrap(patch: pytest.MonkeyPatch, owner: type, name: str, around: Callable[..., Any]) -> None:
    """`around(original, self, *args)` takes the method's place."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda self, *args, **named: around(original, self, *args, **named))


def nothing(*args: Any, **named: Any) -> None:
    """In the place of a rule."""
