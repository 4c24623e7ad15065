"""OpenWhisk's titles on one container (tests/openwhisk/titles.py): failures, and containers that are sick or lost.

Nothing is ever paused on Mesos. What failed there while a container was resumed fails here at its next run.
"""

from __future__ import annotations

import msgspec
import pytest

from owmesos.core.pool.events import PoolTick, Reschedule, RunDone
from owmesos.core.pool.prewarm import PrewarmSetting
from owmesos.mesos.container_factory import launch_of
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.scheduler.task_info import template
from owmesos.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS, WHISK_ERROR
from owmesos.openwhisk.container.log_lines import LOGS_MISSING
from owmesos.openwhisk.container.protocol import ABNORMAL_INITIALIZATION, ABNORMAL_RUN, LOST_RUN, NoAnswer
from owmesos.openwhisk.container.run_state import AckKind, CollectLogs, ContainerProxy, NotifyPool
from owmesos.openwhisk.container_specs import HealthCheckSettings, Launching, LaunchSettings
from owmesos.openwhisk.manifest import parse
from tests.openwhisk.container.invoker import SHAPE, FakeInvoker, ok, prewarmed, status
from tests.openwhisk.runs import action, order

APPLICATION = ok(b'{"error":"it says so"}')
PAIR = action(concurrency=2)
INIT_ERROR = status(502, b'{"error":"no such module"}')


class TestFailing:
    def test_abort_if_creation_fails(self) -> None:
        """The start is tried three times; then the run ends, and what was said of the last is said of it."""
        invoker = FakeInvoker(starts=False)
        run_id = invoker.run()
        invoker.try_again(2)
        assert len(invoker.started) == 3
        assert invoker.failed[run_id] == "its container did not start 3 times, last error: no such image"
        assert invoker.states() == []

    def test_destroy_on_failed_init(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id, INIT_ERROR)
        assert invoker.records[run_id].response.status_code == DEVELOPER_ERROR
        assert invoker.records[run_id].response.result == {"error": "no such module"}
        assert invoker.records[run_id].annotation("initTime") == 100
        assert invoker.records[run_id].duration == 100
        assert invoker.stopped == [invoker.given[run_id]]

    def test_reuse_a_container_on_failed_run_iff_it_was_an_application_error(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.answer(run_id, APPLICATION)
        assert invoker.records[run_id].response.status_code == APPLICATION_ERROR
        assert invoker.states() == ["warm"]

    def test_destroy_on_failed_run_iff_it_was_a_container_error(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.answer(run_id, status(502, b"what"))
        assert invoker.records[run_id].response.status_code == DEVELOPER_ERROR
        assert invoker.stopped == [invoker.given[run_id]]
        assert invoker.states() == []

    def test_a_run_that_takes_too_long_is_marked_so_and_ends_its_container(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.answer(run_id, NoAnswer.TIMED_OUT)
        assert invoker.records[run_id].annotation("timeout") is True
        assert invoker.stopped == [invoker.given[run_id]]

    def test_destroy_if_log_reading_failed(self) -> None:
        """It was cut off at its limit: the sentinel may stand anywhere."""
        invoker = FakeInvoker()
        run_id = invoker.run(action(logs=1))
        invoker.init(run_id)
        invoker.answer(run_id)
        invoker.logs(run_id, "some", complete=False)
        assert invoker.records[run_id].response.status_code == SUCCESS
        assert invoker.records[run_id].logs == ["some"]
        assert invoker.stopped == [invoker.given[run_id]]

    def test_destroy_if_log_reading_failed_terminally(self) -> None:
        """A fault of ours while reading it: the result stands, and the log says that it is not there."""
        invoker = FakeInvoker()
        run_id = invoker.run(action(logs=1), blocking=False)
        invoker.init(run_id)
        invoker.answer(run_id)
        del invoker.asked[run_id]
        proxy = invoker.proxy(run_id)
        invoker.carry_out(proxy, proxy.unexpected(run_id, invoker.now))
        assert invoker.records[run_id].response.status_code == SUCCESS
        assert invoker.records[run_id].logs == [LOGS_MISSING]
        assert invoker.kinds(run_id) == [AckKind.COMPLETION]
        assert invoker.stopped == [invoker.given[run_id]]

    def test_logs_of_a_container_error_are_not_waited_for(self) -> None:
        for outcome, waits in ((ok(), True), (APPLICATION, True), (NoAnswer.TIMED_OUT, False), (status(500), False)):
            invoker = FakeInvoker()
            run_id = invoker.run(action(logs=1))
            invoker.init(run_id)
            invoker.answer(run_id, outcome)
            asked = invoker.asked[run_id]
            assert isinstance(asked, CollectLogs)
            assert (asked.limit, asked.sentinels, asked.developer_error) == (2**20, waits, not waits)


class TestConcurrentRuns:
    def test_not_destroy_on_failure_during_running_state_when_concurrent_activations_are_in_flight(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        invoker.init(first)
        invoker.answer(first, status(500))
        assert invoker.stopped == []
        invoker.answer(second)
        assert invoker.records[second].response.status_code == SUCCESS
        assert invoker.stopped == [invoker.given[first]]

    def test_not_destroy_on_failure_during_removing_state_when_concurrent_activations_are_in_flight(self) -> None:
        """It is to go already, and one more fails: it goes when the last has ended, and once."""
        trio = action(concurrency=3)
        invoker = FakeInvoker()
        runs = [invoker.run(trio) for _ in range(3)]
        invoker.init(runs[0])
        invoker.answer(runs[0], status(500))
        invoker.answer(runs[1], status(500))
        assert invoker.stopped == []
        invoker.answer(runs[2])
        assert invoker.stopped == [invoker.given[runs[0]]]

    def test_terminate_buffered_concurrent_activations_when_prewarm_init_fails_with_an_error(self) -> None:
        self.fails_together(prewarmed(), {"error": "no such module"})

    def test_terminate_buffered_concurrent_activations_when_cold_init_fails_with_an_error(self) -> None:
        self.fails_together(FakeInvoker(), {"error": "no such module"})

    @staticmethod
    def fails_together(invoker: FakeInvoker, result: object) -> None:
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        assert invoker.given[first] == invoker.given[second]
        invoker.init(first, INIT_ERROR)
        for run_id in (first, second):
            assert invoker.records[run_id].response.result == result
            assert invoker.kinds(run_id) == [AckKind.COMBINED]
        assert invoker.stopped == [invoker.given[first]]
        assert invoker.asked == {}

    def test_terminate_buffered_concurrent_activations_when_prewarm_init_fails_unexpectedly(self) -> None:
        self.breaks_together(prewarmed())

    def test_terminate_buffered_concurrent_activations_when_cold_init_fails_unexpectedly(self) -> None:
        self.breaks_together(FakeInvoker())

    @staticmethod
    def breaks_together(invoker: FakeInvoker) -> None:
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        del invoker.asked[first]
        proxy = invoker.proxy(first)
        invoker.carry_out(proxy, proxy.unexpected(first, invoker.now))
        for run_id in (first, second):
            assert invoker.records[run_id].response.status_code == WHISK_ERROR
        assert invoker.stopped == [invoker.given[first]]

    def test_terminate_buffered_concurrent_activations_when_cold_launch_fails(self) -> None:
        """Nothing is buffered at a container that never started: both wait in the pool, and end there."""
        invoker = FakeInvoker(starts=False)
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        invoker.try_again(4)
        assert set(invoker.failed) == {first, second}
        assert invoker.records == {}


class TestSickContainers:
    def test_resend_a_failed_run_when_it_is_first_after_ready_state(self) -> None:
        self.goes_elsewhere(status(503))

    def test_resend_the_job_to_the_parent_if_run_fails_connection_after_ready_to_running(self) -> None:
        self.goes_elsewhere(NoAnswer.UNREACHABLE)

    def test_resend_the_job_to_the_parent_if_run_fails_connection_after_paused_to_running(self) -> None:
        """After a long time without a run, for nothing was paused."""
        self.goes_elsewhere(NoAnswer.UNREACHABLE, idle=500.0)

    def test_resend_the_job_to_the_parent_if_resuming_a_container_fails(self) -> None:
        """Nothing is resumed. A container that is sick after it was idle shows it at its next run."""
        self.goes_elsewhere(status(503), idle=500.0)

    @staticmethod
    def goes_elsewhere(outcome: object, idle: float = 0.0) -> None:
        invoker = FakeInvoker()
        sick = invoker.warm()
        invoker.wait(idle)
        run_id = invoker.run()
        assert invoker.given[run_id] == sick
        invoker.answer(run_id, outcome)  # type: ignore[arg-type]
        assert invoker.told[-1] == Reschedule(sick, run_id)
        assert invoker.stopped == [sick]
        assert run_id not in invoker.records
        assert invoker.given[run_id] != sick
        invoker.init(run_id)
        invoker.answer(run_id)
        assert invoker.records[run_id].response.status_code == SUCCESS

    def test_a_container_that_is_unavailable_at_init_gives_its_runs_back(self) -> None:
        invoker = FakeInvoker(memory=512)
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        sick = invoker.given[first]
        invoker.init(first, status(503))
        assert [event for event in invoker.told if isinstance(event, Reschedule)] == [
            Reschedule(sick, first),
            Reschedule(sick, second),
        ]
        assert invoker.stopped == [sick]
        assert invoker.records == {}

    def test_a_container_that_has_just_been_initialized_and_cannot_be_reached_gives_its_run_back(self) -> None:
        """Nothing of the run was sent. OpenWhisk would charge its action with it."""
        invoker = FakeInvoker()
        run_id = invoker.run()
        for _ in range(2):
            sick = invoker.given[run_id]
            invoker.init(run_id)
            invoker.answer(run_id, NoAnswer.UNREACHABLE)
            assert invoker.given[run_id] != sick
            assert sick in invoker.stopped
        assert invoker.records == {}
        invoker.init(run_id)
        invoker.answer(run_id)
        assert invoker.records[run_id].response.status_code == SUCCESS

    @pytest.mark.parametrize(
        ("outcome", "reason"),
        [
            (NoAnswer.UNREACHABLE, "connecting to it failed"),
            (NoAnswer.UNPROVEN, "the process at its port did not prove that it is the container"),
            (NoAnswer.LOST, "it ended before its action was initialized"),
        ],
    )
    def test_a_run_that_no_container_takes_ends_after_three(self, outcome: NoAnswer, reason: str) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        for _ in range(3):
            invoker.init(run_id, outcome)
        assert invoker.failed[run_id] == f"its container did not start 3 times, last error: {reason}"
        assert len(set(invoker.stopped)) == 3
        assert invoker.records == {}
        assert not invoker.pool.state.running
        assert not invoker.pool.state.buffer

    def test_containers_that_were_made_at_once_count_as_one_failure(self) -> None:
        """As when another process has the ports of them all: what starts afterwards gets others."""
        invoker = FakeInvoker(prewarm=(PrewarmSetting(SHAPE, 2),))
        invoker.send(PoolTick())
        run_id = invoker.run()
        made = [start.container_id for start in invoker.started]
        while invoker.given[run_id] in made:
            invoker.init(run_id, NoAnswer.UNPROVEN)
        assert len(made) == 3
        assert set(made) <= set(invoker.stopped)
        assert run_id not in invoker.failed
        while run_id in invoker.asked:
            invoker.init(run_id, NoAnswer.UNPROVEN)
        assert "did not start 3 times" in invoker.failed[run_id]
        assert len(set(invoker.stopped)) <= 3 * len(made)

    def test_a_container_that_worked_before_is_not_counted_against_the_run(self) -> None:
        invoker = FakeInvoker()
        warm = invoker.warm()
        run_id = invoker.run()
        invoker.answer(run_id, NoAnswer.UNPROVEN)
        assert invoker.told[-1] == Reschedule(warm, run_id)
        for _ in range(2):
            invoker.init(run_id, NoAnswer.UNPROVEN)
        invoker.init(run_id)
        invoker.answer(run_id)
        assert invoker.records[run_id].response.status_code == SUCCESS

    def test_runs_that_wait_for_the_init_of_a_stranger_go_elsewhere_too(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        stranger = invoker.given[first]
        invoker.init(first, NoAnswer.UNPROVEN)
        assert invoker.given[first] != stranger
        assert invoker.given[second] != stranger
        assert invoker.records == {}

    def test_a_run_whose_container_is_lost_is_not_charged_to_its_action(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.crash(invoker.given[run_id], "agent S1 is unreachable")
        invoker.answer(run_id, NoAnswer.LOST)
        assert invoker.records[run_id].response.status_code == WHISK_ERROR
        assert invoker.records[run_id].response.result == {"error": LOST_RUN}

    def test_a_container_that_ends_in_the_middle_ends_its_run_and_the_accounts_are_right(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.crash(invoker.given[run_id])
        invoker.answer(run_id, NoAnswer.BROKEN)
        assert invoker.records[run_id].response.result == {"error": ABNORMAL_RUN}
        assert invoker.states() == []
        assert not invoker.pool.state.running
        assert isinstance(invoker.told[-1], RunDone)

    def test_a_container_that_ends_during_init_ends_its_run(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.crash(invoker.given[run_id])
        invoker.init(run_id, NoAnswer.BROKEN)
        assert invoker.records[run_id].response.result == {"error": ABNORMAL_INITIALIZATION}
        assert not invoker.pool.state.running

    def test_runs_that_wait_for_the_init_of_a_container_that_is_lost_go_elsewhere(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        lost = invoker.given[first]
        invoker.crash(lost, "agent S1 is unreachable")
        invoker.init(first, NoAnswer.BROKEN)
        assert invoker.records[first].response.status_code == DEVELOPER_ERROR
        assert invoker.given[second] != lost
        invoker.init(second)
        invoker.answer(second)
        assert invoker.records[second].response.status_code == SUCCESS

    def test_remove_the_container_if_suspend_fails(self) -> None:
        """Nothing is suspended, so nothing fails: idle containers stay until their time is over."""
        invoker = FakeInvoker()
        invoker.warm()
        for _ in range(5):
            invoker.wait(100.0)
            invoker.send(PoolTick())
            assert invoker.states() == ["warm"]

    def test_remove_and_replace_a_prewarm_container_if_it_fails_healthcheck_after_startup(self) -> None:
        """The agent ends a container that fails its health check; the pool puts another in its place."""
        invoker = prewarmed()
        (sick,) = invoker.pool.containers
        invoker.crash(sick.id, "Task failed due to health check")
        (other,) = invoker.pool.containers
        assert other.id != sick.id
        assert invoker.states() == ["prewarmed"]

    def test_start_tcp_ping_to_containers_when_action_healthcheck_enabled(self) -> None:
        """The agent does it, as the task's health check says."""
        invoker = prewarmed()
        manifest = parse('{"runtimes": {"python": [{"kind": "python:3", "image": {"name": "p"}}]}}')
        settings = LaunchSettings(health_check=HealthCheckSettings())
        launch = launch_of(Launching(settings, manifest)(invoker.started[0]))
        check = msgspec.json.decode(template(launch), type=TaskInfo).health_check
        assert check is not None
        assert check.tcp is not None
        assert (check.type, check.tcp.port, check.consecutive_failures) == ("TCP", 8080, 3)

    def test_delay_a_deletion_message_until_the_transaction_is_completed(self) -> None:
        """A container with runs is not stopped: the pool waits for the last of them."""
        invoker = FakeInvoker(memory=256)
        run_id = invoker.run(action(logs=1))
        invoker.init(run_id)
        other = invoker.run(action("other"))
        invoker.wait(11.0)
        invoker.send(PoolTick())
        assert invoker.stopped == []
        invoker.answer(run_id)
        assert invoker.stopped == []
        invoker.logs(run_id)
        invoker.wait(11.0)
        invoker.send(PoolTick())
        assert invoker.stopped == [invoker.given[run_id]]
        assert other in invoker.asked

    def test_send_back_a_run_message_which_got_sent_before_the_container_decided_to_remove_itself(self) -> None:
        proxy = ContainerProxy("c1")
        proxy.stopped()
        late = order()
        assert proxy.run(late, 0.0, initialize=False) == [NotifyPool(Reschedule("c1", late.run_id))]
