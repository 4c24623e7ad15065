"""From a launch to the TaskInfo that Mesos gets, in two steps.

`template` is made once, when the launch is asked for: the asker's `task_info` edit runs there, in the asker's hands,
and the result is stored, so that a restarted process can launch what never started. `finished` adds what one attempt
on one agent decides: ids, resources, ports and the environment that names them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from owmesos.core.launch import Launch
from owmesos.errors import InvalidInput
from owmesos.mesos.messages import (
    ID,
    URI,
    CommandInfo,
    ContainerInfo,
    DockerImage,
    DockerInfo,
    DurationInfo,
    Environment,
    Image,
    KillPolicy,
    Label,
    Labels,
    MesosInfo,
    NetworkInfo,
    Parameter,
    PortMapping,
    Resource,
    TaskInfo,
    Variable,
)
from owmesos.resources import Ask, Ports, milli

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(TaskInfo).decode
_NONE = ID("")


def template(launch: Launch) -> str:
    """The launch's TaskInfo as JSON, its `task_info` edit applied; ids and resources are still empty.

    Raises InvalidInput when the edit leaves no valid TaskInfo.
    """
    info = TaskInfo(
        name=launch.name,
        task_id=_NONE,
        agent_id=_NONE,
        command=_command(launch),
        container=_container(launch),
        labels=_labels(launch),
    )
    if launch.kill_grace is not None:
        info.kill_policy = KillPolicy(DurationInfo(round(launch.kill_grace * 1e9)))
    if launch.task_info is not None:
        edited = launch.task_info(info)
        info = info if edited is None else edited
    if not isinstance(info, TaskInfo):
        raise InvalidInput(f"task_info must edit or return a TaskInfo, not {type(info).__name__}")
    try:
        text = _encode(info)
        _decode(text)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidInput(f"task_info leaves a TaskInfo that cannot be written: {error}") from None
    if (info.command is None) == (info.executor is None):
        raise InvalidInput("a task has either a command or an executor: task_info must leave exactly one")
    if info.command is not None and not info.command.value and info.container is None:
        raise InvalidInput("a launch needs a command, an image, or a task_info that sets an executor")
    return text.decode()


def whole_ask(launch: Launch, template_json: str) -> Ask:
    """The launch's ask, with its executor's resources. Raises InvalidInput."""
    info = _decode(template_json)
    return launch.ask() if info.executor is None else launch.ask().plus(_executor_ask(info))


def _executor_ask(info: TaskInfo) -> Ask:
    assert info.executor is not None
    amounts = {
        resource.name: resource.scalar.value for resource in info.executor.resources if resource.scalar is not None
    }
    return Ask(*(milli(name, amounts.get(name, 0.0)) for name in ("cpus", "mem", "disk", "gpus")))


def executor_ask(template_json: str) -> Ask | None:
    """What the launch's executor takes beside the task, or None when it is a command task."""
    info = _decode(template_json)
    return None if info.executor is None else _executor_ask(info)


def finished(
    template_json: str,
    *,
    launch_id: str,
    task_id: str,
    agent_id: str,
    hostname: str,
    ports: Ports,
    resources: Sequence[Resource],
    executor_resources: Sequence[Resource] = (),
    container_ports: Sequence[int] = (),
) -> TaskInfo:
    """The TaskInfo of one attempt. An executor without an id gets the task's."""
    info = _decode(template_json)
    info.task_id, info.agent_id, info.resources = ID(task_id), ID(agent_id), list(resources)
    command = info.command
    if info.executor is not None:
        command = info.executor.command
        info.executor.resources = list(executor_resources)
        if not info.executor.executor_id.value:
            info.executor.executor_id = ID(task_id)
    if command is not None:
        _set_environment(command, launch_id, hostname, list(ports))
    if info.container is not None and ports:
        _map_ports(info.container, list(ports), container_ports)
    return info


def _set_environment(command: CommandInfo, launch_id: str, hostname: str, ports: list[int]) -> None:
    """`HOST, PORT0…, PORT, PORTS, OWMESOS_LAUNCH_ID`; what the asker set by these names is the attempt's to say."""
    ours = {"OWMESOS_LAUNCH_ID": launch_id, "HOST": hostname}
    if ports:
        ours |= {f"PORT{index}": str(port) for index, port in enumerate(ports)}
        ours |= {"PORT": str(ports[0]), "PORTS": ",".join(map(str, ports))}
    theirs = command.environment.variables if command.environment is not None else []
    kept = [variable for variable in theirs if variable.name not in ours]
    command.environment = Environment(kept + [Variable(name, value) for name, value in ours.items()])


def _map_ports(container: ContainerInfo, ports: list[int], container_ports: Sequence[int]) -> None:
    """In a network of its own a container's ports map to the host's; those beyond `container_ports` to themselves."""
    inside = [*container_ports, *ports[len(container_ports) :]]
    mappings = [PortMapping(host, inner) for host, inner in zip(ports, inside, strict=True)]
    if container.docker is not None and container.docker.network in ("BRIDGE", "USER"):
        container.docker.port_mappings = mappings
    elif container.type == "MESOS" and container.network_infos:
        container.network_infos[0].port_mappings = mappings


def _command(launch: Launch) -> CommandInfo:
    """Without a command the image's own entry point runs."""
    environment = None
    if launch.env:
        environment = Environment([Variable(name, value) for name, value in launch.env.items()])
    return CommandInfo(
        uris=[URI(uri) for uri in launch.uris],
        environment=environment,
        shell=launch.command is not None and not launch.arguments,
        value=launch.command,
        arguments=[launch.command, *launch.arguments] if launch.command and launch.arguments else [],
        user=launch.user,
    )


def _container(launch: Launch) -> ContainerInfo | None:
    network = launch.network
    if launch.image is None:
        if network in (None, "host"):
            return None
        return ContainerInfo(type="MESOS", network_infos=_network_infos(launch))
    if launch.containerizer == "mesos":
        image = Image("DOCKER", docker=DockerImage(launch.image), cached=not launch.force_pull)
        return ContainerInfo("MESOS", mesos=MesosInfo(image), network_infos=_network_infos(launch))
    kinds = {None: "HOST", "host": "HOST", "bridge": "BRIDGE", "none": "NONE"}
    docker = DockerInfo(
        launch.image,
        network=kinds.get(network, "USER"),
        parameters=[Parameter(key, value) for key, value in launch.docker_parameters.items()],
        force_pull_image=True if launch.force_pull else None,
    )
    named = docker.network == "USER"
    return ContainerInfo("DOCKER", docker=docker, network_infos=_network_infos(launch) if named else [])


def _network_infos(launch: Launch) -> list[NetworkInfo]:
    return [] if launch.network in (None, "host") else [NetworkInfo(name=launch.network)]


def _labels(launch: Launch) -> Labels | None:
    return Labels([Label(key, value) for key, value in launch.labels.items()]) if launch.labels else None
