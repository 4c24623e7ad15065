"""The invoker on the simulator, with real action containers: how activations end, well or not, and that the accounts
are right afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from owmesos.core.pool.settings import PoolSettings
from owmesos.openwhisk.activation import (
    APPLICATION_ERROR,
    DEVELOPER_ERROR,
    NAMESPACE_BLACKLISTED,
    SUCCESS,
    WHISK_ERROR,
    Response,
)
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.entities import ACTION_REMOVED, ActionDocument, ActionMissing, ActionUnavailable, to_executable
from owmesos.openwhisk.limits import ForcedCompletion
from owmesos.openwhisk.manifest import Manifest, Runtime
from owmesos.openwhisk.messages import HEALTH_TRANSACTION, ActivationMessage, Combined, Completion, EntityName, Result
from owmesos.simulator.cluster import SimulatedCluster
from tests.invoker.invoking import Blocked, InvokerCluster, invoking
from tests.openwhisk.documents import action_document
from tests.openwhisk.runs import action, activation
from tests.waiting import eventually_async

WAITS = "import time\ndef main(args):\n    time.sleep(60)\n    return {}"


def answer(response: Response) -> Any:
    return json.loads(msgspec.json.encode(response.result))


def error(response: Response) -> str:
    return str(answer(response)["error"])


def health_test() -> ActivationMessage:
    return msgspec.structs.replace(activation(blocking=False), transid=[HEALTH_TRANSACTION, 0])


# -- activations that run


async def test_a_result_is_told_and_kept(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action()) as scene:
        message = activation({"n": 1})
        response = await scene.run(message)
        assert (response.status_code, answer(response)) == (SUCCESS, {"got": {"n": 1}})
        (told,) = scene.controller.of(message.activation_id)
        assert isinstance(told, Combined)
        assert told.is_system_error is False
        kept = scene.records.kept[message.activation_id]
        assert kept.response == response
        assert kept.annotation("initTime") is not None
        await scene.accounts_are_right()


async def test_a_second_run_is_warm(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action()) as scene:
        await scene.run(activation())
        message = activation()
        await scene.run(message)
        assert scene.records.kept[message.activation_id].annotation("initTime") is None
        (container,) = scene.containers()
        assert (container["state"], container["active"]) == ("warm", 0)
        assert container["action"] == "guest/tools/hello"
        await scene.accounts_are_right()


async def test_an_action_that_was_deleted_and_created_anew_runs_its_new_code(
    invoker_cluster: InvokerCluster,
) -> None:
    async with invoking(invoker_cluster, action(code="def main(args):\n    return {'code': 'old'}")) as scene:
        assert answer(await scene.run(activation())) == {"code": "old"}
        scene.actions.action_or_error = action(code="def main(args):\n    return {'code': 'new'}")
        assert answer(await scene.run(activation())) == {"code": "new"}
        await scene.accounts_are_right()


async def test_with_logs_the_result_comes_before_the_slot(invoker_cluster: InvokerCluster) -> None:
    code = "def main(args):\n    print('said')\n    return args"
    async with invoking(invoker_cluster, action(code=code, logs=1)) as scene:
        message = activation({"n": 1})
        await scene.run(message)
        assert [type(told) for told in scene.controller.of(message.activation_id)] == [Result, Completion]
        (line,) = scene.records.kept[message.activation_id].logs
        assert line.endswith("stdout: said")
        await scene.accounts_are_right()


async def test_who_does_not_wait_is_told_of_the_end_alone(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action()) as scene:
        run_id = scene.activate(activation(blocking=False))
        await eventually_async(lambda: scene.controller.ended(run_id))
        (told,) = scene.controller.of(run_id)
        assert isinstance(told, Completion)
        assert scene.records.kept[run_id].response.status_code == SUCCESS


async def test_an_activation_that_comes_twice_runs_once(
    invoker_cluster: InvokerCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with invoking(invoker_cluster, action()) as scene:
        message = activation()
        scene.activate(message)
        scene.activate(message)
        await eventually_async(lambda: scene.done.get(message.activation_id) == 2)
        await eventually_async(lambda: scene.controller.ended(message.activation_id))
        assert len(scene.controller.of(message.activation_id)) == 1
        assert "was received twice" in caplog.text
        await scene.accounts_are_right()


async def test_those_who_count_activations_are_told(invoker_cluster: InvokerCluster) -> None:
    async with invoking(invoker_cluster, action(), user_events=True) as scene:
        message = activation()
        await scene.run(message)
        (event,) = scene.controller.events
        assert event.event_type == "Activation"
        assert event.body.activation_id == message.activation_id  # type: ignore[union-attr]


# -- activations that do not


async def test_a_blacklisted_namespace_gets_an_answer_and_no_record(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(), blacklist=Blocked(["guest"])) as scene:
        response = await scene.run(activation())
        assert (response.status_code, error(response)) == (APPLICATION_ERROR, NAMESPACE_BLACKLISTED)
        assert scene.records.kept == {}
        assert scene.framework.containers() == []
        await scene.accounts_are_right()


async def test_a_missing_action_is_the_users_own_doing(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, ActionMissing("guest/tools/hello")) as scene:
        message = activation()
        response = await scene.run(message)
        assert (response.status_code, error(response)) == (APPLICATION_ERROR, ACTION_REMOVED)
        assert message.activation_id in scene.records.kept
        await scene.accounts_are_right()


async def test_an_unknown_kind_is_a_fault_of_the_system(simulator: SimulatedCluster) -> None:
    document = msgspec.convert(action_document(), ActionDocument)
    document = msgspec.structs.replace(document, exec=msgspec.structs.replace(document.exec, kind="cobol:1"))
    with pytest.raises(ActionUnavailable, match="the manifest has python:3") as found:
        to_executable(EntityName("guest", "hello"), document, "code", embedded_manifest())
    async with invoking(simulator.master, found.value) as scene:
        response = await scene.run(activation())
        assert response.status_code == WHISK_ERROR
        assert scene.controller.heard[0].is_system_error  # type: ignore[union-attr]
        await scene.accounts_are_right()


async def test_a_fault_of_ours_ends_the_activation_too(
    simulator: SimulatedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with invoking(simulator.master, RuntimeError("a fault")) as scene:
        response = await scene.run(activation())
        assert (response.status_code, error(response)) == (WHISK_ERROR, "The activation could not be prepared.")
        assert "a fault" in caplog.text
        await scene.accounts_are_right()


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_arguments_that_cannot_be_decrypted_end_the_activation_alone(
    simulator: SimulatedCluster, caplog: pytest.LogCaptureFixture, warm: bool
) -> None:
    def broken(value: Any) -> Any:
        raise ValueError("no such key")

    async with invoking(simulator.master, action(), ciphers={"broken": broken}) as scene:
        if warm:
            await scene.run(activation())
        message = activation({"secret": "x"}, locked_args={"secret": "broken"})
        response = await scene.run(message)
        assert (response.status_code, error(response)) == (WHISK_ERROR, "The activation could not be prepared.")
        assert scene.records.kept[message.activation_id].response == response
        assert "no such key" in caplog.text
        await scene.accounts_are_right()
        message = activation()
        assert (await scene.run(message)).status_code == SUCCESS
        assert (scene.records.kept[message.activation_id].annotation("initTime") is None) is warm
        await scene.accounts_are_right()


async def test_a_listener_that_breaks_takes_nothing_from_the_others(
    simulator: SimulatedCluster, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(what: Any) -> None:
        raise RuntimeError(f"no {type(what).__name__}")

    async with invoking(simulator.master, action()) as scene:
        shell = scene.framework.shell
        for listeners in (shell.pool_listeners, shell.changed, shell.stats):
            listeners.insert(0, broken)
        assert (await scene.run(activation())).status_code == SUCCESS
        for what in ("Dispatch", "str", "NodeStatsUpdate"):
            assert f"RuntimeError: no {what}" in caplog.text
        assert "subscribing again" not in caplog.text
        await scene.accounts_are_right()


async def test_an_action_larger_than_any_agent_ends_with_the_explanation(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(memory=4096), settings=PoolSettings(max_wait=1.0)) as scene:
        message = activation()
        response = await scene.run(message)
        assert response.status_code == WHISK_ERROR
        assert error(response).startswith("no container within 1 s: ")
        assert "of 2 agents, 2 lack memory; nearest: agent " in error(response)
        assert scene.records.kept[message.activation_id].response == response
        await scene.accounts_are_right()


@pytest.mark.parametrize("blocking", [True, False])
async def test_no_room_is_a_whisk_error_that_is_not_counted_against_the_invoker(
    simulator: SimulatedCluster, blocking: bool
) -> None:
    async with invoking(simulator.master, action(memory=4096), settings=PoolSettings(max_wait=0.5)) as scene:
        message = activation(blocking=blocking)
        scene.activate(message)
        await eventually_async(lambda: scene.controller.ended(message.activation_id))
        assert scene.records.kept[message.activation_id].response.status_code == WHISK_ERROR
        (heard,) = scene.controller.of(message.activation_id)
        assert heard.is_system_error is False  # type: ignore[union-attr]


async def test_a_cluster_that_is_not_known_is_counted_against_it(simulator: SimulatedCluster) -> None:
    settings = PoolSettings(max_wait=0.5)
    async with invoking(simulator.master, action(memory=4096), settings=settings, settle=60.0) as scene:
        message = activation()
        assert (await scene.run(message)).status_code == WHISK_ERROR
        (heard,) = scene.controller.of(message.activation_id)
        assert heard.is_system_error is True  # type: ignore[union-attr]


async def test_a_test_of_the_invoker_that_finds_no_room_is_counted_against_it(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(memory=4096), settings=PoolSettings(max_wait=0.5)) as scene:
        message = health_test()
        scene.activate(message)
        await eventually_async(lambda: scene.controller.ended(message.activation_id))
        (heard,) = scene.controller.of(message.activation_id)
        assert heard.is_system_error is True  # type: ignore[union-attr]


async def test_a_run_that_would_end_after_its_forced_completion_does_not_start(simulator: SimulatedCluster) -> None:
    """It may start within 110 s: it has waited on its way."""
    async with invoking(simulator.master, action(), forced=ForcedCompletion()) as scene:
        assert (await scene.run(activation(), age=100.0)).status_code == SUCCESS
        response = await scene.run(activation(), age=111.0)
        assert response.status_code == WHISK_ERROR
        assert "too late to end before the Controller's forced completion" in error(response)
        test = health_test()
        scene.activate(test, age=1000.0)  # nobody forces the completion of a test
        await eventually_async(lambda: scene.controller.ended(test.activation_id))
        (heard,) = scene.controller.of(test.activation_id)
        assert heard.is_system_error is False  # type: ignore[union-attr]


# -- actions that misbehave


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("def main(args):\n    return {'error': 'no'}", APPLICATION_ERROR, "no"),
        ("def main(args):\n    raise ValueError('no')", APPLICATION_ERROR, ""),
        ("def main(:", DEVELOPER_ERROR, ""),
        ("import nothing_like_this", DEVELOPER_ERROR, ""),
        ("def main(args):\n    return 'text'", DEVELOPER_ERROR, ""),
        ("def main(args):\n    return {'a': 'x' * 5_000_000}", APPLICATION_ERROR, "exceeded the allowed length"),
        ("import os\ndef main(args):\n    os._exit(1)", DEVELOPER_ERROR, ""),
        (
            "import os, signal\ndef main(args):\n    os.kill(os.getppid(), signal.SIGKILL)",
            DEVELOPER_ERROR,
            "unexpectedly",
        ),
    ],
    ids=["error", "raises", "no python", "import", "text", "5 MB", "exits", "kills its container"],
)
async def test_what_the_code_does_is_its_own_end_alone(
    simulator: SimulatedCluster, code: str, status: int, says: str
) -> None:
    async with invoking(simulator.master, action(code=code)) as scene:
        message = activation()
        response = await scene.run(message)
        assert (response.status_code, says in json.dumps(answer(response))) == (status, True), response
        assert message.activation_id in scene.records.kept
        scene.actions.action_or_error = action("other")
        assert (await scene.run(activation())).status_code == SUCCESS
        await scene.accounts_are_right()


async def test_an_action_that_hangs_is_cut_off_at_its_time(simulator: SimulatedCluster) -> None:
    async with invoking(simulator.master, action(code=WAITS, timeout=3000)) as scene:
        response = await scene.run(activation())
        assert response.status_code == DEVELOPER_ERROR
        assert error(response) == "The action exceeded its time limits of 3000 milliseconds."
        await eventually_async(lambda: scene.framework.containers() == [])
        await scene.accounts_are_right()


async def test_a_container_that_dies_in_the_middle_of_a_run_ends_it(
    simulator: SimulatedCluster, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"
    code = f"import time\ndef main(args):\n    open({str(begun)!r}, 'w').close()\n    time.sleep(60)\n    return {{}}"
    async with invoking(simulator.master, action(code=code)) as scene:
        run_id = scene.activate(activation())
        await eventually_async(begun.exists)  # a container that dies before that is replaced
        await scene.framework.kill(scene.framework.containers()[0]["container_id"])
        response = await scene.end_of(run_id)
        assert response.status_code == DEVELOPER_ERROR
        assert "exited unexpectedly" in error(response)
        await scene.accounts_are_right()


@pytest.mark.parametrize(
    ("command", "timeout", "says"),
    [
        ("exec sleep 60", 1000, "The action exceeded its time limits of 1000 milliseconds during initialization."),
        ("exec python3 -m http.server $PORT", 20_000, "The action failed during initialization"),
    ],
    ids=["never opens its port", "answers garbage"],
)
async def test_a_container_that_does_not_keep_to_the_protocol(
    simulator: SimulatedCluster, command: str, timeout: int, says: str
) -> None:
    manifest = Manifest({"python": (Runtime(kind="python:3", command=command),)})
    async with invoking(simulator.master, action(timeout=timeout), manifest=manifest) as scene:
        response = await scene.run(activation())
        assert response.status_code == DEVELOPER_ERROR
        assert says in error(response)
        await scene.accounts_are_right()


async def test_containers_that_end_before_they_listen_are_not_the_actions_fault(simulator: SimulatedCluster) -> None:
    manifest = Manifest({"python": (Runtime(kind="python:3", command="exit 3"),)})
    async with invoking(simulator.master, action(), manifest=manifest) as scene:
        response = await scene.run(activation())
        assert response.status_code == WHISK_ERROR
        assert error(response) == "its container did not start 3 times, last error: connecting to it failed"
        await scene.accounts_are_right()
