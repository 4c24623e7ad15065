"""The Pod that a container is: from its spec and the node it goes to.

It is pinned by a required node affinity on `metadata.name` and bound by kube-scheduler, which checks the node's room;
with `nodeName` only the kubelet would, after the room was taken (measured: two of three such pods Failed). What is
asked for is what a container gets: memory requests equal limits. Cpus are a request only, as on Mesos and in
OpenWhisk's shares: what others leave may be used.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

from owmesos.core.container_factory import ContainerSpec, HealthCheckSettings
from owmesos.core.pool.events import StartContainer
from owmesos.errors import InvalidInput
from owmesos.kubernetes.messages import Pod
from owmesos.kubernetes.pod_template import ACTION, merged
from owmesos.kubernetes.settings import MAX_LABEL, KubernetesSettings, check_dns_label
from owmesos.resources import MILLI

_POD_IP: dict[str, Any] = {"valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
PORT = 8080
"""Where a container that is a command listens."""
APP = "owmesos"
INVOKER = "owmesos/invoker"
INCARNATION = "owmesos/incarnation"
MADE_BY = "owmesos/made-by"
"""An annotation that says the same as both labels: admission that changes labels leaves it, as a rule."""
_SCHEDULER = "default-scheduler"
_KIND = "owmesos/kind"
_PURPOSE = "owmesos/purpose"
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
_NOT_IN_VALUES = re.compile(r"[^A-Za-z0-9_.-]+")
_WITHOUT_EQUIVALENT = ("ulimit", "pids-limit", "memory-swap")
"""Docker's parameters that are the kubelet's own settings on Kubernetes (podPidsLimit, the runtime's limits, swap)."""


def pod_name(container_id: str) -> str:
    """The container's id, where that is a DNS label; else one that is made of it."""
    try:
        check_dns_label("the name", container_id)
    except InvalidInput:
        digest = hashlib.sha256(container_id.encode()).hexdigest()[:16]
        readable = _NOT_IN_NAMES.sub("-", container_id.lower())[: MAX_LABEL - 17].strip("-")
        return f"{readable}-{digest}" if readable else digest
    return container_id


def own_labels(settings: KubernetesSettings) -> dict[str, str]:
    return {"app": APP, INVOKER: settings.invoker, INCARNATION: settings.incarnation}


def own_annotations(settings: KubernetesSettings) -> dict[str, str]:
    return {MADE_BY: f"{settings.invoker}/{settings.incarnation}"}


def is_ours(pod: Pod, settings: KubernetesSettings) -> bool:
    """Whether this invoker posted it, in this incarnation or an earlier one."""
    return pod.metadata.namespace == settings.namespace and _maker_of(pod)[0] == settings.invoker


def is_of_another_invoker(pod: Pod, settings: KubernetesSettings) -> bool:
    return bool(_maker_of(pod)[0]) and not is_ours(pod, settings)


def is_of_this_incarnation(pod: Pod, settings: KubernetesSettings) -> bool:
    return incarnation_of(pod) == settings.incarnation


def incarnation_of(pod: Pod) -> str:
    """Of the process that posted it; empty for a stranger's."""
    return _maker_of(pod)[1]


def _maker_of(pod: Pod) -> tuple[str, str]:
    """Invoker and incarnation, both empty for a stranger's pod."""
    metadata = pod.metadata
    if metadata.annotations.made_by:
        invoker, _, incarnation = metadata.annotations.made_by.partition("/")
        return invoker, incarnation
    return metadata.labels.get(INVOKER, ""), metadata.labels.get(INCARNATION, "")


def altered(name: str, pod: Pod, settings: KubernetesSettings) -> str | None:
    """What admission set in a pod that was posted as `name` and must be ours: its name, a label, its scheduler; None if
    nothing. See `placed_by_admission` for its node."""
    if pod.metadata.name != name:
        return f"the name {pod.metadata.name}"
    wanted = {INVOKER: settings.invoker, INCARNATION: settings.incarnation}
    for label, value in wanted.items():
        found = pod.metadata.labels.get(label)
        if found != value:
            return f"no label {label}" if found is None else f"the label {label}: {found}"
    scheduler = pod.spec.scheduler_name
    return f"the schedulerName {scheduler}" if scheduler not in ("", _SCHEDULER) else None


def placed_by_admission(pod: Pod) -> str | None:
    """The same of its node, in the answer to the POST: kube-scheduler binds a pod only after that."""
    return f"the nodeName {pod.spec.node_name}" if pod.spec.node_name else None


def altered_text(what: str) -> str:
    """`what` is as in `altered`."""
    return f"the API server made its pod with {what}: an admission webhook or policy has to leave that as it is"


def grace_of(spec: ContainerSpec, settings: KubernetesSettings) -> int:
    """Seconds from TERM to KILL, whole ones, and never 0: then the room is shown as free while the process lives."""
    return max(1, math.ceil(spec.kill_grace)) if spec.kill_grace is not None else settings.grace


def pod_body(start: StartContainer, spec: ContainerSpec, settings: KubernetesSettings) -> dict[str, Any]:
    """The template is taken as checked. Raises InvalidInput for what no pod can have."""
    if spec.role:
        raise InvalidInput(
            f"a container on Kubernetes cannot have a role, as it is {spec.role!r:.80}: leave it out of the launch"
            " settings, and choose nodes with --node-selector"
        )
    if spec.uris:
        raise InvalidInput(
            f"a container on Kubernetes cannot have files to fetch (uris), as {spec.uris!r:.80}: put them into its"
            " image, or mount a volume with --pod-template"
        )
    if spec.network not in (None, "bridge"):
        raise InvalidInput(
            f"a container on Kubernetes is in the pod network, not in {spec.network!r:.80}: set network to bridge in"
            " the launch settings"
        )
    labels = {
        **{_label_name(name): label_value(value) for name, value in spec.labels.items()},
        **own_labels(settings),
        _KIND: label_value(start.shape.kind),
        _PURPOSE: "prewarm" if start.prewarm else "run",
    }
    parameters = _Parameters(spec.parameters)
    pod_spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": grace_of(spec, settings),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _pinned(start.slot.agent_id)}},
        "tolerations": [
            {
                "key": f"node.kubernetes.io/{key}",
                "operator": "Exists",
                "effect": "NoExecute",
                "tolerationSeconds": settings.lost_after,
            }
            for key in ("not-ready", "unreachable")
        ],
        "containers": [_container(spec, settings, parameters)],
    }
    if settings.node_selector:
        pod_spec["nodeSelector"] = dict(settings.node_selector)
    if settings.priority_class is not None:
        pod_spec["priorityClassName"] = settings.priority_class
    if settings.pull_secrets:
        pod_spec["imagePullSecrets"] = [{"name": name} for name in settings.pull_secrets]
    if parameters.dns:
        pod_spec["dnsConfig"] = parameters.dns
    ours = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(start.container_id),
            "namespace": settings.namespace,
            "labels": labels,
            "annotations": own_annotations(settings),
        },
        "spec": pod_spec,
    }
    return merged(settings.template, ours)


def address_of(pod: Pod) -> str:
    """IP and port of its container, which listens where its port says."""
    ip = pod.status.pod_ip
    return f"[{ip}]" if ":" in ip else ip


def label_value(text: str) -> str:
    """The text, as far as a label may have it: `nodejs:20` is `nodejs-20`."""
    return _NOT_IN_VALUES.sub("-", text)[:MAX_LABEL].strip("-_.")


def _label_name(text: str) -> str:
    return "owmesos/" + (label_value(text) or "label")


def _pinned(node: str) -> dict[str, Any]:
    return {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}]}


def _container(spec: ContainerSpec, settings: KubernetesSettings, parameters: _Parameters) -> dict[str, Any]:
    ask = spec.ask
    memory = {"memory": f"{ask.milli_mem // MILLI}Mi"}
    disk = {"ephemeral-storage": f"{ask.milli_disk // MILLI}Mi"} if ask.milli_disk else {}
    port = port_of(spec)
    env = {**spec.env, **parameters.env}
    container: dict[str, Any] = {
        "name": ACTION,
        "image": spec.image if spec.image is not None else settings.command_image,
        "imagePullPolicy": "Always" if spec.force_pull else "IfNotPresent",
        "env": [{"name": name, "value": value} for name, value in env.items()],
        "resources": {"requests": {"cpu": f"{ask.milli_cpus}m", **memory, **disk}, "limits": {**memory, **disk}},
        "ports": [{"name": "action", "containerPort": port}],
        "securityContext": _security(spec, parameters),
    }
    if spec.image is None:
        assert spec.command is not None
        container["command"] = ["/bin/sh", "-c", spec.command]
        given = (("PORT", {"value": str(port)}), ("HOST", _POD_IP))
        container["env"] += [{"name": name, **value} for name, value in given if name not in env]
    if spec.health_check is not None:
        container["livenessProbe"] = _probe(spec.health_check, port)
    return container


def port_of(spec: ContainerSpec) -> int:
    return spec.port if spec.port is not None else PORT


def _security(spec: ContainerSpec, parameters: _Parameters) -> dict[str, Any]:
    capabilities = {name: values for name, values in (("drop", parameters.drop), ("add", parameters.add)) if values}
    security: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}  # Docker's own default
    if capabilities:
        security["capabilities"] = capabilities
    if parameters.read_only:
        security["readOnlyRootFilesystem"] = True
    if spec.user is not None:
        if not spec.user.isdecimal():
            raise InvalidInput(
                f"the user of a container on Kubernetes must be a number, not {spec.user!r:.80}: give its uid"
            )
        security["runAsUser"] = int(spec.user)
    return security


def _probe(check: HealthCheckSettings, port: int) -> dict[str, Any]:
    return {
        "tcpSocket": {"port": port},
        "initialDelaySeconds": math.ceil(max(check.delay, check.grace_period)),
        "periodSeconds": max(1, math.ceil(check.interval)),
        "timeoutSeconds": max(1, math.ceil(check.timeout)),
        "failureThreshold": max(1, check.max_consecutive_failures),
    }


class _Parameters:
    """What parameters of `docker run` are in a pod. Raises InvalidInput for one that a pod cannot have."""

    def __init__(self, given: tuple[tuple[str, str], ...]) -> None:
        self.drop: list[str] = []
        self.add: list[str] = []
        self.env: dict[str, str] = {}
        self.dns: dict[str, Any] = {}
        self.read_only = False
        for name, value in given:
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        if name in ("cap-drop", "cap-add"):
            (self.drop if name == "cap-drop" else self.add).append(value.removeprefix("CAP_"))
        elif name in ("env", "e"):
            variable, _, text = value.partition("=")
            self.env[variable] = text
        elif name == "dns":
            self.dns.setdefault("nameservers", []).append(value)
        elif name == "dns-search":
            self.dns.setdefault("searches", []).append(value)
        elif name in ("dns-option", "dns-opt"):
            option, colon, text = value.partition(":")
            self.dns.setdefault("options", []).append({"name": option, "value": text} if colon else {"name": option})
        elif name == "read-only":
            self.read_only = value != "false"
        elif name not in _WITHOUT_EQUIVALENT:
            raise InvalidInput(
                f"docker run's {name!r:.80} has no equivalent in a pod: put what you need into --pod-template"
            )
