"""Settings in processes of their own: what comes of them is what the benchmark of over-provisioning measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from benchmarks import overprovisioning
from benchmarks.surroundings import Size, surroundings
from owmesos.core.pool.containers import ContainerShape, PoolAction
from owmesos.sizing.comparison import Case, SimulationFailed, compare, run_setting
from owmesos.sizing.summary import Summary
from owmesos.sizing.surroundings import Change, Foreign, Machine, Surroundings
from owmesos.sizing.trace import Trace, drawn
from owmesos.sizing.trial import Setting
from owmesos.sizing.workload import Function, Invocation

SIZE = Size(start=2, least=1, most=3, pace=4.0)
SECONDS = 15.0
OURS = Setting("ours", buffer=0.05)


def numbers(summary: Summary) -> dict[str, object]:
    """All but the samples, of which the benchmark keeps fewer."""
    found: dict[str, object] = msgspec.to_builtins(summary)
    del found["samples"]
    return found


def test_a_drawn_workload_gives_what_the_benchmark_gives_at_the_same_seed() -> None:
    around = surroundings(SIZE, SECONDS, 1, neighbour=False)
    case = Case(drawn("azure", SECONDS, overprovisioning.BUSY * around.least_mb, 1), around, 1)
    settings = (Setting("fixed, least", "least"), OURS)
    theirs = list(overprovisioning.measure(1, SECONDS, settings, SIZE))
    heard: list[tuple[str, float]] = []
    ours = compare(case, settings, 2, lambda name, share: heard.append((name, share)))
    assert list(map(numbers, ours)) == list(map(numbers, theirs))
    assert all(each.starts > 20 for each in ours)
    for setting in settings:
        shares = [share for name, share in heard if name == setting.name]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(shares) > 5


ACTION = PoolAction("a", "0.0.1", ContainerShape("python:3", 256))


def few(*at: float, memory: int = 256, duration: float = 1.0) -> Trace:
    of = Function(replace_memory(ACTION, memory), "guest")
    return Trace([of], [Invocation(each, number, 0, duration) for number, each in enumerate(at)], 30.0)


def replace_memory(action: PoolAction, memory: int) -> PoolAction:
    return msgspec.structs.replace(action, shape=ContainerShape("python:3", memory))


def cluster(*changes: Change, foreign: tuple[Foreign, ...] = ()) -> Surroundings:
    return Surroundings((Machine("small", 2.0, 1024), Machine("large", 8.0, 4096)), (), changes, foreign)


def test_a_single_activation_has_a_wait() -> None:
    run = run_setting(Case(few(1.0), cluster()), OURS)
    assert (run.activations, run.starts, run.failed, run.overprovisioned) == (1, 1, 0, 0)
    assert run.median == run.p99 == run.longest == pytest.approx(1.3, abs=0.7)  # a start and /init
    assert run.cold == 1.0


def test_agents_of_different_sizes_are_used_as_large_as_they_are() -> None:
    run = run_setting(Case(few(*(1.0 + n / 10 for n in range(4)), memory=1000, duration=20.0), cluster()), Setting("x"))
    assert run.peak == 4000
    assert {sample.total for sample in run.samples} == {5120}


def test_what_leaves_is_gone_and_what_a_neighbour_takes_is_not_ours() -> None:
    foreign = (Foreign(2.0, 1024, 10.0), Foreign(2.0, 1024, 10.0))
    run = run_setting(Case(few(1.0), cluster(Change(20.0, "large", up=False, removed=True), foreign=foreign)), OURS)
    assert max(sample.foreign for sample in run.samples) == 2048
    assert run.samples[-1].foreign == 0
    assert (run.samples[0].total, run.samples[-1].total) == (5120, 1024)


def test_a_process_that_fails_is_told_in_one_line() -> None:
    unknown = replace(cluster(), changes=(Change(1.0, "unknown", up=False),))
    with pytest.raises(SimulationFailed, match=r"^internal error in 'ours', please report it: KeyError: 'unknown'$"):
        compare(Case(few(1.0), unknown), [OURS], 1, lambda name, share: None)


def test_modules_in_the_working_folder_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be /tmp, where every user can put them."""
    package = tmp_path / "multiprocessing"
    package.mkdir()
    (package / "__init__.py").write_text("open('ran', 'w')", encoding="ascii")
    monkeypatch.chdir(tmp_path)
    (found,) = compare(Case(few(1.0), cluster()), [OURS], 1, lambda name, share: None)
    assert found.starts == 1
    assert Path.cwd() == tmp_path
    assert not (tmp_path / "ran").exists()
