"""How a run is judged: each kind of harm is seen, and nothing else is taken for one."""

from __future__ import annotations

import time
from typing import Any

from chaos.evidence import Line, parse
from chaos.load import AskedActivation, AskedLaunch, Known
from chaos.verdict import Counts, EndAtMaster, ends_at_master, judge_activations, judge_launches, judge_quiet

ENDED_AT = 1_700_000_100.0  # 22:15


def asked(**changes: Any) -> AskedLaunch:
    return AskedLaunch(**{"name": "c00001", "status": 0, "endless": False, "launch_id": "c00001-ab", **changes})


def row(state: str = "FINISHED", **changes: Any) -> dict[str, Any]:
    return {
        "launch_id": "c00001-ab",
        "task_id": "c00001-ab.1",
        "state": state,
        "reason": None,
        "message": None,
        "ended_at": "2023-11-14T22:15:00.000Z",
        **changes,
    }


def started(owner: str = "c00001-ab", attempt: int = 1) -> Line:
    return Line("start", owner, f"{owner}.{attempt}", 7, 1.0, None)


def ended(status: int | None = 0, owner: str = "c00001-ab") -> Line:
    return Line("end", owner, f"{owner}.1", 7, 2.0, status)


def judged(
    each: AskedLaunch,
    *lines: Line,
    said: dict[str, Any] | None,
    master: str | None = None,
    at: float = ENDED_AT - 1,
    left: tuple[str, ...] = (),
) -> Counts:
    known = Known()
    known.learn([] if said is None else [said])
    at_master = {} if master is None else {"c00001-ab.1": EndAtMaster(master, at)}
    return judge_launches([each], known, lines, at_master=at_master, left=left)


class TestLaunches:
    def test_what_ran_and_is_finished_is_no_fault(self) -> None:
        counts = judged(asked(), started(), ended(), said=row(), master="TASK_FINISHED")
        assert (counts.asked, counts.ran, counts.faults) == (1, 1, [])

    def test_a_failure_with_its_reason_is_no_fault(self) -> None:
        assert judged(asked(), said=row("FAILED", message="no room")).faults == []

    def test_one_that_is_not_known_any_more_is_lost(self) -> None:
        assert len(judged(asked(), started(), ended(), said=None).lost) == 1

    def test_one_that_never_ends_is_lost(self) -> None:
        assert len(judged(asked(), said=row("SUBMITTED", ended_at=None)).lost) == 1

    def test_an_end_without_a_reason_is_lost(self) -> None:
        assert len(judged(asked(), said=row("LOST")).lost) == 1

    def test_two_starts_are_twice(self) -> None:
        assert len(judged(asked(), started(), started(attempt=2), ended(), said=row()).twice) == 1

    def test_what_still_runs_is_an_orphan(self) -> None:
        assert len(judged(asked(), started(), ended(), said=row(), left=("c00001-ab",)).orphans) == 1

    def test_finished_without_an_end_is_wrong(self) -> None:
        assert len(judged(asked(), started(), said=row()).wrong) == 1
        assert len(judged(asked(), started(), ended(3), said=row()).wrong) == 1

    def test_failed_is_wrong_where_the_master_had_finished(self) -> None:
        said = row("FAILED", message="not running after 120 s")
        assert len(judged(asked(), started(), ended(), said=said, master="TASK_FINISHED").wrong) == 1

    def test_failed_is_right_where_the_master_learned_it_later(self) -> None:
        said = row("FAILED", message="its agent does not answer")
        assert judged(asked(), started(), ended(), said=said, master="TASK_FINISHED", at=ENDED_AT + 1).faults == []

    def test_killed_is_wrong_where_nobody_asked(self) -> None:
        said = row("KILLED", message="killed")
        assert len(judged(asked(), started(), said=said).wrong) == 1
        assert judged(asked(kill_asked_at=1.0), started(), said=said).faults == []

    def test_killed_for_its_deadline_is_right_after_it_only(self) -> None:
        said = row("KILLED", reason="DEADLINE", deadline_at="2026-11-28T00:00:00Z")
        early = {**said, "ended_at": "2026-11-27T23:59:59Z"}
        assert judged(asked(), started(), said={**said, "ended_at": "2026-11-28T00:00:01Z"}).wrong == []
        assert len(judged(asked(), started(), said=early).wrong) == 1

    def test_one_without_an_answer_is_not_asked_but_judged(self) -> None:
        counts = judged(asked(launch_id=None), started(), started(attempt=2), ended(), said=row())
        assert (counts.asked, len(counts.twice)) == (0, 1)
        assert judged(asked(launch_id=None), said=None).faults == []

    def test_one_without_an_answer_must_not_vanish_once_it_was_listed(self) -> None:
        known = Known()
        known.learn([row("PENDING", ended_at=None)])
        known.learn([])
        assert len(judge_launches([asked(launch_id=None)], known, [], at_master={}, left=()).lost) == 1

    def test_what_it_writes_after_its_end_is_an_orphans(self) -> None:
        late = Line("end", "c00001-ab", "c00001-ab.1", 7, ENDED_AT + 60, 0)
        assert len(judged(asked(), started(), late, said=row("FAILED", message="exit 3")).orphans) == 1

    def test_an_end_that_says_that_nobody_knows_may_come_before_the_tasks(self) -> None:
        late = Line("end", "c00001-ab", "c00001-ab.1", 7, ENDED_AT + 60, 0)
        for said in (row("LOST", message="unknown"), row("FAILED", reason="UNREACHABLE")):
            assert judged(asked(), started(), late, said=said).faults == []
            assert len(judged(asked(), started(), said=said, left=("c00001-ab",)).orphans) == 1

    def test_an_end_that_changes_is_wrong(self) -> None:
        known = Known()
        known.learn([row("RUNNING", ended_at=None)])
        known.learn([row("FAILED", message="lost")])
        assert judge_launches([asked()], known, [], at_master={}, left=()).wrong == []
        known.learn([row()])
        counts = judge_launches([asked()], known, [started(), ended()], at_master={}, left=())
        assert len(counts.wrong) == 1

    def test_a_request_that_is_taken_twice_is_twice(self) -> None:
        known = Known()
        known.learn([row(), row(launch_id="c00001-cd", task_id="c00001-cd.1")])
        lines = [started(), ended(), started("c00001-cd"), ended(owner="c00001-cd")]
        assert len(judge_launches([asked()], known, lines, at_master={}, left=()).twice) == 1


class TestQuiet:
    def test_what_runs_is_running(self) -> None:
        assert judge_quiet({"c1": row("RUNNING"), "c2": row()}, {"c1"}).faults == []

    def test_running_without_a_process_is_wrong(self) -> None:
        assert len(judge_quiet({"c1": row("RUNNING")}, set()).wrong) == 1

    def test_a_process_of_a_launch_that_has_ended_is_an_orphan(self) -> None:
        assert len(judge_quiet({"c1": row("FAILED")}, {"c1"}).orphans) == 1
        assert len(judge_quiet({}, {"c1"}).orphans) == 1


class TestActivations:
    def judged(self, *lines: Line, status: str | None, result: Any = None) -> Counts:
        record = {"response": {"status": status, "result": result}}
        known = Known(records={} if status is None else {"a1": record})
        return judge_activations([AskedActivation(0, "a1"), AskedActivation(1)], known, lines)

    def test_a_success_that_ran_once_is_no_fault(self) -> None:
        counts = self.judged(started("a1"), ended(None, "a1"), status="success", result={})
        assert (counts.asked, counts.ran, counts.faults) == (1, 1, [])

    def test_one_without_a_record_is_lost(self) -> None:
        assert len(self.judged(status=None).lost) == 1

    def test_two_runs_are_twice(self) -> None:
        lines = (started("a1"), ended(None, "a1")) * 2
        assert len(self.judged(*lines, status="success").twice) == 1

    def test_one_invocation_that_becomes_two_activations_is_twice(self) -> None:
        lines = [Line("start", owner, "7", 1, 1.0, None) for owner in ("a1", "a2")]
        assert len(self.judged(*lines, ended(None, "a1"), status="success").twice) == 1

    def test_a_success_without_an_end_is_wrong(self) -> None:
        assert len(self.judged(started("a1"), status="success").wrong) == 1

    def test_a_record_that_is_not_what_was_answered_is_wrong(self) -> None:
        known = Known(records={"a1": {"response": {"status": "whisk internal error", "result": {"error": "gone"}}}})
        each = AskedActivation(0, "a1", "success")
        assert len(judge_activations([each], known, [started("a1"), ended(None, "a1")]).wrong) == 1

    def test_an_error_must_say_why(self) -> None:
        assert len(self.judged(started("a1"), status="whisk internal error").wrong) == 1
        why = {"error": "the invoker was stopped"}
        assert self.judged(started("a1"), status="whisk internal error", result=why).faults == []

    def test_an_error_of_the_user_can_only_be_a_time_out(self) -> None:
        why = {"error": "The action exceeded its time limits of 60000 milliseconds."}
        assert self.judged(started("a1"), status="action developer error", result=why).faults == []
        why = {"error": "The action did not produce a valid response and exited unexpectedly."}
        assert len(self.judged(started("a1"), status="action developer error", result=why).wrong) == 1


def test_the_masters_log_has_the_first_end_of_each_task() -> None:
    log = (
        "I1128 14:43:12.835661  3139 master.cpp:8190] Status update TASK_RUNNING (Status UUID: a) for task t.1 of "
        "framework F from agent S0\n"
        "W1128 14:43:14.500000  3144 master.cpp:8175] Received status update TASK_FINISHED (Status UUID: b) for task "
        "t.1 of framework F from agent S0, but the framework is unknown\n"
        "I1128 14:43:15.500000  3144 master.cpp:8190] Status update TASK_FINISHED (Status UUID: b) for task t.1 of "
        "framework F from agent S0\n"
    )
    at = time.mktime((2026, 11, 28, 14, 43, 14, 0, 0, -1)) + 0.5
    assert ends_at_master(log, 2026) == {"t.1": EndAtMaster("TASK_FINISHED", at)}


def test_a_line_of_evidence_is_read_as_it_was_written() -> None:
    assert list(parse("start c1-ab c1-ab.1 12 1.5 -\nend c1-ab c1-ab.1 12 2.5 143\n")) == [
        Line("start", "c1-ab", "c1-ab.1", 12, 1.5, None),
        Line("end", "c1-ab", "c1-ab.1", 12, 2.5, 143),
    ]
