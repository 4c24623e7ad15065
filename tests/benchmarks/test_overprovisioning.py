"""The benchmark of over-provisioning: what is drawn is what was published, and what is measured is what happened."""

from __future__ import annotations

import random
import statistics
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import overprovisioning
from benchmarks.overprovisioning import SETTINGS, table
from benchmarks.surroundings import Size, surroundings
from owmesos.resources import Ask
from owmesos.sizing.meter import Outcome, Sample, fits
from owmesos.sizing.summary import Summary, summarize
from owmesos.sizing.surroundings import AGENT_MB, Foreign, peak
from owmesos.sizing.trial import Setting, Trial
from owmesos.sizing.workload import (
    DAY,
    LIMITS,
    Load,
    activations,
    arrivals,
    duration_at,
    functions,
    memory_at,
    rate_at,
)

SMALL = Load(seconds=120.0, busy=8_000.0, actions=60)


class TestWorkload:
    def test_is_the_same_for_the_same_seed_only(self) -> None:
        first, again, other = (activations(functions(SMALL, seed), SMALL, seed) for seed in (1, 1, 2))
        assert first == again
        assert first != other

    def test_comes_in_order_and_within_its_time(self) -> None:
        found = activations(functions(SMALL, 1), SMALL, 1)
        assert [each.at for each in found] == sorted(each.at for each in found)
        assert found[0].at >= 0
        assert found[-1].at < SMALL.seconds

    def test_keeps_so_much_memory_busy_as_is_asked_for(self) -> None:
        assert sum(each.busy for each in functions(SMALL, 3)) == pytest.approx(SMALL.busy)

    def test_has_the_published_rates(self) -> None:
        assert rate_at(0.45) == pytest.approx(24)
        assert rate_at(0.81) == pytest.approx(1_440)
        assert rate_at(1.0) / rate_at(0.0) == pytest.approx(1e8)

    def test_has_the_published_durations_and_memory(self) -> None:
        assert duration_at(0.5) == pytest.approx(0.684, abs=0.001)  # e to the -0.38
        assert [memory_at(share) for share in (0.3, 0.5, 0.95, 0.99, 0.9999)] == [128, 256, 512, 1_024, 2_048]

    def test_has_hot_and_cold_actions_of_several_sizes(self) -> None:
        found = functions(Load(1_800.0, 50_000.0), 1)
        rates = sorted(each.rate for each in found)
        assert rates[0] < 100 / DAY
        assert rates[-1] > 1_000 * rates[0]
        assert {each.action.shape.memory for each in found} >= set(LIMITS[:4])

    @pytest.mark.parametrize("cv", [0.0, 1.0, 4.0])
    def test_times_between_invocations_vary_as_they_should(self, cv: float) -> None:
        times = list(arrivals(2.0, cv, 20_000.0, random.Random(1)))
        between = [later - at for at, later in pairwise(times)]
        assert statistics.fmean(between) == pytest.approx(0.5, rel=0.1)
        assert statistics.stdev(between) / 0.5 == pytest.approx(cv, rel=0.15, abs=0.01)


class TestSurroundings:
    def test_machines_leave_and_come_within_bounds(self) -> None:
        size = Size()
        around = surroundings(size, 1_800.0, 1, neighbour=False)
        there = {each.name for each in around.machines} - set(around.absent)
        counts = [len(there)]
        for change in around.changes:
            assert (change.name in there) is not change.up
            (there.add if change.up else there.remove)(change.name)
            counts.append(len(there))
        assert (min(counts), max(counts)) == (size.least, size.most)
        assert around.least_mb == size.least * AGENT_MB

    def test_the_second_framework_keeps_to_its_bound(self) -> None:
        size = Size()
        around = surroundings(size, 1_800.0, 2, neighbour=True)
        assert 0 < peak(around.foreign) <= size.foreign_mb
        assert around.least_mb == size.least * AGENT_MB - peak(around.foreign)

    def test_the_peak_counts_what_overlaps(self) -> None:
        assert peak((Foreign(0, 100, 10), Foreign(5, 200, 10), Foreign(20, 250, 5))) == 300


class TestFits:
    FREE = (Ask.of(mem=512, cpus=1, ports=10), Ask.of(mem=1_024, cpus=1, ports=10))

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [((1_024,), True), ((1_025,), False), ((512, 1_024), True), ((600, 600), False), ((2_000, 1_024), True)],
    )
    def test_the_last_has_what_the_earlier_leave(self, asked: tuple[int, ...], expected: bool) -> None:
        assert fits([Ask.of(mem=mem, cpus=0.1, ports=1) for mem in asked], list(self.FREE)) is expected

    def test_cpus_and_ports_count(self) -> None:
        assert not fits([Ask.of(mem=1, cpus=2)], list(self.FREE))
        assert not fits([Ask.of(mem=1, ports=11)], list(self.FREE))


class TestTrial:
    def trial(self, setting: Setting, seed: int) -> Outcome:
        around = surroundings(Size(start=3, least=2, most=4, pace=15.0, foreign_mb=4_096), 120.0, seed, neighbour=True)
        of = functions(SMALL, seed)
        return Trial(setting, of, activations(of, SMALL, seed), around, seed).run(120.0)

    @pytest.mark.parametrize("setting", SETTINGS[:3], ids=lambda setting: setting.name)
    def test_every_activation_ends(self, setting: Setting) -> None:
        outcome = self.trial(setting, 2)
        assert outcome.activations > 100
        assert len(outcome.waits) == outcome.activations
        assert all(sample.total > 0 for sample in outcome.samples)
        assert all(sample.held + sample.foreign <= sample.total for sample in outcome.samples)

    def test_is_the_same_for_the_same_seed(self) -> None:
        assert self.trial(SETTINGS[2], 2) == self.trial(SETTINGS[2], 2)

    def test_a_user_memory_above_the_cluster_is_over_provisioned_and_owmesos_is_not(self) -> None:
        fixed, ours = self.trial(SETTINGS[0], 4), self.trial(SETTINGS[2], 4)
        assert fixed.overprovisioned > 0
        assert ours.overprovisioned == 0
        assert ours.starts > 0


class TestReport:
    def summary(self, setting: str, long_waits: int, held: int) -> Summary:
        outcome = Outcome(starts=9, activations=100, overprovisioned=long_waits, waits=[61.0] * long_waits)
        outcome.latencies = [0.01 * each for each in range(100)]
        outcome.samples = [Sample(float(at), 1_000, 100, held, 200, 0) for at in range(30)]
        return summarize(outcome, setting=setting, seed=1, neighbour=False, user_memory=None)

    def summaries(self) -> list[Summary]:
        waits = (200, 200, 0, 0, 20, 21)
        return [
            self.summary(each.name, count, 400 + 10 * n)
            for n, (each, count) in enumerate(zip(SETTINGS, waits, strict=True))
        ]

    def test_shares_are_weighted_by_time(self) -> None:
        summary = self.summary("x", 0, 400)
        assert (summary.held, summary.busy) == (pytest.approx(0.4), pytest.approx(0.2))

    def test_rows_judge_the_three_targets(self) -> None:
        rows = {row.name: row.met for row in overprovisioning.rows(self.summaries(), judged=True)}
        assert rows["starts over-provisioned, owmesos, buffer 0 %"] is True
        assert rows["starts over-provisioned, owmesos, buffer 5 %"] is False
        assert rows["waits over a minute, owmesos, buffer 5 %"] is True
        assert rows["waits over a minute, owmesos, buffer 10 %"] is False
        assert rows["memory used, owmesos, buffer 10 %"] is True

    def test_tables_have_a_line_for_each_setting_and_each_run(self) -> None:
        summaries = self.summaries()
        assert len(table.markdown(table.by_setting(summaries)).splitlines()) == 2 + len(SETTINGS)
        assert table.html(table.by_run(summaries)).count("<tr>") == 1 + len(summaries)

    def test_starts_on_dead_machines_have_a_column_where_they_are_counted(self) -> None:
        (columns, (line, *_)), (without, _) = table.by_run(self.summaries(), dead=True), table.by_run(self.summaries())
        assert columns.index(table.ON_DEAD) == 1 + columns.index("over-provisioned")
        assert len(line) == len(columns) == 1 + len(without)

    def test_the_page_needs_no_other_file(self, tmp_path: Path) -> None:
        section = overprovisioning.page.write(self.summaries(), tmp_path / "report.md", "Taken today.")
        page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
        assert page.count("data:image/png;base64,") == 3
        assert "http" not in page
        assert "report/counts.png" in section
        assert (tmp_path / "report" / "memory.png").read_bytes().startswith(b"\x89PNG")
