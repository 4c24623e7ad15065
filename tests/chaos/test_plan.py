"""The plan: the same seed gives the same faults, and a broken target is left alone."""

from __future__ import annotations

import pytest

from chaos.plan import EXECUTOR, MASTER, OWMESOS, STANDBY, Fault, Kind, Plan, fates

AGENTS = ("agent1", "agent2")


def faults(seed: int, *, real: bool = True) -> list[Fault]:
    plan = Plan(fates(AGENTS, real=real), 200, 2.0, seed)
    found = []
    while not plan.done:
        fault = plan.next(())
        assert fault is not None
        found.append(fault)
    return found


def test_the_seed_decides() -> None:
    assert faults(1) == faults(1)
    assert faults(1) != faults(2)


def test_it_ends_after_that_many_kills_and_has_every_kind_for_every_target() -> None:
    found = faults(1)
    assert sum(fault.kind.kills for fault in found) == 200
    assert {fault.kind for fault in found} == set(Kind)
    assert {fault.target for fault in found} == {OWMESOS, MASTER, EXECUTOR, *AGENTS}


def test_a_simulated_daemon_is_no_process_to_be_frozen_and_has_no_network() -> None:
    for fault in faults(1, real=False):
        assert fault.target in (OWMESOS, EXECUTOR) or fault.kind in (Kind.KILL, Kind.FREEZE)
        assert fault.target != MASTER or fault.kind is Kind.KILL


def test_what_is_broken_is_left_alone() -> None:
    plan = Plan(fates(AGENTS, real=True), 50, 2.0, 1)
    broken = {OWMESOS, MASTER, EXECUTOR, "agent1"}
    assert {fault.target for _ in range(50) if (fault := plan.next(broken)) is not None} == {"agent2"}
    assert plan.next({*broken, "agent2"}) is None


@pytest.mark.parametrize(("kills", "at_least"), [(1, 1), (2, 1), (3, 1), (6, 2), (10, 4)])
def test_one_of_three_kills_is_of_an_owmesos_that_has_a_standby(kills: int, at_least: int) -> None:
    targets = fates(AGENTS, real=False, standby=True)
    for seed in range(100):
        plan = Plan(targets, kills, 2.0, seed, (OWMESOS, STANDBY))
        killed = []
        while not plan.done:
            fault = plan.next(())
            assert fault is not None
            killed += [fault.target] * fault.kind.kills
        assert len(killed) == kills
        assert sum(target in (OWMESOS, STANDBY) for target in killed) >= at_least


def test_that_kill_waits_until_one_of_them_is_whole() -> None:
    plan = Plan(fates(AGENTS, real=False, standby=True), 1, 2.0, 1, (OWMESOS, STANDBY))
    assert plan.next({OWMESOS, STANDBY}) is None
    fault = plan.next({OWMESOS})
    assert fault is not None
    assert (fault.target, fault.kind.kills) == (STANDBY, True)
