"""Each mutation here breaks a rule of images and kinds that cannot start, and one of the scenes must go wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from owmesos.core.backoff import Avoided, Backoff
from owmesos.core.pool.pool import Pool
from tests.core.pool import test_starting as scenes
from tests.mutations import Mutations, nothing

mutation = Mutations()


@mutation
def what_fails_is_tried_as_often_as_it_is_asked_for(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "suspected", lambda self, key: False)


@mutation
def what_cannot_start_is_tried_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "exhausted", lambda self, key: False)


@mutation
def room_is_made_for_what_cannot_start(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "at_fault", nothing)


@mutation
def the_next_attempt_is_made_where_the_last_one_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "avoided", lambda self, key, now: Avoided())


@mutation
def what_came_to_run_stays_at_fault(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "ran", lambda self, agent_id, key, now: [])


@mutation
def a_run_that_comes_later_is_not_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Pool, "_ends_at_once", nothing)


def all_scenes() -> Iterator[Callable[[], None]]:
    for owner in (scenes.TestImageThatCannotStart, scenes.TestBrokenAgent):
        for name in vars(owner):
            if name.startswith("test_"):
                yield getattr(owner(), name)


def goes_wrong(scene: Callable[[], None]) -> bool:
    try:
        scene()
    except (AssertionError, KeyError, ValueError):
        return True
    return False


def test_all_scenes_go_well() -> None:
    assert not any(goes_wrong(scene) for scene in all_scenes())


@pytest.mark.parametrize("name", list(mutation))
def test_a_scene_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation[name](monkeypatch)
    assert any(goes_wrong(scene) for scene in all_scenes())
