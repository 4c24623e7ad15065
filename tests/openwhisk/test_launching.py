"""How containers are launched, and OpenWhisk's titles on its Mesos container factory (tests/openwhisk/titles.py)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.core.constraints import Constraint
from owmesos.core.containers import Shape
from owmesos.core.placement import Slot
from owmesos.core.pool_events import StartContainer
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import Kill, TaskInfo
from owmesos.mesos.task_info import template
from owmesos.openwhisk.embedded import embedded_manifest
from owmesos.openwhisk.launching import Launching, LaunchSettings, parse_constraint
from owmesos.openwhisk.manifest import BLACKBOX, StemCell, parse
from owmesos.resources import Ask, Resources
from tests.model.scene import agent
from tests.openwhisk.factory import FactoryWorld
from tests.openwhisk.runs import action

MANIFEST = parse(
    json.dumps(
        {
            "runtimes": {"python": [{"kind": "python:3", "image": {"prefix": "openwhisk", "name": "p", "tag": "1"}}]},
            "blackboxes": [{"name": "known"}],
        }
    )
)


def started(kind: str = "python:3", *, image: str | None = None, prewarm: bool = False, **settings: Any) -> TaskInfo:
    """The TaskInfo that the container is launched with."""
    start = StartContainer(
        "c7", Shape(kind, 256, image), Slot("S1", "*"), Ask.of(cpus=0.1, mem=256, ports=1), (), prewarm
    )
    launch = Launching(LaunchSettings(**settings), MANIFEST)(start)
    return msgspec.json.decode(template(launch), type=TaskInfo)


def docker(info: TaskInfo) -> Any:
    assert info.container is not None
    return info.container.docker


def variables(info: TaskInfo) -> dict[str, str | None]:
    assert info.command is not None
    environment = info.command.environment
    return {each.name: each.value for each in environment.variables} if environment is not None else {}


class TestDocker:
    def test_an_image_of_the_manifest_runs_in_a_bridge(self) -> None:
        info = started()
        assert (docker(info).image, docker(info).network) == ("openwhisk/p:1", "BRIDGE")
        assert docker(info).force_pull_image is None
        assert info.command is not None
        assert (info.command.value, info.command.shell) == (None, False)

    def test_the_registry_is_set_before_images_that_name_none(self) -> None:
        assert docker(started(registry="registry.example")).image == "registry.example/openwhisk/p:1"

    @pytest.mark.parametrize(("network", "kind"), [("host", "HOST"), ("bridge", "BRIDGE"), ("calico", "USER")])
    def test_the_network_is_chosen(self, network: str, kind: str) -> None:
        info = started(network=network)
        assert docker(info).network == kind
        assert info.container is not None
        assert [each.name for each in info.container.network_infos] == ([network] if kind == "USER" else [])

    def test_docker_gets_its_parameters_and_one_of_them_several_times(self) -> None:
        info = started(
            docker_parameters={"--cap-drop": ("A", "B")},
            dns_servers=("1.1.1.1", "8.8.8.8"),
            extra_args={"label": ("x",)},
        )
        assert [(each.key, each.value) for each in docker(info).parameters] == [
            ("cap-drop", "A"),
            ("cap-drop", "B"),
            ("dns", "1.1.1.1"),
            ("dns", "8.8.8.8"),
            ("label", "x"),
        ]

    def test_without_settings_docker_gets_openwhisks_own_parameters(self) -> None:
        assert [(each.key, each.value) for each in docker(started()).parameters] == [
            ("cap-drop", "NET_RAW"),
            ("cap-drop", "NET_ADMIN"),
            ("ulimit", "nofile=1024:1024"),
            ("pids-limit", "1024"),
        ]

    @pytest.mark.parametrize(
        ("image", "pulled"),
        [("me/it", True), ("me/it:latest", True), ("me/it:3", None), ("me/it@sha256:ab", None), ("known", None)],
    )
    def test_an_image_of_a_user_is_pulled_unless_it_is_known_or_tagged(self, image: str, pulled: bool | None) -> None:
        info = started(BLACKBOX, image=image)
        assert (docker(info).image, docker(info).force_pull_image) == (image, pulled)

    def test_images_of_the_manifest_are_pulled_where_that_is_forced(self) -> None:
        assert docker(started(force_pull=True)).force_pull_image is True


class TestEnvironmentAndNames:
    def test_containers_know_the_api_host_and_what_is_set_for_all(self) -> None:
        info = started(api_host="https://ow.example", extra_env_vars={"PROXY": "p:1"})
        assert variables(info) == {
            "PROXY": "p:1",
            "__OW_API_HOST": "https://ow.example",
            "__OW_ALLOW_CONCURRENT": "true",
        }

    def test_concurrency_can_be_forbidden(self) -> None:
        assert variables(started(concurrency=False)) == {}

    def test_a_container_is_named_for_what_it_is(self) -> None:
        assert started().name == "wsk_c7_run_python3"
        assert started(prewarm=True, name_prefix="wsk-0").name == "wsk0_c7_prewarm_python3"


class TestSettings:
    def test_they_have_the_names_of_whisk_mesos(self) -> None:
        text = (
            '{"constraints": ["rack LIKE r1"], "blackbox-constraints": ["rack UNLIKE r1"], '
            '"constraint-delimiter": " ", '
            '"network": "bridge", "force-pull": true, "extra-env-vars": {"A": "b"}, "dns-servers": ["d"], '
            '"extra-args": {"x": ["y"]}, "role": "whisk", "health-check": {"max-consecutive-failures": 2}}'
        )
        settings = msgspec.json.decode(text, type=LaunchSettings)
        assert settings.parsed_constraints() == (Constraint("rack", "LIKE", "r1"),)
        assert settings.parsed_blackbox_constraints() == (Constraint("rack", "UNLIKE", "r1"),)
        assert settings.force_pull

    def test_the_delimiter_lets_a_regular_expression_have_blanks(self) -> None:
        assert parse_constraint("rack|LIKE|a b", "|") == Constraint("rack", "LIKE", "a b")

    @pytest.mark.parametrize("text", ["rack LIKE", "rack LIKE a b", "rack == r1", "rack LIKE [", ""])
    def test_a_bad_constraint_is_told_when_it_is_set_up(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            Launching(LaunchSettings(blackbox_constraints=(text,)), MANIFEST)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_kind_that_is_unknown_is_told(self) -> None:
        with pytest.raises(InvalidInput, match="'cobol:60' is not known here"):
            started("cobol:60")


class TestEmbedded:
    def test_kinds_are_commands_on_the_tasks_own_port(self) -> None:
        manifest = embedded_manifest(python="/opt/my python", node="/usr/bin/node")
        start = StartContainer("c1", Shape("python:3", 256), Slot("S1", "*"), Ask.of(cpus=0.1, ports=1), (), False)
        launch = Launching(LaunchSettings(), manifest)(start)
        assert launch.command == "exec '/opt/my python' -m owmesos.runtimes.python --port $PORT"
        assert launch.image is None
        node = manifest.runtime("nodejs:default").command
        assert node is not None
        assert node.endswith("nodejs.js --port $PORT")

    def test_prewarmed_ones_may_be_wanted_of_every_kind(self) -> None:
        manifest = embedded_manifest(node="node", stem_cells=(StemCell("256 MB", 1),))
        assert [setting.shape for setting in manifest.prewarm()] == [Shape("python:3", 256), Shape("nodejs:20", 256)]


class TestMesosContainerFactory:
    def test_send_subscribe_on_init(self) -> None:
        """The factory is the framework: it is subscribed before the first container is asked for."""
        world = FactoryWorld(MANIFEST, agent())
        assert world.master.subscribed
        assert world.tasks() == []

    def test_send_submit_task_with_constraints_on_create(self) -> None:
        settings = LaunchSettings(constraints=("rack LIKE r1",), blackbox_constraints=("rack UNLIKE r1",))
        world = FactoryWorld(MANIFEST, agent(1, rack="r1"), agent(2, rack="r2"), settings=settings)
        world.run(action())
        world.run(action("own", kind=BLACKBOX, image="me/it"))
        world.wait(1.0)
        managed, blackbox = world.tasks()
        assert (managed.agent_id.value, docker(managed).image) == ("S1", "openwhisk/p:1")
        assert (blackbox.agent_id.value, docker(blackbox).image) == ("S2", "me/it")
        (mapping,) = docker(managed).port_mappings
        assert (mapping.host_port, mapping.container_port) == (31000, 8080)
        (container, _) = world.pool.containers
        assert container.address == "h1:31000"

    def test_send_delete_task_on_destroy(self) -> None:
        world = FactoryWorld(MANIFEST, agent())
        run_id = world.run(action())
        world.wait(1.0)
        world.done(run_id, reuse=False)
        (kill,) = world.calls(Kill)
        assert kill.task_id == world.tasks()[0].task_id  # type: ignore[attr-defined]
        world.wait(5.0)
        assert world.states() == []

    def test_cluster_resource_error_on_mesos_resource_failure(self) -> None:
        """There is no error: the run waits, says why, and goes when there is room."""
        world = FactoryWorld(MANIFEST, agent(mem=128))
        run_id = world.run(action())
        world.wait(30.0)
        assert (world.given, world.failed) == ({}, {})
        explanation = world.pool.explain(run_id)
        assert explanation is not None
        assert "128 MB short" in explanation.summary

    def test_resend_on_cluster_resource_error(self) -> None:
        """A neighbour was quicker: the start is taken back, the run keeps its place and is started again."""
        one = agent(mem=256)
        world = FactoryWorld(MANIFEST, one)
        one.neighbours = Resources.of(mem=100)
        first, second = world.run(action("a")), world.run(action("b"))
        world.wait(4.0)
        assert (world.given, world.failed, world.tasks()) == ({}, {}, [])
        one.neighbours = Resources.of()
        world.wait(20.0)
        assert set(world.given) == {first}
        world.done(first, reuse=False)
        world.wait(5.0)
        assert set(world.given) == {first, second}

    def test_retry_on_docker_run_failure_or_docker_pull_failure(self) -> None:
        world = FactoryWorld(MANIFEST, agent())
        run_id = world.run(action())
        for number in (1, 2):
            world.deliver()
            assert len(world.tasks()) == number
            newest = world.master.tasks.all[world.tasks()[-1].task_id.value]
            world.master.tasks.push(newest, "TASK_FAILED")
            world.wait(0.001)
        world.wait(1.0)
        assert len(world.tasks()) == 3
        assert run_id in world.given
