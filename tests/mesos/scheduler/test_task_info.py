"""From a launch to its TaskInfo: what the asker says, what the attempt adds, and what Mesos takes of it."""

from __future__ import annotations

from typing import Any
from unittest.mock import ANY

import msgspec
import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    CommandInfo,
    Environment,
    ExecutorInfo,
    HealthCheck,
    Resource,
    Scalar,
    TaskInfo,
    TCPCheckInfo,
    Variable,
)
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.task_info import MAX_TEMPLATE, decoded, executor_ask, finish, template, whole_ask
from owmesos.resources import Ask, Ports, Resources


def task(launch: Launch, *, ports: tuple[int, ...] = (), extra: list[Resource] | None = None) -> TaskInfo:
    """The finished TaskInfo of a launch on one agent."""
    info = decoded(template(launch))
    record = LaunchRecord(
        id="l",
        launch=launch,
        ask=launch.ask(),
        template=template(launch),
        place=0,
        submitted_at=0.0,
        task_id="l.1",
        agent_id="S1",
        role="*",
        hostname="node1",
        resources=Resources(ports=Ports.of((port, port) for port in ports)),
    )
    finish(info, record, [Resource("cpus", "SCALAR", Scalar(0.1))], extra or [])
    return info


def environment(command: CommandInfo | None) -> dict[str, str | None]:
    assert command is not None
    assert command.environment is not None
    return {variable.name: variable.value for variable in command.environment.variables}


class TestTheCommand:
    def test_a_command_is_a_line_for_the_shell(self) -> None:
        command = task(Launch(command="echo $HOST", user="web", uris=["http://x/y.tgz"])).command
        assert command is not None
        assert (command.shell, command.value, command.user) == (True, "echo $HOST", "web")
        assert [uri.value for uri in command.uris] == ["http://x/y.tgz"]

    @pytest.mark.parametrize(("containerizer", "told"), [("docker", ["a b"]), ("mesos", ["/bin/echo", "a b"])])
    def test_docker_run_gets_the_program_once(self, containerizer: str, told: list[str]) -> None:
        command = task(Launch(image="i", containerizer=containerizer, command="/bin/echo", arguments=["a b"])).command
        assert command is not None
        assert (command.shell, command.value, command.arguments) == (False, "/bin/echo", told)

    def test_with_arguments_it_is_a_program_and_its_argv(self) -> None:
        command = task(Launch(command="/bin/echo", arguments=["a b", "c"])).command
        assert command is not None
        assert (command.shell, command.value, command.arguments) == (False, "/bin/echo", ["/bin/echo", "a b", "c"])

    def test_an_image_without_a_command_runs_its_own_entry_point(self) -> None:
        command = task(Launch(image="web:1")).command
        assert command is not None
        assert (command.shell, command.value, command.arguments) == (False, None, [])

    def test_the_environment_tells_host_ports_and_launch(self) -> None:
        info = task(Launch(command="x", ports=2, env={"A": "1"}), ports=(31000, 31005))
        assert environment(info.command) == {
            "A": "1",
            "HOST": "node1",
            "PORT0": "31000",
            "PORT1": "31005",
            "PORT": "31000",
            "PORTS": "31000,31005",
            "OWMESOS_LAUNCH_ID": "l",
        }

    def test_what_the_asker_sets_by_these_names_is_the_attempts_to_say(self) -> None:
        info = task(Launch(command="x", env={"HOST": "mine", "PORT": "1"}))
        assert environment(info.command) == {"PORT": "1", "HOST": "node1", "OWMESOS_LAUNCH_ID": "l"}

    def test_labels_and_kill_grace_are_written(self) -> None:
        info = task(Launch(command="x", labels={"team": "a"}, kill_grace=2.5))
        document = msgspec.to_builtins(info)
        assert document["labels"] == {"labels": [{"key": "team", "value": "a"}]}
        assert document["kill_policy"] == {"grace_period": {"nanoseconds": 2_500_000_000}}


class TestContainers:
    def test_an_image_runs_by_the_docker_containerizer_on_the_hosts_network(self) -> None:
        launch = Launch(image="web:1", force_pull=True, docker_parameters={"cap-drop": "NET_RAW"})
        assert msgspec.to_builtins(task(launch).container) == {
            "type": "DOCKER",
            "docker": {
                "image": "web:1",
                "network": "HOST",
                "parameters": [{"key": "cap-drop", "value": "NET_RAW"}],
                "force_pull_image": True,
            },
        }

    def test_in_a_bridge_ports_map_to_the_containers_or_to_themselves(self) -> None:
        launch = Launch(image="web:1", network="bridge", ports=2, container_ports=[80])
        container = msgspec.to_builtins(task(launch, ports=(31000, 31001)).container)
        assert container["docker"]["network"] == "BRIDGE"
        assert container["docker"]["port_mappings"] == [
            {"host_port": 31000, "container_port": 80},
            {"host_port": 31001, "container_port": 31001},
        ]

    @pytest.mark.parametrize(
        ("launch", "users"),
        [
            (Launch(image="i", user="web"), ["web"]),
            (Launch(image="i", user="web", docker_parameters={"user": "1000:1000"}), ["1000:1000"]),
            (Launch(image="i"), []),
        ],
    )
    def test_the_user_of_an_image_is_dockers_too(self, launch: Launch, users: list[str]) -> None:
        """Mesos only gives the sandbox to the command's: the process would be root."""
        info = task(launch)
        assert info.command is not None
        assert info.command.user == launch.user
        assert info.container is not None
        assert info.container.docker is not None
        assert [each.value for each in info.container.docker.parameters if each.key == "user"] == users

    def test_a_named_network_is_docker_user_network_of_that_name(self) -> None:
        container = msgspec.to_builtins(task(Launch(image="web:1", network="blue")).container)
        assert container["docker"]["network"] == "USER"
        assert container["network_infos"] == [{"name": "blue"}]

    def test_the_mesos_containerizer_takes_docker_images_too(self) -> None:
        launch = Launch(image="web:1", containerizer="mesos", network="cni", ports=1, container_ports=[80])
        assert msgspec.to_builtins(task(launch, ports=(31000,)).container) == {
            "type": "MESOS",
            "mesos": {"image": {"type": "DOCKER", "docker": {"name": "web:1"}}},
            "network_infos": [{"name": "cni", "port_mappings": [{"host_port": 31000, "container_port": 80}]}],
        }

    def test_without_image_and_network_there_is_no_container(self) -> None:
        assert task(Launch(command="x")).container is None


class TestTheEdit:
    def test_it_may_change_what_was_built(self) -> None:
        def checked(info: TaskInfo) -> None:
            info.health_check = HealthCheck(type="TCP", tcp=TCPCheckInfo(port=80))

        assert task(Launch(command="x", task_info=checked)).health_check == HealthCheck(
            type="TCP", tcp=TCPCheckInfo(port=80)
        )

    def test_it_may_return_another(self) -> None:
        def another(info: TaskInfo) -> TaskInfo:
            return TaskInfo("other", info.task_id, info.agent_id, command=CommandInfo(value="y"))

        assert task(Launch(command="x", task_info=another)).name == "other"

    def test_an_executor_gets_the_tasks_id_its_own_resources_and_the_environment(self) -> None:
        def custom(info: TaskInfo) -> None:
            info.command = None
            info.executor = ExecutorInfo(
                ID(""), CommandInfo(value="run"), resources=[Resource("mem", "SCALAR", Scalar(32.0))]
            )

        launch = Launch(cpus=1, mem=64, task_info=custom)
        assert executor_ask(decoded(template(launch))) == Ask.of(mem=32)
        assert whole_ask(launch, template(launch)) == Ask.of(cpus=1, mem=96)
        extra = [Resource("mem", "SCALAR", Scalar(32.0))]
        info = task(launch, extra=extra)
        assert info.executor is not None
        assert info.executor.executor_id == ID("l.1")
        assert info.executor.resources == extra
        assert environment(info.executor.command)["HOST"] == "node1"

    @pytest.mark.parametrize(
        ("edit", "text"),
        [
            (lambda info: "no", "must edit or return a TaskInfo, not str"),
            (lambda info: setattr(info, "executor", ExecutorInfo(ID("e"))), "either a command or an executor"),
            (lambda info: setattr(info, "command", None), "either a command or an executor"),
            (lambda info: setattr(info, "data", object()), "cannot be written"),
            (lambda info: setattr(info, "name", "\ud800"), "cannot be written"),
            (lambda info: setattr(info, "name", "a\0"), "TaskInfo.name must not contain a NUL"),
            (lambda info: setattr(info.command, "arguments", ["\0"]), r"command.arguments\[\] must not contain a NUL"),
            (lambda info: setattr(info, "check", {"a\0": 1}), "a name in the TaskInfo.check must not contain a NUL"),
            (
                lambda info: setattr(info.command, "environment", Environment([Variable("A=B", "1")])),
                "'A=B' is not the name of a variable",
            ),
            (lambda info: setattr(info, "data", b"x" * MAX_TEMPLATE), "at most 4194304 are allowed"),
        ],
    )
    def test_one_that_leaves_no_valid_task_info_is_refused_in_one_line(self, edit: Any, text: str) -> None:
        with pytest.raises(InvalidInput, match=text) as refused:
            template(Launch(command="x", task_info=edit))
        assert "\n" not in str(refused.value)

    def test_a_backslash_and_zeros_are_not_a_nul(self) -> None:
        assert task(Launch(command="printf '\\u0000'")).command == CommandInfo(
            value="printf '\\u0000'", environment=ANY
        )

    def test_a_launch_without_command_image_and_executor_is_refused(self) -> None:
        with pytest.raises(InvalidInput, match="a launch needs a command, an image"):
            template(Launch(cpus=1))
