"""`owmesos run --cluster kubernetes`: its options, and what is made of them."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import click

from owmesos.cli.options import Option
from owmesos.errors import InvalidInput, os_errors_as_invalid_input

if TYPE_CHECKING:
    from owmesos.core.ledger import Buffer
    from owmesos.core.placement import Strategy
    from owmesos.kubernetes.settings import KubernetesSettings
    from owmesos.kubernetes.wire.access import ClusterAccess

_ONLY_MESOS = (
    *("master", "role", "user", "driver", "new_framework", "gpus", "refuse_oversized"),
    *("principal", "secret_file", "tls_ca", "tls_cert", "tls_key"),
)
"""Options of `owmesos run` that say nothing on Kubernetes."""


@dataclass(frozen=True)
class KubernetesOptions:
    """None for what was not given."""

    kubeconfig: Annotated[
        Path | None, Option("Kubeconfig. [default: KUBECONFIG, else ~/.kube/config, else the pod's own account]", "F")
    ] = None
    context: Annotated[str | None, Option("Context of the kubeconfig. [default: its current one]", "C")] = None
    namespace: Annotated[str | None, Option("Namespace for containers. [default: the context's]", "N")] = None
    pod_template: Annotated[Path | None, Option("YAML file with a Pod to merge into each container's.", "F")] = None
    node_selector: Annotated[tuple[str, ...], Option("Label that nodes must have. May be repeated.", "NAME=VALUE")] = ()
    image_pull_secret: Annotated[tuple[str, ...], Option("Secret to pull images with. May be repeated.", "S")] = ()
    priority_class: Annotated[str | None, Option("PriorityClass of the pods.", "P")] = None
    invoker_name: Annotated[
        str | None,
        Option("Label by which the next start finds its pods. [default: invokerN with --kafka, else --name]", "N"),
    ] = None

    def access(self) -> ClusterAccess:
        """Raises InvalidInput."""
        from owmesos.kubernetes.wire.kubeconfig import find_access

        return find_access(self.kubeconfig, self.context)

    def settings(self, access: ClusterAccess, invoker: str, buffer: Buffer, strategy: Strategy) -> KubernetesSettings:
        """`invoker`: the name where none was given. Raises InvalidInput."""
        from owmesos.kubernetes.settings import KubernetesSettings

        return KubernetesSettings(
            namespace=self.namespace or access.namespace,
            invoker=self.invoker_name or invoker,
            incarnation=secrets.token_hex(8),
            buffer=buffer,
            strategy=strategy,
            node_selector=dict(map(_label, self.node_selector)),
            priority_class=self.priority_class,
            pull_secrets=self.image_pull_secret,
            template=_template(self.pod_template) if self.pod_template is not None else {},
        )


def reject_options_of_others(cluster: str) -> None:
    """Raises InvalidInput for an option that says nothing on this cluster."""
    own = [field.name for field in fields(KubernetesOptions)]
    context = click.get_current_context()
    for name in _ONLY_MESOS if cluster == "kubernetes" else own:
        if context.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT):
            flag, other = f"--{name.replace('_', '-')}", "Mesos" if cluster == "kubernetes" else "Kubernetes"
            where = _origin(context, name)
            raise InvalidInput(f"{flag}{where} is an option for {other}: it has no effect with --cluster {cluster}")


def _origin(context: click.Context, name: str) -> str:
    """Where it was set, unless that is the command line."""
    source = context.get_parameter_source(name)
    if source is click.core.ParameterSource.ENVIRONMENT:
        return " (from the environment)"
    return " (from --config)" if source is click.core.ParameterSource.DEFAULT_MAP else ""


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise InvalidInput(f"--node-selector {text!r:.100} must be NAME=VALUE")
    return name, value


def _template(file: Path) -> Mapping[str, Any]:
    """Raises InvalidInput."""
    import yaml  # type: ignore[import-untyped]

    from owmesos.kubernetes.pod_template import check_template

    with os_errors_as_invalid_input(f"the pod template {file} cannot be read"):
        try:
            found = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidInput(f"the pod template {file} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise InvalidInput(f"the pod template {file} is not a Pod: it must be one mapping")
    check_template(found)
    return found
