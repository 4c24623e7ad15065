"""How containers are launched, and OpenWhisk's titles on its Mesos container factory (tests/openwhisk/titles.py)."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from owmesos.core.constraints import Constraint
from owmesos.core.placement import Slot
from owmesos.core.pool.containers import ContainerShape
from owmesos.core.pool.events import Initialized, StartContainer
from owmesos.errors import InvalidInput
from owmesos.invoker.extension import container_pool
from owmesos.mesos import listings
from owmesos.mesos.container_factory import launch_of
from owmesos.mesos.messages import Kill, TaskInfo
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.task_info import template
from owmesos.openwhisk.container_specs import HealthCheckSettings, Launching, LaunchSettings, parse_constraint
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.manifest import BLACKBOX, Manifest, StemCell, parse
from owmesos.openwhisk.whisk_config import WhiskConfig, launch_fields
from owmesos.resources import Ask
from owmesos.service.framework import Framework
from tests.model.scene import agent, says
from tests.model.tasks import SILENT
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
        "c7", ContainerShape(kind, 256, image), Slot("S1", "*"), Ask.of(cpus=0.1, mem=256, ports=1), (), prewarm
    )
    launch = launch_of(Launching(LaunchSettings(**settings), MANIFEST)(start))
    return msgspec.json.decode(template(launch), type=TaskInfo)


def launched(runtime: dict[str, Any]) -> TaskInfo:
    """The TaskInfo of a container of this runtime."""
    return msgspec.json.decode(template(launch_of_kind(runtime)), type=TaskInfo)


def launch_of_kind(runtime: dict[str, Any], **settings: Any) -> Launch:
    manifest = parse(json.dumps({"runtimes": {"some": [runtime]}}))
    ask = Ask.of(mem=256, ports=1)
    start = StartContainer("c7", ContainerShape(runtime["kind"], 256, None), Slot("S1", "*"), ask, (), False)
    return launch_of(Launching(LaunchSettings(**settings), manifest)(start))


def set_up(settings: LaunchSettings, manifest: Manifest) -> None:
    """As a framework does before it starts."""
    Framework(master="none:5050", pool=container_pool(manifest, settings))


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
            ("memory-swap", "256m"),
        ]

    def test_the_user_is_dockers_too(self) -> None:
        assert [each.value for each in docker(started(user="web")).parameters if each.key == "user"] == ["web"]
        named = started(user="web", extra_args={"user": ("1000",)})
        assert [each.value for each in docker(named).parameters if each.key == "user"] == ["1000"]

    def test_an_operator_may_let_containers_swap(self) -> None:
        parameters = docker(started(extra_args={"--memory-swap": ("-1",)})).parameters
        assert [each.value for each in parameters if each.key == "memory-swap"] == ["-1"]

    def test_without_settings_docker_gets_openwhisks_own_parameters(self) -> None:
        assert [(each.key, each.value) for each in docker(started()).parameters] == [
            ("cap-drop", "NET_RAW"),
            ("cap-drop", "NET_ADMIN"),
            ("ulimit", "nofile=1024:1024"),
            ("pids-limit", "1024"),
            ("memory-swap", "256m"),
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

    def test_the_operators_variables_come_before_our_own(self) -> None:
        config = WhiskConfig(
            {
                "WHISK_API_HOST_NAME": "ow.example",
                "CONFIG_whisk_containerFactory_containerArgs_extraEnvVars_0": "__OW_ALLOW_CONCURRENT=false",
                "CONFIG_whisk_containerFactory_containerArgs_extraEnvVars_1": "__OW_API_HOST=http://other.example",
            }
        )
        fields = {name.replace("-", "_"): value for name, value in launch_fields(config).items()}
        assert variables(started(**fields)) == {
            "__OW_ALLOW_CONCURRENT": "false",
            "__OW_API_HOST": "http://other.example",
        }

    @pytest.mark.parametrize("where", ["extra_args", "docker_parameters"])
    def test_so_do_those_that_docker_gets_as_parameters(self, where: str) -> None:
        info = started(api_host="https://ow.example", **{where: {"--env": ("__OW_ALLOW_CONCURRENT=false",)}})
        assert variables(info) == {"__OW_API_HOST": "https://ow.example"}
        assert ("env", "__OW_ALLOW_CONCURRENT=false") in [(each.key, each.value) for each in docker(info).parameters]

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

    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({"image_pull": 1e15}, "deadline must be"),
            ({"task_launch": 0.0}, "deadline must be"),
            ({"kill_grace": 1e300}, "kill_grace must be"),
            ({"extra_env_vars": {"A=B": "1"}}, "'A=B' in env is not a name"),
            ({"api_host": "h\0"}, "must not contain a NUL"),
            ({"user": "u\0"}, "user must not contain a NUL"),
            ({"network": "n\0"}, "network must not contain a NUL"),
            ({"docker_parameters": {"a": ("b\0",)}}, "docker run's a must not contain a NUL"),
            ({"health_check": HealthCheckSettings(delay=1e300)}, "health-check's delay must be 0 to"),
            ({"health_check": HealthCheckSettings(max_consecutive_failures=2**40)}, "max-consecutive-failures must be"),
        ],
    )
    def test_what_no_launch_can_have_is_told_when_it_is_set_up(self, changed: dict[str, Any], text: str) -> None:
        with pytest.raises(InvalidInput, match=text):
            set_up(LaunchSettings(**changed), MANIFEST)

    def test_a_kind_that_is_unknown_is_told(self) -> None:
        with pytest.raises(InvalidInput, match="unknown kind 'cobol:60'"):
            started("cobol:60")


class TestEmbedded:
    def test_kinds_are_commands_on_the_tasks_own_port(self) -> None:
        manifest = embedded_manifest(python="/opt/my python", node="/usr/bin/node")
        start = StartContainer(
            "c1", ContainerShape("python:3", 256), Slot("S1", "*"), Ask.of(cpus=0.1, ports=1), (), False
        )
        launch = launch_of(Launching(LaunchSettings(), manifest)(start))
        assert launch.command == "exec '/opt/my python' -m owmesos.runtimes.python --port $PORT"
        assert launch.image is None
        node = manifest.runtime("nodejs:default").command
        assert node is not None
        assert node.endswith("nodejs.js --port $PORT")

    def test_a_command_may_have_files_fetched_which_agents_keep(self) -> None:
        uris = ["https://files.example/nodejs20.tgz", "file:///opt/more"]
        info = launched({"kind": "nodejs:20", "command": "exec node app.js", "uris": uris})
        assert info.command is not None
        assert [(uri.value, uri.extract, uri.cache) for uri in info.command.uris] == [(uri, True, True) for uri in uris]

    def test_fetching_may_take_as_long_as_pulling_an_image(self) -> None:
        for uris, deadline in (([], 45.0), (["https://files.example/a.tgz"], 300.0)):
            runtime = {"kind": "nodejs:20", "command": "x", "uris": uris}
            assert launch_of_kind(runtime, task_launch=45.0, image_pull=300.0).deadline == deadline

    def test_a_uri_that_no_launch_can_have_is_told_when_it_is_set_up(self) -> None:
        manifest = parse(json.dumps({"runtimes": {"a": [{"kind": "a", "command": "x", "uris": ["x" * 5000]}]}}))
        with pytest.raises(InvalidInput, match="a uri"):
            set_up(LaunchSettings(), manifest)

    def test_prewarmed_ones_may_be_wanted_of_every_kind(self) -> None:
        manifest = embedded_manifest(node="node", stem_cells=(StemCell("256 MB", 1),))
        assert [setting.shape for setting in manifest.prewarm()] == [
            ContainerShape("python:3", 256),
            ContainerShape("nodejs:20", 256),
        ]


class TestMesosContainerFactory:
    def test_send_subscribe_on_init(self) -> None:
        """The factory is the framework: it is subscribed before the first container is asked for."""
        world = FactoryWorld(MANIFEST, agent())
        assert world.subscribed
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

    def test_an_agent_that_is_set_aside_for_a_launch_gets_no_containers(self) -> None:
        """Or the start would be decided and refused again and again, without any time passing."""
        world = FactoryWorld(MANIFEST, agent(mem=1024))
        small, large = world.submit(mem=512.0), world.submit(mem=800.0)
        world.wait(40.0)
        assert world.scheduler.state.set_aside is not None
        run_id = world.run(action())
        assert world.given == {}
        explanation = world.pool.explain(run_id)
        assert explanation is not None
        assert "1 is set aside for another launch" in explanation.summary
        world.kill(small)
        world.wait(10.0)
        assert world.record(large).state is State.RUNNING
        world.kill(large)
        world.wait(10.0)
        assert list(world.given) == [run_id]

    def test_resend_on_cluster_resource_error(self) -> None:
        """A neighbour was quicker: the start is taken back, the run keeps its place and is started again."""
        world = FactoryWorld(MANIFEST, agent(mem=256))
        world.cluster.neighbours("S1", 0.4)
        first, second = world.run(action("a")), world.run(action("b"))
        world.wait(4.0)
        assert (world.given, world.failed, world.tasks()) == ({}, {}, [])
        world.cluster.neighbours("S1", 0.0)
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
            newest = world.cluster.tasks[world.tasks()[-1].task_id.value]
            newest.says("TASK_FAILED")
            world.wait(1.01 * number)  # a kind that failed is tried again after a while
        world.wait(1.0)
        assert len(world.tasks()) == 3
        assert run_id in world.given


class TestPorts:
    def test_after_a_container_that_did_not_work_agent_and_ports_are_others(self) -> None:
        """A process that is not Mesos's may have many ports in a row, on every agent: each task would meet it."""
        world = FactoryWorld(embedded_manifest(node="node"), agent(1), agent(2), agent(3))
        run_id = world.run(action())
        world.wait(1.0)
        for _ in range(2):
            world.unusable(run_id, "connecting to it failed")
            world.wait(5.0)
        first, *others = [ports_of(info) for info in world.tasks()]
        assert first == 31000
        assert len(others) == 2
        assert all(31004 <= port <= 31009 for port in others)  # of ten
        assert len({info.agent_id.value for info in world.tasks()}) == 3
        assert run_id not in world.failed

    def test_where_there_is_no_other_agent_the_same_is_used_again(self) -> None:
        world = FactoryWorld(embedded_manifest(node="node"), agent())
        run_id = world.run(action())
        world.wait(1.0)
        world.unusable(run_id)
        world.wait(5.0)
        assert len(world.tasks()) == 2

    def test_an_agent_whose_containers_cannot_be_used_is_closed_after_three(self) -> None:
        """A process that is not Mesos's has its ports; elsewhere containers can be used."""
        world = FactoryWorld(embedded_manifest(node="node"), agent(1), agent(2))
        failed = 0
        while failed < 3:
            run_id = world.run(action(memory=128))
            world.wait(1.0)
            if world.record(world.given[run_id]).agent_id == "S1":
                failed += 1
                world.unusable(run_id)
                world.wait(1.0)
            world.handle(Initialized(world.given[run_id]))  # type: ignore[arg-type]
            world.done(run_id, reuse=False)
            world.wait(1.0)
        reasons = {node["hostname"]: node["reason"] for node in listings.nodes(world.scheduler.state, world.now)}
        assert reasons["h2"] is None
        assert reasons["h1"] == "agent S1 ran 3 containers in a row that could not be used; last error: no proof"
        world.wait(30.0)
        assert listings.nodes(world.scheduler.state, world.now)[0]["state"] != "backoff"

    def test_after_ten_minutes_without_one_the_next_is_taken(self) -> None:
        world = FactoryWorld(embedded_manifest(node="node"), agent())
        run_id = world.run(action())
        world.wait(1.0)
        world.unusable(run_id)
        world.wait(5.0)
        world.done(run_id, reuse=False)
        world.wait(600.0)
        world.run(action("other"))
        world.wait(5.0)
        *_, before, last = map(ports_of, world.tasks())
        assert last == before + 1

    def test_where_docker_cannot_publish_a_port_the_next_attempt_is_on_another_agent_and_port(self) -> None:
        """Status 125, before the container runs."""
        world = FactoryWorld(MANIFEST, agent(1), agent(2), agent(3))
        run_id = world.run(action())
        world.cluster.broken.update(dict.fromkeys(world.cluster.names, SILENT))
        for number in range(2):
            world.wait(5.0)
            (task,) = world.tasks()[number:]
            container_id = task.task_id.value.rpartition(".")[0]
            says(world, container_id, "TASK_FAILED", message="Container exited with status 125")
        world.cluster.broken.clear()
        world.wait(5.0)
        assert len({info.agent_id.value for info in world.tasks()}) == 3
        assert all(31004 <= port <= 31009 for port in list(map(ports_of, world.tasks()))[1:])
        assert run_id in world.given


def ports_of(info: TaskInfo) -> int:
    return int(variables(info)["PORT"] or 0)


def test_a_run_that_no_launch_can_be_made_for_fails_and_others_do_not() -> None:
    world = FactoryWorld(MANIFEST, agent(mem=4096))
    odd, good = world.run(action("odd", image="me/mine\0")), world.run(action("good"))
    world.wait(30)
    assert "image must not contain a NUL character" in world.failed[odd]
    assert good in world.given
    assert not world.scheduler.state.ledger.reservations.by_launch
