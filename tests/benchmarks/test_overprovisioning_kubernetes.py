"""The benchmark of over-provisioning on Kubernetes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from benchmarks.overprovisioning.kubernetes_trial import NAMESPACE, Invoker, KubernetesTrial
from benchmarks.overprovisioning_kubernetes import SETTINGS
from benchmarks.surroundings import Size, surroundings
from owmesos.sizing.meter import Outcome
from owmesos.sizing.trial import Setting
from owmesos.sizing.workload import Load, activations, functions

SECONDS = 20.0
SMALL = Load(seconds=SECONDS, busy=3_000.0, actions=20)


def trial(setting: Setting, seed: int = 2) -> Outcome:
    size = Size(start=2, least=1, most=3, pace=3.0, foreign_mb=4_096)
    around = surroundings(size, SECONDS, seed, neighbour=True)
    of = functions(SMALL, seed)
    return KubernetesTrial(setting, of, activations(of, SMALL, seed), around, seed).run(SECONDS)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_activation_ends(setting: Setting) -> None:
    outcome = trial(setting)
    assert outcome.activations > 20
    assert len(outcome.waits) == outcome.activations
    assert outcome.starts > 0
    assert all(sample.held + sample.foreign <= sample.total for sample in outcome.samples)


def test_is_the_same_for_the_same_seed() -> None:
    assert trial(SETTINGS[3]) == trial(SETTINGS[3])


def test_both_start_on_machines_that_have_died_and_nobody_knows_of() -> None:
    theirs, ours = trial(SETTINGS[1], 6), trial(SETTINGS[2], 6)
    assert 0 < theirs.on_dead < theirs.starts
    assert 0 < ours.on_dead < ours.starts


def test_a_start_whose_pod_was_taken_back_does_not_wait_for_room() -> None:
    """Its pool hears of the deletion a moment after another one does, which may use the room at once."""
    size = Size(start=2, least=1, most=3, pace=3.0, foreign_mb=4_096)
    made = KubernetesTrial(SETTINGS[2], [], [], surroundings(size, SECONDS, 2, neighbour=True), 2)
    starting = SimpleNamespace(pool=SimpleNamespace(containers=SimpleNamespace(starting={"c1"})))
    made.invokers = cast("list[Invoker]", [starting])
    assert made._waits_for_room("c1")
    container = {"name": "main", "image": "own:1"}
    made.world.api.post_pod(NAMESPACE, {"metadata": {"name": "c1"}, "spec": {"containers": [container]}})
    assert made._waits_for_room("c1")
    made.world.api.delete_pod(NAMESPACE, "c1")
    assert not made._waits_for_room("c1")


def test_a_user_memory_above_the_cluster_is_over_provisioned_and_owmesos_is_not() -> None:
    theirs, ours = trial(SETTINGS[0], 4), trial(SETTINGS[2], 4)
    assert theirs.overprovisioned > 0
    assert ours.overprovisioned == 0
