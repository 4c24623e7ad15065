"""From a launch to the TaskInfo that Mesos gets, in two steps.

`template` is made once, when the launch is asked for: the asker's `task_info` edit runs there, in the asker's hands,
and the result is stored, so that a restarted process can launch what never started. `finish` adds what one attempt
on one agent decides: ids, resources, ports and the environment that names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from owmesos.core.texts import check_text
from owmesos.errors import InvalidInput
from owmesos.mesos import messages as v1
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.resources import SCALARS, Ask, milli

_encode = msgspec.json.Encoder().encode
decoded = msgspec.json.Decoder(v1.TaskInfo).decode
_NONE = v1.ID("")
DEFAULT_GRACE = 3.0
"""Seconds; of Mesos's own executors (src/slave/constants.hpp, DEFAULT_KILL_POLICY_GRACE_PERIOD's use in executors)."""
MAX_TEMPLATE = 4 * 1024 * 1024
"""Bytes of a TaskInfo as JSON."""


def template(launch: Launch) -> str:
    """The launch's TaskInfo as JSON, its `task_info` edit applied; ids and resources are still empty.

    Raises InvalidInput when the edit leaves no valid TaskInfo.
    """
    labels = [v1.Label(key, value) for key, value in launch.labels.items()]
    info = v1.TaskInfo(
        name=launch.name,
        task_id=_NONE,
        agent_id=_NONE,
        command=_command(launch),
        container=_container(launch),
        labels=v1.Labels(labels) if labels else None,
        kill_policy=kill_policy(launch),
    )
    if launch.task_info is not None:
        edited = launch.task_info(info)
        info = info if edited is None else edited
    if not isinstance(info, v1.TaskInfo):
        raise InvalidInput(f"task_info must edit or return a TaskInfo, not {type(info).__name__}")
    try:
        text = _encode(info)
        decoded(text)
    except (msgspec.MsgspecError, TypeError, ValueError) as error:
        raise InvalidInput(f"task_info leaves a TaskInfo that cannot be written: {error}") from None
    _check(info, text)
    if (info.command is None) == (info.executor is None):
        raise InvalidInput("a task has either a command or an executor: task_info must leave exactly one")
    if info.command is not None and not info.command.value and info.container is None:
        raise InvalidInput("a launch needs a command, an image, or a task_info that sets an executor")
    return text.decode()


def _check(info: v1.TaskInfo, text: bytes) -> None:
    """An edit can put in what a launch cannot hold, and agents end neither a task nor themselves well with it."""
    if len(text) > MAX_TEMPLATE:
        raise InvalidInput(f"the TaskInfo has {len(text)} bytes, at most {MAX_TEMPLATE} are allowed")
    if rb"\u0000" in text:
        _refuse_nul(msgspec.to_builtins(info), "the TaskInfo")
    commands = [info.command, info.executor.command if info.executor is not None else None]
    environments = [each.environment for each in commands if each is not None and each.environment is not None]
    for name in [variable.name for environment in environments for variable in environment.variables]:
        if not name or "=" in name:
            raise InvalidInput(f"{name!r} is not the name of a variable: it is empty or contains '='")


def _refuse_nul(value: Any, where: str) -> None:
    if isinstance(value, str):
        check_text(where, value, MAX_TEMPLATE)
    elif isinstance(value, dict):
        for key, inner in value.items():
            check_text(f"a name in {where}", key, MAX_TEMPLATE)
            _refuse_nul(inner, f"{where}.{key}")
    elif isinstance(value, list):
        for inner in value:
            _refuse_nul(inner, f"{where}[]")


def whole_ask(launch: Launch, template_json: str) -> Ask:
    """The launch's ask, with its executor's resources. Raises InvalidInput."""
    return launch.ask().plus(executor_ask(decoded(template_json)))


def fault_of(record: LaunchRecord) -> str | None:
    """Why no task can be made of a stored launch; None if one can."""
    try:
        _check(decoded(record.template), record.template.encode())
        ask = whole_ask(record.launch, record.template)
    except (msgspec.MsgspecError, RecursionError, InvalidInput) as error:
        return f"its template is not valid: {' '.join(str(error).split())[:1000]}"
    return None if ask == record.ask else f"its ask is not that of its launch, {ask}"


def executor_ask(info: v1.TaskInfo) -> Ask:
    """What its executor takes beside the task: nothing for a command task. Raises InvalidInput."""
    if info.executor is None:
        return Ask()
    amounts = {each.name: each.scalar.value for each in info.executor.resources if each.scalar is not None}
    return Ask(*(milli(name, amounts.get(name, 0.0)) for name in SCALARS))


def own_executor(template_json: str) -> str | None:
    """The id that the launch gives its executor; None for that of a command, and for one that gets its task's."""
    info = decoded(template_json)
    return (info.executor.executor_id.value or None) if info.executor is not None else None


def kill_policy(launch: Launch) -> v1.KillPolicy | None:
    return v1.KillPolicy(v1.DurationInfo(round(launch.kill_grace * 1e9))) if launch.kill_grace is not None else None


def kill_grace(template_json: str) -> float:
    """Seconds between TERM and KILL that the task is given."""
    policy = decoded(template_json).kill_policy
    if policy is None or policy.grace_period is None:
        return DEFAULT_GRACE
    return policy.grace_period.nanoseconds / 1e9


def finish(
    info: v1.TaskInfo, record: LaunchRecord, resources: list[v1.Resource], executor_resources: list[v1.Resource]
) -> None:
    """Adds what the record's present attempt decides. An executor without an id gets the task's."""
    slot, _, held, task_id = record.attempt
    info.task_id, info.agent_id, info.resources = v1.ID(task_id), v1.ID(slot.agent_id), resources
    command = info.command
    if info.executor is not None:
        command = info.executor.command
        info.executor.resources = executor_resources
        if not info.executor.executor_id.value:
            info.executor.executor_id = v1.ID(task_id)
    ports = list(held.ports)
    if command is not None:
        _set_environment(command, record.id, str(record.hostname), ports)
    if info.container is not None and ports:
        _map_ports(info.container, ports, record.launch.container_ports)


def _set_environment(command: v1.CommandInfo, launch_id: str, hostname: str, ports: list[int]) -> None:
    """`HOST, PORT0…, PORT, PORTS, OWMESOS_LAUNCH_ID`; what the asker set by these names is the attempt's to say."""
    ours = {"OWMESOS_LAUNCH_ID": launch_id, "HOST": hostname}
    if ports:
        ours |= {f"PORT{index}": str(port) for index, port in enumerate(ports)}
        ours |= {"PORT": str(ports[0]), "PORTS": ",".join(map(str, ports))}
    theirs = command.environment.variables if command.environment is not None else []
    kept = [variable for variable in theirs if variable.name not in ours]
    command.environment = v1.Environment(kept + [v1.Variable(name, value) for name, value in ours.items()])


def _map_ports(container: v1.ContainerInfo, ports: list[int], container_ports: Sequence[int]) -> None:
    """In a network of its own a container's ports map to the host's; those beyond `container_ports` to themselves."""
    inside = [*container_ports, *ports[len(container_ports) :]]
    mappings = [v1.PortMapping(host, inner) for host, inner in zip(ports, inside, strict=True)]
    if container.docker is not None and container.docker.network in ("BRIDGE", "USER"):
        container.docker.port_mappings = mappings
    elif container.type == "MESOS" and container.network_infos:
        container.network_infos[0].port_mappings = mappings


def _command(launch: Launch) -> v1.CommandInfo:
    """Without a command the image's own entry point runs.

    The Docker containerizer hands `value` and all `arguments` to `docker run` (src/docker/docker.cpp), others run
    `value` with `arguments` as its argv.
    """
    argv = [launch.command] if launch.command and (launch.image is None or launch.containerizer != "docker") else []
    environment = None
    if launch.env:
        environment = v1.Environment([v1.Variable(name, value) for name, value in launch.env.items()])
    return v1.CommandInfo(
        uris=[v1.URI(uri) for uri in launch.uris],
        environment=environment,
        shell=launch.command is not None and not launch.arguments,
        value=launch.command,
        arguments=[*argv, *launch.arguments] if launch.arguments else [],
        user=launch.user,
    )


def _container(launch: Launch) -> v1.ContainerInfo | None:
    networks = [] if launch.network in (None, "host") else [v1.NetworkInfo(name=launch.network)]
    if launch.image is None:
        return v1.ContainerInfo("MESOS", network_infos=networks) if networks else None
    if launch.containerizer == "mesos":
        image = v1.Image("DOCKER", docker=v1.DockerImage(launch.image), cached=not launch.force_pull)
        return v1.ContainerInfo("MESOS", mesos=v1.MesosInfo(image), network_infos=networks)
    parameters = [v1.Parameter(key, value) for key, value in launch.docker_parameters.items()]
    if launch.user is not None and "user" not in launch.docker_parameters:
        # The user of the command only owns the sandbox (measured): the process would be the image's, mostly root.
        parameters.append(v1.Parameter("user", launch.user))
    kinds = {None: "HOST", "host": "HOST", "bridge": "BRIDGE", "none": "NONE"}
    docker = v1.DockerInfo(
        launch.image,
        network=kinds.get(launch.network, "USER"),
        parameters=parameters,
        force_pull_image=True if launch.force_pull else None,
    )
    return v1.ContainerInfo("DOCKER", docker=docker, network_infos=networks if docker.network == "USER" else [])
