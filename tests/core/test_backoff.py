from __future__ import annotations

from owmesos.core.backoff import Backoff


def paused(backoff: Backoff, agent_id: str = "S1", at: float = 0.0) -> float | None:
    """Until when the agent gets nothing, after as many failures as that takes."""
    until = None
    while until is None:
        until = backoff.failed(agent_id, at)
    return until


class TestBackoff:
    def test_only_failures_in_a_row_count(self) -> None:
        backoff = Backoff(3, 30.0, 600.0)
        assert backoff.failed("S1", 0.0) is None
        assert backoff.failed("S1", 0.0) is None
        backoff.started("S1")
        assert backoff.failed("S1", 0.0) is None
        assert backoff.failed("S1", 0.0) is None
        assert backoff.failed("S1", 100.0) == 130.0
        assert backoff.until("S1") == 130.0

    def test_pauses_double_up_to_the_longest(self) -> None:
        backoff = Backoff(3, 30.0, 600.0)
        lengths = [paused(backoff) for _ in range(7)]
        assert lengths == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]

    def test_a_start_that_succeeds_ends_the_doubling(self) -> None:
        backoff = Backoff(3, 30.0, 600.0)
        paused(backoff)
        backoff.over("S1")
        assert backoff.until("S1") is None
        backoff.started("S1")
        assert paused(backoff) == 30.0

    def test_agents_do_not_share_it(self) -> None:
        backoff = Backoff(3, 30.0, 600.0)
        paused(backoff, "S1")
        assert backoff.until("S2") is None
        assert backoff.failed("S2", 0.0) is None

    def test_an_agent_that_is_gone_is_forgotten(self) -> None:
        backoff = Backoff(3, 30.0, 600.0)
        paused(backoff)
        backoff.forget("S1")
        assert backoff.until("S1") is None
        assert paused(backoff) == 30.0
