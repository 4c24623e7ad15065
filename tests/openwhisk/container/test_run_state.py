"""OpenWhisk's titles on one container (tests/openwhisk/titles.py): what is asked of it, and what is told of its runs.

Nothing is ever paused on Mesos. The titles on pausing show that a container which was idle for any time below the
idle time-out is asked again without more ado.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.core.pool.events import Initialized, PoolTick, RunDone
from owmesos.errors import OwmesosError
from owmesos.openwhisk.activation import SUCCESS, WHISK_ERROR, whisk_error
from owmesos.openwhisk.arguments import arguments_of
from owmesos.openwhisk.container.run_state import (
    UNREAD_LOGS,
    AckKind,
    CollectLogs,
    Execute,
    Initialize,
    NotifyPool,
    SendAck,
)
from tests.openwhisk.container.invoker import SHAPE, FakeInvoker, prewarmed, status
from tests.openwhisk.runs import API_KEY, action, activation, decoded

PAIR = action(concurrency=2)


class TestArguments:
    def test_partition_activation_arguments_into_environment_variables_and_main_arguments(self) -> None:
        def partitioned(content: Any, *init_args: str) -> tuple[dict[str, str], Any]:
            env, arguments = arguments_of(activation(content, init_args=init_args), {})
            return env, json.loads(bytes(arguments))

        assert partitioned(None) == ({}, {})
        assert partitioned({}, "a") == ({}, {})
        content = {"a": "A", "b": "B", "C": "c", "D": {"d": 1}}
        assert partitioned(content, "C", "D") == ({"C": "c", "D": '{"d":1}'}, {"a": "A", "b": "B"})
        assert partitioned([1, 2], "C") == ({}, [1, 2])

    def test_unlock_arguments(self) -> None:
        ciphers = {"reversed": lambda value: value[::-1]}
        message = activation({"a": "cba", "b": "xyz"}, locked_args={"a": "reversed"})
        assert bytes(arguments_of(message, ciphers)[1]) == b'{"a":"abc","b":"xyz"}'
        with pytest.raises(OwmesosError, match="'a' is encrypted with 'aes-128': no key is configured"):
            arguments_of(activation({"a": "x"}, locked_args={"a": "aes-128"}), ciphers)

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

    def test_arguments_are_told_apart_as_they_came_whatever_number_is_in_them(self) -> None:
        content = msgspec.Raw(b' {"big": 1e999, "word": "\\u00e9", "d": {"x": [-1e400]}, "list": [1, 2.50]}')
        message = msgspec.structs.replace(activation(init_args=("big", "word", "list")), content=content)
        env, arguments = arguments_of(message, {})
        assert env == {"big": "1e999", "word": "é", "list": "[1,2.50]"}
        assert bytes(arguments) == b'{"d":{"x": [-1e400]}}'
        invoker = FakeInvoker()
        run_id = invoker.run(content=[1, 2], init_args=("big",))
        invoker.init(run_id)
        asked = invoker.asked[run_id]
        assert isinstance(asked, Execute)
        assert decoded(asked)["value"] == [1, 2]

    def test_omit_api_key_from_activations(self) -> None:
        for provides in (True, False):
            invoker = FakeInvoker()
            run_id = invoker.run(action(provides_api_key=provides), {"x": 1})
            asked = invoker.asked[run_id]
            assert isinstance(asked, Initialize)
            assert (decoded(asked)["value"]["env"].get("__OW_API_KEY") == API_KEY) is provides
            invoker.init(run_id)
            asked = invoker.asked[run_id]
            assert isinstance(asked, Execute)
            assert (decoded(asked).get("api_key") == API_KEY) is provides


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
        invoker.send(PoolTick())
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
        invoker.send(PoolTick())
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
        assert decoded(asked)["value"] == {"x": 1}
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
        inits = [asked for asked in invoker.asked.values() if isinstance(asked, Initialize)]
        assert invoker.given[first] != invoker.given[second]
        assert inits[0].initializer is inits[1].initializer is large.initializer
        assert len(inits[0].head) < 1000

    def test_code_that_cannot_be_had_ends_all_runs_that_wait_for_it(self) -> None:
        invoker = FakeInvoker()
        shared = action(concurrency=2)
        first, second = invoker.run(shared), invoker.run(shared)
        proxy = invoker.proxies[invoker.given[first]]
        effects = proxy.without_code(first, whisk_error("gone"), 1.0)
        ended = [effect for effect in effects if isinstance(effect, SendAck)]
        assert [each.activation.activation_id for each in ended] == [first, second]
        assert all(each.activation.response == whisk_error("gone") for each in ended)
        assert [effect.event for effect in effects if isinstance(effect, NotifyPool)] == [
            RunDone(proxy.container_id, run_id, False) for run_id in (first, second)
        ]


class TestLogsThatAreReadLater:
    """A container that has shown where its logs end, in streams that remain, does not wait until they are read."""

    TALKING = action(logs=1)

    def next_runs(self, invoker: FakeInvoker, count: int) -> list[str]:
        """One after the other, each answered, with its log unread."""
        runs = []
        for _ in range(count):
            runs.append(invoker.run(self.TALKING))
            invoker.answer(runs[-1])
        return runs

    def shown(self, *, logs_remain: bool = True, complete: bool = True) -> FakeInvoker:
        """Its container has had one run."""
        invoker = FakeInvoker(logs_remain=logs_remain)
        first = invoker.run(self.TALKING)
        invoker.init(first)
        invoker.answer(first)
        assert invoker.states() == ["busy"]
        invoker.logs(first, complete=complete)
        return invoker

    def test_the_container_is_free_and_the_slot_is_not(self) -> None:
        invoker = self.shown()
        first, second = self.next_runs(invoker, 2)
        assert invoker.given[first] == invoker.given[second]
        assert invoker.states() == ["warm"]
        asked = invoker.asked[first]
        assert isinstance(asked, CollectLogs)
        assert asked.at_leisure
        assert invoker.kinds(first) == [AckKind.RESULT]
        assert first not in invoker.records
        for run_id in (first, second):
            invoker.logs(run_id, f"of {run_id}")
            assert invoker.kinds(run_id) == [AckKind.RESULT, AckKind.COMPLETION]
            assert invoker.records[run_id].logs == [f"of {run_id}"]

    def test_streams_that_go_with_the_container_are_waited_for(self) -> None:
        invoker = self.shown(logs_remain=False)
        self.next_runs(invoker, 1)
        assert invoker.states() == ["busy"]

    def test_the_log_of_a_run_that_failed_is_waited_for(self) -> None:
        invoker = self.shown()
        run_id = invoker.run(self.TALKING)
        invoker.answer(run_id, status(502))
        assert invoker.states() == ["busy"]
        invoker.logs(run_id)
        assert invoker.stopped == [invoker.given[run_id]]

    def test_a_container_whose_log_cannot_be_read_stops_as_soon_as_that_is_known(self) -> None:
        invoker = self.shown()
        first, second = self.next_runs(invoker, 2)
        invoker.logs(first, complete=False)
        assert invoker.stopped == [invoker.given[first]]
        assert invoker.kinds(first) == [AckKind.RESULT, AckKind.COMPLETION]
        invoker.logs(second, complete=False)
        assert second in invoker.records
        assert len(invoker.stopped) == 1

    def test_the_run_that_such_a_container_has_meanwhile_ends_as_usual(self) -> None:
        invoker = self.shown()
        (first,) = self.next_runs(invoker, 1)
        second = invoker.run(self.TALKING)
        invoker.logs(first, complete=False)
        assert invoker.stopped == []
        invoker.answer(second)
        assert invoker.stopped == [], "its log is waited for"
        invoker.logs(second)
        assert invoker.stopped == [invoker.given[second]]
        assert invoker.records[second].response.status_code == SUCCESS

    def test_a_container_runs_only_so_far_ahead_of_its_logs(self) -> None:
        invoker = self.shown()
        runs = self.next_runs(invoker, UNREAD_LOGS)
        assert invoker.states() == ["warm"]
        runs += self.next_runs(invoker, 1)
        assert invoker.states() == ["busy"]
        for run_id in runs:
            invoker.logs(run_id)
        assert invoker.states() == ["warm"]


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
