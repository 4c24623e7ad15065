"""Until when a run may start, so that it ends before its Controller forces its completion."""

from __future__ import annotations

import pytest

from owmesos.openwhisk.limits import LEAST_WAIT, ForcedCompletion


@pytest.mark.parametrize(
    ("limit", "forced", "start_within"), [(60.0, 180.0, 110.0), (1.0, 180.0, 169.0), (300.0, 660.0, 350.0)]
)
def test_a_run_that_takes_all_its_time_still_ends_ten_seconds_before(
    limit: float, forced: float, start_within: float
) -> None:
    usual = ForcedCompletion()
    assert usual.after(limit) == forced
    assert usual.start_within(limit) == start_within


def test_the_controllers_own_settings_count() -> None:
    assert ForcedCompletion(factor=4, addon=30.0).start_within(60.0) == 200.0


def test_a_controller_that_waits_for_nothing_leaves_a_moment_all_the_same() -> None:
    assert ForcedCompletion(factor=1, addon=0.0).start_within(300.0) == LEAST_WAIT
