"""Each mutation here breaks a rule of whose fault it is, and one of the scenes of failed starts must go wrong.

The random mixes of test_blame_machine.py catch them too, but slowly: here a scene is a fraction of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owmesos.core import start_faults
from owmesos.core.backoff import Avoided, Backoff
from owmesos.mesos.scheduler.blame import Blame
from tests.mesos.scheduler import test_blame as scenes
from tests.mutations import Mutations, nothing, wrap

mutation = Mutations()

# -- an agent where different launches fail is at fault


@mutation
def no_agent_is_ever_at_fault(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "_judge", lambda self, agent_id, now, why: [])


@mutation
def a_launch_is_sent_where_it_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "avoided", lambda self, key, now: Avoided())


@mutation
def a_closed_agent_gets_starts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Blame, "_apply", nothing)


# -- a launch that cannot start is at fault, and not the agents


@mutation
def every_failure_is_the_agents(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(start_faults.LaunchFaults, "ran_elsewhere", lambda self, agent_id: True)


@mutation
def one_failure_closes_an_agent(patch: pytest.MonkeyPatch) -> None:
    def judge(original: Any, self: Backoff, agent_id: str, now: float, why: str) -> Any:
        agent = self._agent(agent_id)
        agent.strikes = max(agent.strikes, 3) if agent.failing else agent.strikes
        agent.failing.update({("more", number): True for number in range(3)} if agent.failing else {})
        return original(self, agent_id, now, why)

    wrap(patch, Backoff, "_judge", judge)


@mutation
def a_launch_at_fault_never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "exhausted", lambda self, key: False)


@mutation
def a_launch_at_fault_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "launch_pause", nothing)
    patch.setattr(Backoff, "avoided", lambda self, key, now: Avoided())
    patch.setattr(Backoff, "exhausted", lambda self, key: False)


# -- one outage is one failure, and what begins anew begins at zero


@mutation
def every_task_of_an_outage_counts(patch: pytest.MonkeyPatch) -> None:
    def outage(original: Any, self: Backoff, agent_id: str, begun: float, now: float, why: str) -> Any:
        return original(self, agent_id, float("inf"), now, why)

    wrap(patch, Backoff, "outage", outage)


@mutation
def an_outage_is_blamed_on_its_launches(patch: pytest.MonkeyPatch) -> None:
    def lost(original: Any, self: Blame, record: Any, status: Any, text: str, now: float) -> Any:
        for agent_id in ("S0", "other"):
            self._state.backoff.failed(agent_id, record.launch.start_key, now, now, text)
        return original(self, record, status, text, now)

    wrap(patch, Blame, "lost", lost)


@mutation
def an_agent_that_registers_anew_stays_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "began_anew", nothing)


@mutation
def a_pause_never_ends(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "pause_over", nothing)


@mutation
def a_start_that_succeeds_acquits_nobody(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Backoff, "ran", lambda self, agent_id, key, now: [])


def all_scenes() -> Iterator[Callable[[], None]]:
    """The tests of test_blame.py that take no parameters."""
    for owner in (scenes.TestBrokenAgent, scenes.TestOutage, scenes.TestLaunchThatCannotStart):
        for name in vars(owner):
            if name.startswith("test_") and name != "test_forty_tasks_that_an_agent_drops":
                yield getattr(owner(), name)
    yield lambda: scenes.TestOutage().test_forty_tasks_that_an_agent_drops("REASON_AGENT_DISCONNECTED")


def goes_wrong(scene: Callable[[], None]) -> bool:
    try:
        scene()
    except (AssertionError, ValueError):
        return True
    return False


def test_all_scenes_go_well() -> None:
    assert not any(goes_wrong(scene) for scene in all_scenes())


@pytest.mark.parametrize("name", list(mutation))
def test_a_scene_catches(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mutation[name](monkeypatch)
    assert any(goes_wrong(scene) for scene in all_scenes())
