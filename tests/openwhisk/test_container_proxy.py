"""OpenWhisk's titles on one container (tests/openwhisk/titles.py), with the pool that this invoker has.

Nothing is ever paused on Mesos. The titles on pausing show that a container which was idle for any time below the
idle time-out is asked again without more ado, and that what failed there while resuming fails here at its next run.
"""

from __future__ import annotations

import msgspec
import pytest

from owmesos.core.containers import Shape
from owmesos.core.pool_events import Initialized, Reschedule, RunDone, Tick
from owmesos.core.prewarm import PrewarmSetting
from owmesos.errors import OwmesosError
from owmesos.mesos.messages import TaskInfo
from owmesos.mesos.task_info import template
from owmesos.openwhisk.activation import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS, WHISK_ERROR
from owmesos.openwhisk.arguments import arguments_of, partitioned, unlocked
from owmesos.openwhisk.container_proxy import AckKind, CollectLogs, ContainerProxy, Execute, Initialize, Tell
from owmesos.openwhisk.launching import HealthCheckSettings, Launching, LaunchSettings
from owmesos.openwhisk.log_lines import LOGS_MISSING
from owmesos.openwhisk.manifest import parse
from owmesos.openwhisk.protocol import ABNORMAL_INITIALIZATION, ABNORMAL_RUN, Silence
from tests.openwhisk.invoker import FakeInvoker, ok, status
from tests.openwhisk.runs import API_KEY, action, activation, decoded, order

SHAPE = Shape("python:3", 256)
APPLICATION = ok(b'{"error":"it says so"}')
PAIR = action(concurrency=2)
INIT_ERROR = status(502, b'{"error":"no such module"}')


def prewarmed(count: int = 1) -> FakeInvoker:
    invoker = FakeInvoker(prewarm=(PrewarmSetting(SHAPE, count),))
    invoker.send(Tick())
    return invoker


class TestArguments:
    def test_partition_activation_arguments_into_environment_variables_and_main_arguments(self) -> None:
        assert partitioned(None, ()) == ({}, {})
        assert partitioned({}, {"a"}) == ({}, {})
        content = {"a": "A", "b": "B", "C": "c", "D": {"d": 1}}
        assert partitioned(content, {"C", "D"}) == ({"C": "c", "D": '{"d":1}'}, {"a": "A", "b": "B"})
        assert partitioned([1, 2], {"C"}) == ({}, [1, 2])

    def test_unlock_arguments(self) -> None:
        ciphers = {"reversed": lambda value: value[::-1]}
        message = activation({"a": "cba", "b": "xyz"}, locked_args={"a": "reversed"})
        assert bytes(arguments_of(message, ciphers)[1]) == b'{"a":"abc","b":"xyz"}'
        with pytest.raises(OwmesosError, match="'a' is encrypted with 'aes-128', which is not set up here"):
            unlocked({"a": "x"}, {"a": "aes-128"}, ciphers)

    def test_arguments_of_an_unknown_cipher_end_the_run_and_ask_no_container(self) -> None:
        invoker = FakeInvoker()
        invoker.warm()
        run_id = invoker.run(content={"a": "x"}, locked_args={"a": "aes-128"})
        assert run_id not in invoker.asked
        assert invoker.records[run_id].response.status_code == WHISK_ERROR
        assert invoker.states() == ["warm"]

    def test_arguments_that_need_no_change_are_passed_on_as_they_came(self) -> None:
        message = activation({"a": 1})
        assert arguments_of(message, {})[1] is message.content
        assert bytes(arguments_of(activation(), {})[1]) == b"{}"

    def test_omit_api_key_from_activations(self) -> None:
        for provides in (True, False):
            invoker = FakeInvoker()
            run_id = invoker.run(action(provides_api_key=provides), {"x": 1})
            asked = invoker.asked[run_id]
            assert isinstance(asked, Initialize)
            assert (decoded(asked.body)["value"]["env"].get("__OW_API_KEY") == API_KEY) is provides
            invoker.init(run_id)
            asked = invoker.asked[run_id]
            assert isinstance(asked, Execute)
            assert (decoded(asked.body).get("api_key") == API_KEY) is provides


class TestRunning:
    def test_create_a_container_given_a_start_message(self) -> None:
        invoker = prewarmed()
        (start,) = invoker.started
        assert (start.shape, start.prewarm) == (SHAPE, True)
        assert invoker.states() == ["prewarmed"]
        assert invoker.asked == {}

    def test_run_a_container_which_has_been_started_before_write_an_active_ack_write_to_the_store_pause_and_remove(
        self,
    ) -> None:
        """It is not paused; it is removed when its idle time is over."""
        invoker = prewarmed()
        run_id = invoker.run(action(logs=1))
        invoker.init(run_id)
        invoker.answer(run_id)
        invoker.logs(run_id, "line")
        assert invoker.kinds(run_id) == [AckKind.RESULT, AckKind.COMPLETION]
        assert invoker.records[run_id].logs == ["line"]
        assert "warm" in invoker.states()
        assert not any("pause" in state for state in invoker.states())
        invoker.wait(601.0)
        invoker.send(Tick())
        assert invoker.stopped == [invoker.given[run_id]]

    def test_run_an_action_and_continue_with_a_next_run_without_pausing_the_container(self) -> None:
        invoker = FakeInvoker()
        first = invoker.run(started=999_000)
        invoker.init(first)
        invoker.answer(first)
        second = invoker.run(started=999_000)
        invoker.answer(second)
        assert invoker.given[first] == invoker.given[second]
        with_init, without = invoker.records[first], invoker.records[second]
        assert (with_init.annotation("initTime"), with_init.duration) == (100, 300)
        assert with_init.annotation("waitTime") == 1000
        assert with_init.end - with_init.start == 300
        assert (without.annotation("initTime"), without.duration) == (None, 200)
        assert without.annotation("waitTime") == 1300

    def test_run_an_action_after_pausing_the_container(self) -> None:
        """It was idle for long, and is asked at once: nothing was paused, and nothing is resumed."""
        invoker = FakeInvoker()
        container_id = invoker.warm()
        invoker.wait(500.0)
        invoker.send(Tick())
        assert invoker.states() == ["warm"]
        run_id = invoker.run()
        assert isinstance(invoker.asked[run_id], Execute)
        invoker.answer(run_id)
        assert invoker.given[run_id] == container_id

    def test_successfully_run_on_an_uninitialized_container(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run(content={"x": 1})
        asked = invoker.asked[run_id]
        assert isinstance(asked, Initialize)
        assert asked.timeout == 60.0
        invoker.init(run_id)
        asked = invoker.asked[run_id]
        assert isinstance(asked, Execute)
        assert decoded(asked.body)["value"] == {"x": 1}
        invoker.answer(run_id)
        assert invoker.records[run_id].response.status_code == SUCCESS

    def test_not_collect_logs_if_the_log_limit_is_set_to_0(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run(action(logs=0))
        asked = invoker.asked[run_id]
        assert isinstance(asked, Initialize)
        assert not asked.logs
        invoker.init(run_id)
        invoker.answer(run_id)
        assert invoker.asked == {}
        assert invoker.records[run_id].logs == []

    def test_stay_in_running_state_if_others_are_still_running(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        invoker.init(first)
        assert invoker.given[first] == invoker.given[second]
        invoker.answer(first)
        (container,) = invoker.pool.containers
        assert (container.state.value, container.active) == ("warm", 1)
        invoker.answer(second)
        assert container.active == 0

    def test_reset_the_last_use_and_increment_the_activation_count_on_next_run(self) -> None:
        invoker = FakeInvoker()
        invoker.warm(PAIR)
        (container,) = invoker.pool.containers
        invoker.wait(50.0)
        invoker.run(PAIR)
        assert (container.last_used, container.active) == (invoker.now, 1)
        invoker.run(PAIR)
        assert container.active == 2

    def test_runs_that_come_during_init_wait_for_it(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        assert list(invoker.asked) == [first]
        invoker.init(first)
        assert list(invoker.asked) == [first, second]
        assert sum(isinstance(event, Initialized) for event in invoker.told) == 1

    def test_the_code_is_encoded_once_and_every_container_gets_the_same_bytes(self) -> None:
        large = action(code="#" * 100_000)
        invoker = FakeInvoker()
        first, second = invoker.run(large), invoker.run(large)
        bodies = [asked.body for asked in invoker.asked.values() if isinstance(asked, Initialize)]
        assert invoker.given[first] != invoker.given[second]
        assert bodies[0][1] is bodies[1][1] is large.initializer
        assert len(bodies[0][0]) < 1000


class TestAcknowledging:
    @staticmethod
    def ended(*, logs: int, blocking: bool) -> tuple[FakeInvoker, str]:
        invoker = FakeInvoker()
        run_id = invoker.run(action(logs=logs), blocking=blocking)
        invoker.init(run_id)
        invoker.answer(run_id)
        return invoker, run_id

    def test_respond_with_combined_completion_and_result_message_for_blocking_invocation_with_no_logs(self) -> None:
        invoker, run_id = self.ended(logs=0, blocking=True)
        assert invoker.kinds(run_id) == [AckKind.COMBINED]
        assert run_id in invoker.records

    def test_respond_with_result_message_and_completion_message_for_blocking_invocation_with_logs(self) -> None:
        invoker, run_id = self.ended(logs=1, blocking=True)
        assert invoker.kinds(run_id) == [AckKind.RESULT]
        assert invoker.states() == ["busy"], "its log is still being read"
        invoker.logs(run_id)
        assert invoker.kinds(run_id) == [AckKind.RESULT, AckKind.COMPLETION]
        assert invoker.states() == ["warm"]

    def test_respond_with_only_completion_message_for_non_blocking_invocation_with_logs(self) -> None:
        invoker, run_id = self.ended(logs=1, blocking=False)
        assert invoker.kinds(run_id) == []
        invoker.logs(run_id)
        assert invoker.kinds(run_id) == [AckKind.COMPLETION]

    def test_respond_with_only_completion_message_for_non_blocking_invocation_with_no_logs(self) -> None:
        invoker, run_id = self.ended(logs=0, blocking=False)
        assert invoker.kinds(run_id) == [AckKind.COMPLETION]

    def test_the_record_says_what_ran_and_for_whom(self) -> None:
        invoker, run_id = self.ended(logs=0, blocking=True)
        record = invoker.records[run_id]
        assert (record.namespace, record.name, record.subject, record.version) == ("guest", "hello", "subject", "0.0.2")
        assert record.activation_id == run_id
        assert record.annotation("path") == "guest/tools/hello"
        assert record.annotation("kind") == "python:3"
        assert record.annotation("limits") == {"timeout": 60_000, "memory": 256, "logs": 0, "concurrency": 1}
        assert record.annotation("timeout") is False

    def test_a_run_of_a_sequence_names_its_cause_and_no_wait(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run(cause="f" * 32)
        invoker.init(run_id)
        invoker.answer(run_id)
        record = invoker.records[run_id]
        assert (record.cause, record.annotation("causedBy")) == ("f" * 32, "sequence")
        assert record.annotation("waitTime") is None


class TestFailing:
    def test_abort_if_creation_fails(self) -> None:
        """The start is tried three times; then the run ends, and what was said of the last is said of it."""
        invoker = FakeInvoker(starts=False)
        run_id = invoker.run()
        assert len(invoker.started) == 3
        assert invoker.failed[run_id] == "its container did not start 3 times, lastly: no such image"
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
        invoker.answer(run_id, Silence.TIMED_OUT)
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
        for outcome, waits in ((ok(), True), (APPLICATION, True), (Silence.TIMED_OUT, False), (status(500), False)):
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
        assert set(invoker.failed) == {first, second}
        assert invoker.records == {}


class TestSickContainers:
    def test_resend_a_failed_run_when_it_is_first_after_ready_state(self) -> None:
        self.goes_elsewhere(status(503))

    def test_resend_the_job_to_the_parent_if_run_fails_connection_after_ready_to_running(self) -> None:
        self.goes_elsewhere(Silence.UNREACHABLE)

    def test_resend_the_job_to_the_parent_if_run_fails_connection_after_paused_to_running(self) -> None:
        """After a long time without a run, for nothing was paused."""
        self.goes_elsewhere(Silence.UNREACHABLE, idle=500.0)

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

    def test_a_container_that_has_just_been_initialized_is_given_no_second_chance(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.answer(run_id, Silence.UNREACHABLE)
        assert invoker.records[run_id].response.result == {"error": ABNORMAL_RUN}

    def test_a_container_that_ends_in_the_middle_ends_its_run_and_the_accounts_are_right(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.init(run_id)
        invoker.crash(invoker.given[run_id])
        invoker.answer(run_id, Silence.BROKEN)
        assert invoker.records[run_id].response.result == {"error": ABNORMAL_RUN}
        assert invoker.states() == []
        assert not invoker.pool.books.running
        assert isinstance(invoker.told[-1], RunDone)

    def test_a_container_that_ends_during_init_ends_its_run(self) -> None:
        invoker = FakeInvoker()
        run_id = invoker.run()
        invoker.crash(invoker.given[run_id])
        invoker.init(run_id, Silence.BROKEN)
        assert invoker.records[run_id].response.result == {"error": ABNORMAL_INITIALIZATION}
        assert not invoker.pool.books.running

    def test_runs_that_wait_for_the_init_of_a_container_that_is_lost_go_elsewhere(self) -> None:
        invoker = FakeInvoker()
        first, second = invoker.run(PAIR), invoker.run(PAIR)
        lost = invoker.given[first]
        invoker.crash(lost, "agent S1 is unreachable")
        invoker.init(first, Silence.BROKEN)
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
            invoker.send(Tick())
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
        launch = Launching(settings, manifest)(invoker.started[0])
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
        invoker.send(Tick())
        assert invoker.stopped == []
        invoker.answer(run_id)
        assert invoker.stopped == []
        invoker.logs(run_id)
        invoker.wait(11.0)
        invoker.send(Tick())
        assert invoker.stopped == [invoker.given[run_id]]
        assert other in invoker.asked

    def test_send_back_a_run_message_which_got_sent_before_the_container_decided_to_remove_itself(self) -> None:
        proxy = ContainerProxy("c1")
        proxy.stopped()
        late = order()
        assert proxy.run(late, 0.0, initialize=False) == [Tell(Reschedule("c1", late.run_id))]
