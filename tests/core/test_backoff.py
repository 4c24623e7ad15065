"""Whose fault it is: what one failure, an outage, different launches and different agents say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from owmesos.core import backoff as backoff_module
from owmesos.core.backoff import Avoided, Backoff, BackoffLimits
from owmesos.core.start_faults import Fault

LIMITS = BackoffLimits()


class Starts:
    """Starts one after the other, a second apart, unless they are `together`."""

    def __init__(self) -> None:
        self.backoff = Backoff(LIMITS)
        self.now = 100.0
        self.found: list[Fault] = []

    def fails(self, agent_id: str, *keys: str, begun: float | None = None) -> list[Fault]:
        """One attempt after another."""
        found = []
        for key in keys:
            self.now += 1.0
            found += self.backoff.failed(agent_id, key, self.now if begun is None else begun, self.now, "no such user")
        self.found += found
        return found

    def together(self, agent_id: str, keys: Sequence[str]) -> list[Fault]:
        begun = self.now + 1.0
        self.now += 2.0
        return [fault for key in keys for fault in self.backoff.failed(agent_id, key, begun, self.now, "")]

    def run(self, agent_id: str, *keys: str) -> list[Fault]:
        self.now += 1.0
        found = [fault for key in keys for fault in self.backoff.ran(agent_id, key, self.now)]
        self.found += found
        return found

    def paused(self, agent_id: str) -> bool:
        return self.backoff.agent_pause(agent_id) is not None


@pytest.fixture
def starts() -> Starts:
    return Starts()


class TestAgentAtFault:
    def test_three_different_launches_that_run_elsewhere(self, starts: Starts) -> None:
        starts.run("S2", "a", "b", "c")
        assert starts.fails("S1", "a", "b") == []
        (fault,) = starts.fails("S1", "c")
        assert (fault.agent_id, fault.seconds, fault.until) == ("S1", 30.0, starts.now + 30.0)
        assert fault.reason == (
            "node S1 failed 3 starts in a row of different launches that run elsewhere (a, b, c)"
            "; last error: no such user"
        )
        assert starts.backoff.agent_pause("S1") == fault
        assert not starts.paused("S2")

    def test_that_they_run_elsewhere_may_be_seen_later(self, starts: Starts) -> None:
        starts.fails("S1", "a", "b", "c")
        assert starts.run("S2", "a", "b") == []
        (fault,) = starts.run("S2", "c")
        assert fault.agent_id == "S1"

    def test_one_launch_alone_is_not_enough(self, starts: Starts) -> None:
        starts.run("S2", "a")
        starts.fails("S1", *"aaaaaa")
        assert not starts.paused("S1")
        assert starts.backoff.at_fault("a") is None

    def test_launches_that_never_ran_are_half_as_good_as_witnesses(self, starts: Starts) -> None:
        starts.fails("S1", *"abcde")
        starts.run("S2", "other")
        assert not starts.paused("S1")
        (fault,) = starts.fails("S1", "f")
        assert "different launches while others ran elsewhere" in fault.reason

    def test_when_nothing_runs_anywhere_no_agent_is_blamed(self, starts: Starts) -> None:
        starts.fails("S1", *"abcdefghi")
        assert not starts.paused("S1")

    def test_the_pause_doubles_and_one_proof_is_enough_from_then_on(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        (fault,) = starts.fails("S1", *"abc")
        for seconds in (60.0, 120.0, 240.0, 480.0, 600.0, 600.0):
            starts.now = fault.until
            starts.backoff.pause_over("S1")
            assert starts.backoff.most_starts("S1") == 1
            starts.run("S2", "a")
            (fault,) = starts.fails("S1", "a")
            assert fault.seconds == seconds

    def test_a_start_that_succeeds_opens_it_and_begins_at_zero(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        starts.fails("S1", *"abc")
        starts.run("S1", "slow")
        assert not starts.paused("S1")
        assert starts.backoff.most_starts("S1") is None
        assert starts.fails("S1", "a", "b") == []
        (fault,) = starts.fails("S1", "c")
        assert fault.seconds == 30.0

    def test_a_success_in_between_begins_at_zero(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        starts.fails("S1", "a", "b")
        starts.run("S1", "d")
        starts.fails("S1", "a", "b")
        assert not starts.paused("S1")

    def test_a_failure_that_the_launch_explains_does_not_count(self, starts: Starts) -> None:
        starts.run("S2", "x", "y")
        for key in "abcdef":
            starts.fails("S3", key)
            starts.run("S3", "other")
        starts.fails("S1", *"abcdef")
        assert not starts.paused("S1")

    def test_a_doubted_agent_gets_few_starts_at_a_time(self, starts: Starts) -> None:
        starts.fails("S1", "a")
        assert starts.backoff.most_starts("S1") is None
        starts.fails("S1", "b")
        assert starts.backoff.most_starts("S1") == LIMITS.failed_starts
        assert starts.backoff.doubt("S1") == (
            "different launches failed there in a row and nothing ran since: 3 starts at a time"
        )
        starts.run("S1", "c")
        assert starts.backoff.most_starts("S1") is None
        assert starts.backoff.doubt("S1") is None


class TestOutage:
    """One outage is one failure, however many tasks it took."""

    def test_forty_tasks(self, starts: Starts) -> None:
        starts.run("S2", "a")
        begun = starts.now
        for _ in range(40):
            assert starts.backoff.outage("S1", begun, starts.now + 8.0, "it was cut off") == []
        assert not starts.paused("S1")

    def test_it_says_nothing_of_the_launches(self, starts: Starts) -> None:
        starts.backoff.outage("S1", starts.now, starts.now + 1, "")
        starts.backoff.outage("S2", starts.now, starts.now + 1, "")
        assert starts.backoff.calm or starts.backoff.doubted() == {"S1", "S2"}
        assert starts.backoff.at_fault("a") is None

    def test_failures_that_were_under_way_together_are_one(self, starts: Starts) -> None:
        """An agent that was switched off and on says of each task that its executor is gone."""
        keys = [f"k{number}" for number in range(40)]
        starts.run("S2", *keys)
        assert starts.together("S1", keys) == []
        assert not starts.paused("S1")

    def test_three_of_them_in_a_row_are_the_agents_fault(self, starts: Starts) -> None:
        found = []
        for _ in range(3):
            begun, starts.now = starts.now, starts.now + 1.0
            found += starts.backoff.outage("S1", begun, starts.now, "cut off")
        assert [fault.agent_id for fault in found] == ["S1"]

    def test_nothing_counts_during_a_pause(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        begun = starts.now
        (fault,) = starts.fails("S1", *"abc")
        starts.fails("S1", *"abcdef", begun=begun)
        assert starts.backoff.agent_pause("S1") == fault
        assert starts.backoff.at_fault("d") is None
        starts.backoff.pause_over("S1")
        assert not starts.fails("S1", "a", "b", begun=begun)
        assert not starts.paused("S1")

    def test_an_agent_that_begins_anew_begins_at_zero(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        begun = starts.now
        starts.fails("S1", *"abc")
        starts.backoff.began_anew("S1", starts.now)
        assert not starts.paused("S1")
        starts.fails("S1", *"abcdef", begun=begun)  # these were under way before
        assert starts.backoff.most_starts("S1") is None
        (fault,) = starts.fails("S1", *"abc")
        assert fault.seconds == 30.0


class TestLaunchAtFault:
    def test_it_fails_on_a_second_agent(self, starts: Starts) -> None:
        assert starts.fails("S1", "bad") == []
        (fault,) = starts.fails("S2", "bad")
        assert fault.agent_id is None
        assert fault.reason == "bad failed to start on 2 nodes (S1, S2); last error: no such user"
        assert starts.backoff.launch_pause("bad", starts.now) == fault

    def test_it_fails_where_others_run(self, starts: Starts) -> None:
        starts.run("S1", "good")
        (fault,) = starts.fails("S1", "bad")
        assert fault.reason == "bad failed to start on node S1, where others run; last error: no such user"

    def test_others_run_later_where_it_failed(self, starts: Starts) -> None:
        assert starts.fails("S1", "bad") == []
        (fault,) = starts.run("S1", "good")
        assert "where others run" in fault.reason
        assert starts.backoff.at_fault("good") is None

    def test_what_ran_there_long_ago_says_nothing(self, starts: Starts) -> None:
        starts.run("S1", "good")
        starts.now += 3600
        assert starts.fails("S1", "bad") == []

    def test_no_agent_is_closed_for_it(self, starts: Starts) -> None:
        starts.run("S3", "good")
        for _ in range(10):
            starts.fails("S1", "bad")
            starts.fails("S2", "bad")
        assert not starts.paused("S1")
        assert not starts.paused("S2")

    def test_its_pauses_double_up_to_a_minute(self, starts: Starts) -> None:
        starts.run("S1", "good")
        lengths = []
        for _ in range(9):
            starts.fails("S1", "bad")
            found = starts.backoff.at_fault("bad")
            assert found is not None
            lengths.append(found.seconds)
        assert lengths == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]

    def test_it_ends_after_some_attempts(self, starts: Starts) -> None:
        starts.run("S1", "good")
        starts.fails("S1", "bad", "bad", "bad")
        assert not starts.backoff.exhausted("bad")
        starts.fails("S1", "bad")
        assert starts.backoff.exhausted("bad")

    def test_many_at_once_are_one_attempt(self, starts: Starts) -> None:
        starts.run("S1", "good")
        starts.together("S1", ["bad"] * 12)
        assert not starts.backoff.exhausted("bad")
        found = starts.backoff.at_fault("bad")
        assert found is not None
        assert found.seconds == 1.0

    def test_it_is_tried_elsewhere_first_and_there_again_after_a_pause(self, starts: Starts) -> None:
        starts.fails("S1", "bad")
        assert starts.backoff.avoided("bad", starts.now) == Avoided(frozenset({"S1"}), frozenset({"S1"}))
        assert starts.backoff.launch_pause("bad", starts.now) is None
        wakes_at = starts.backoff.wakes_at("bad", starts.now)
        assert wakes_at == starts.now + 1.0
        assert starts.backoff.avoided("bad", wakes_at) == Avoided(last_choice=frozenset({"S1"}))

    def test_then_it_begins_with_nodes_that_are_known_to_work(self, starts: Starts) -> None:
        starts.run("S2", "good")
        starts.run("S3", "good")
        starts.now += 61.0
        starts.fails("S3", "other")
        starts.fails("S1", "new")
        first, *_ = starts.backoff.avoided("new", starts.now).choices
        assert [each for each in ("S1", "S2", "S3", "S4") if each not in first] == ["S2"]

    def test_of_those_that_work_one_where_it_did_not_fail_comes_first(self, starts: Starts) -> None:
        starts.run("S1", "good")
        starts.run("S2", "good")
        starts.fails("S1", "bad")
        for now in (starts.now, starts.now + 5.0):
            first, *_ = starts.backoff.avoided("bad", now).choices
            assert [each for each in ("S1", "S2", "S3") if each not in first] == ["S2"]

    @pytest.mark.parametrize("event", ["it_ran", "long_ago"])
    def test_not_for_ever(self, starts: Starts, event: str) -> None:
        starts.run("S2", "good")
        starts.fails("S1", "new")
        if event == "it_ran":
            starts.run("S2", "new")
        else:
            starts.now += 601.0
        assert not starts.backoff.avoided("new", starts.now).proved

    @pytest.mark.parametrize("event", ["fails", "outage", "began_anew", "at_fault"])
    def test_a_node_where_something_failed_is_not_known_to_work(self, starts: Starts, event: str) -> None:
        starts.run("S2", "good")
        if event == "fails":
            starts.now += 61.0
            starts.fails("S2", "other")
        elif event == "outage":
            starts.backoff.outage("S2", starts.now, starts.now, "cut off")
        elif event == "began_anew":
            starts.backoff.began_anew("S2", starts.now)
        else:
            starts.run("S3", "a", "b", "c")
            starts.fails("S2", "a", "b", "c")
            starts.backoff.began_anew("S3", starts.now)
        starts.fails("S1", "new")
        assert not starts.backoff.avoided("new", starts.now).proved

    def test_a_failure_of_a_launch_at_fault_says_nothing_of_a_node(self, starts: Starts) -> None:
        starts.run("S2", "good")
        starts.fails("S2", "bad")
        starts.fails("S1", "new")
        assert starts.backoff.avoided("new", starts.now).proved == {"S2"}

    def test_once_it_runs_it_begins_at_zero(self, starts: Starts) -> None:
        starts.fails("S1", "new")
        starts.fails("S2", "new")
        starts.run("S3", "new")
        assert starts.backoff.at_fault("new") is None
        assert not starts.backoff.suspected("new")
        assert starts.fails("S4", "new") == []

    def test_one_that_ran_before_and_now_fails_everywhere_is_at_fault(self, starts: Starts) -> None:
        """Its image was removed."""
        starts.run("S1", "gone")
        starts.fails("S2", "gone")
        (fault,) = starts.fails("S3", "gone")
        assert fault.agent_id is None

    def test_what_a_broken_agent_did_says_nothing_of_it(self, starts: Starts) -> None:
        starts.run("S2", *"abc")
        starts.fails("S1", "new", "a", "b", "c")
        assert starts.paused("S1")
        starts.fails("S3", "new")
        assert starts.backoff.at_fault("new") is None


class TestThoseThatDoNotGoTogether:
    """A launch that runs elsewhere fails on an agent where others run: neither is at fault."""

    def test_neither_is_at_fault(self, starts: Starts) -> None:
        starts.run("S2", "arm")
        for _ in range(6):
            starts.run("S1", "other")
            starts.fails("S1", "arm")
            starts.run("S2", "arm")
        assert starts.found == []
        assert not starts.paused("S1")

    def test_the_launch_prefers_others_for_longer_and_longer(self, starts: Starts) -> None:
        untils = []
        for _ in range(12):
            starts.fails("S1", "arm")
            starts.run("S2", "arm")
            starts.run("S1", "other")
            until = starts.backoff.wakes_at("arm", starts.now - 1.5)
            assert until is not None
            untils.append(until - starts.now + 2.0)
        assert untils[:4] == [1.0, 2.0, 4.0, 8.0]
        assert untils[-1] == LIMITS.launch_backoff_most
        assert starts.backoff.avoided("arm", starts.now + 2000) == Avoided()
        assert starts.backoff.calm


class TestMemory:
    def test_it_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(backoff_module, "_KNOWN", 10)
        backoff = Backoff()
        for number in range(100):
            backoff.failed("S1", f"k{number}", 0.0, 1.0, "")
        assert len(backoff._launches) == 10
        assert len(backoff._suspects) == 10
        backoff.ran("S1", "other", 2.0)
        assert backoff.at_fault("k0") is None

    def test_an_agent_that_is_gone_for_good_is_forgotten(self, starts: Starts) -> None:
        starts.fails("S1", "a", "b")
        starts.backoff.forget("S1")
        assert starts.backoff.calm
        assert starts.backoff.doubt("S1") is None


class TestFailuresByBlame:
    def test_a_launch_that_runs_elsewhere_speaks_against_the_agent(self, starts: Starts) -> None:
        starts.run("S1", "a")
        starts.fails("S2", "a")
        assert starts.backoff.failures == {"agent": 1}

    def test_one_that_fails_on_a_second_agent_is_at_fault(self, starts: Starts) -> None:
        starts.fails("S1", "a")
        starts.fails("S2", "a")
        assert starts.backoff.failures == {"unknown": 1, "launch": 1}

    def test_an_outage_and_what_a_closed_agent_still_says_are_the_agents(self, starts: Starts) -> None:
        starts.run("S1", "a", "b", "c")
        starts.fails("S2", "a", "b", "c")
        assert starts.paused("S2")
        starts.fails("S2", "d")
        starts.backoff.outage("S2", starts.now, starts.now, "restarted")
        assert starts.backoff.failures == {"agent": 5}
