"""Access by a kubeconfig, as kubectl has it: `--kubeconfig`, KUBECONFIG with several files, ~/.kube/config.

https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/ and
https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/. What it can say and we do not do
is rejected by name: an access that silently differs from kubectl's would be worse.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

import msgspec
import msgspec.yaml

from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.kubernetes.wire.access import (
    ApiCredentials,
    ClientCertificate,
    ClusterAccess,
    Credential,
    FileCredentials,
    FixedCredentials,
    checked_token,
    read_file,
    read_text,
    read_token,
)
from owmesos.kubernetes.wire.exec_plugin import API_VERSIONS, ExecCredentials, ExecPlugin
from owmesos.kubernetes.wire.in_cluster import in_cluster, is_in_cluster

_CLUSTER_CONFIG = "client.authentication.k8s.io/exec"  # the extension of a cluster that is for its exec plugin
S = TypeVar("S", bound=msgspec.Struct)


class _Entry(msgspec.Struct):
    """One of `clusters`, `users` or `contexts`; only the one that is used is looked into."""

    name: str
    cluster: Any = None
    user: Any = None
    context: Any = None


class _Document(msgspec.Struct, rename="kebab"):
    clusters: list[_Entry] | None = None
    users: list[_Entry] | None = None
    contexts: list[_Entry] | None = None
    current_context: str | None = None


class _Context(msgspec.Struct):
    cluster: str | None = None
    user: str | None = None
    namespace: str | None = None


class _Extension(msgspec.Struct):
    name: str
    extension: Any = None


class _Cluster(msgspec.Struct, rename="kebab"):
    server: str | None = None
    tls_server_name: str | None = None
    insecure_skip_tls_verify: bool | None = None
    certificate_authority: str | None = None
    certificate_authority_data: str | None = None
    proxy_url: str | None = None
    extensions: list[_Extension] | None = None


class _Variable(msgspec.Struct):
    name: str
    value: str = ""


class _Exec(msgspec.Struct, rename="camel"):
    command: str
    api_version: str | None = None
    args: list[str] | None = None
    env: list[_Variable] | None = None
    install_hint: str | None = None
    provide_cluster_info: bool | None = None
    interactive_mode: str | None = None


class _User(msgspec.Struct, rename="kebab"):
    client_certificate: str | None = None
    client_certificate_data: str | None = None
    client_key: str | None = None
    client_key_data: str | None = None
    token: str | None = None
    token_file: str | None = msgspec.field(default=None, name="tokenFile")
    username: str | None = None
    password: str | None = None
    auth_provider: Any = None
    exec: _Exec | None = None
    as_: str | None = msgspec.field(default=None, name="as")
    as_uid: str | None = None
    as_groups: list[str] | None = None
    as_user_extra: Any = None


class _Found(NamedTuple):
    """What an entry says, and in which file."""

    value: Any
    file: Path

    def path(self, name: str) -> Path:
        """Relative to the file's folder."""
        return self.file.parent / name


@dataclass
class Kubeconfig:
    """Several files as one: of each name, and of the current context, the first file that has it counts."""

    files: tuple[Path, ...]
    clusters: dict[str, _Found] = field(default_factory=dict)
    users: dict[str, _Found] = field(default_factory=dict)
    contexts: dict[str, _Found] = field(default_factory=dict)
    current_context: str | None = None

    def add(self, text: str, file: Path) -> None:
        """Raises InvalidInput if `text` is not a kubeconfig. `file` is where it is from."""
        try:
            parsed = msgspec.yaml.decode(text)
        except (*NOT_READABLE, ValueError) as error:  # its text may quote a secret
            line = re.search(r"line \d+", str(error))
            raise InvalidInput(f"the kubeconfig {file} is not valid YAML{f' ({line[0]})' if line else ''}") from None
        document = _converted(parsed if parsed is not None else {}, _Document, f"the kubeconfig {file}")
        for kind, entries, into in (
            ("cluster", document.clusters, self.clusters),
            ("user", document.users, self.users),
            ("context", document.contexts, self.contexts),
        ):
            for entry in entries or ():
                into.setdefault(entry.name, _Found(getattr(entry, kind), file))
        self.current_context = self.current_context or document.current_context

    def access(self, context: str | None = None) -> ClusterAccess:
        """By `context`, else the current one. Raises InvalidInput."""
        name = context or self.current_context
        where = ", ".join(str(file) for file in self.files)
        if not self.contexts:
            missing = f"no context {name!r}, and no other," if name else "no context"
            raise InvalidInput(
                f"there is {missing} in {where}: give a kubeconfig with one, by --kubeconfig or KUBECONFIG"
            )
        if not name:
            raise InvalidInput(f"{where} names no current-context: give a context, one of {_names(self.contexts)}")
        if name not in self.contexts:
            raise InvalidInput(f"there is no context {name!r} in {where}: give one of {_names(self.contexts)}")
        chosen = _part(self.contexts, name, _Context, "context")
        source = f"context {name} of {self.contexts[name].file}"
        if not chosen.cluster or chosen.cluster not in self.clusters:
            raise InvalidInput(f"{source}: {_not_there('cluster', chosen.cluster, self.clusters)}")
        if chosen.user and chosen.user not in self.users:
            raise InvalidInput(f"{source}: {_not_there('user', chosen.user, self.users)}")
        cluster = _part(self.clusters, chosen.cluster, _Cluster, "cluster")
        authority = _authority(cluster, self.clusters[chosen.cluster], source)
        credentials: ApiCredentials = FixedCredentials(Credential(), "no credentials")
        if chosen.user:
            user = _part(self.users, chosen.user, _User, "user")
            about = _about(cluster, authority)
            credentials = _credentials(user, self.users[chosen.user], f"user {chosen.user} of {source}", about)
        _check_cluster(cluster, source)
        return ClusterAccess(
            server=(cluster.server or "").rstrip("/"),
            credentials=credentials,
            source=source,
            authority=authority,
            server_name=cluster.tls_server_name or None,
            proxy=cluster.proxy_url or None,
            namespace=chosen.namespace or "default",
        )


def find_access(
    kubeconfig: Path | None = None, context: str | None = None, environment: Mapping[str, str] = os.environ
) -> ClusterAccess:
    """By a kubeconfig if there is one, else as the pod that this process runs in. Raises InvalidInput."""
    files = kubeconfig_files(kubeconfig, environment)
    there = [file for file in files if file.exists()]
    if there:
        return read_kubeconfig(there).access(context)
    if kubeconfig is None and context is None and is_in_cluster(environment):
        return in_cluster(environment)
    looked = " and ".join(str(file) for file in files)
    raise InvalidInput(f"no kubeconfig: {looked} does not exist, and this is not a pod; give one by --kubeconfig")


def kubeconfig_files(given: Path | None, environment: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where to look, as kubectl does: `given` alone, else those that KUBECONFIG names, else ~/.kube/config."""
    if given is not None:
        return (given,)
    named = tuple(Path(each) for each in environment.get("KUBECONFIG", "").split(os.pathsep) if each)
    return named or (Path(environment.get("HOME") or "~").expanduser() / ".kube" / "config",)


def read_kubeconfig(files: Sequence[Path]) -> Kubeconfig:
    """Raises InvalidInput if one cannot be read or is not valid."""
    found = Kubeconfig(tuple(files))
    for file in files:
        found.add(read_text(file, "kubeconfig"), file)
    return found


def _part(entries: Mapping[str, _Found], name: str, kind: type[S], what: str) -> S:
    value, file = entries[name]
    return _converted(value if value is not None else {}, kind, f"{what} {name} of {file}")


def _converted(value: Any, kind: type[S], what: str) -> S:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"{what} is not valid: {error}") from None


def _names(entries: Mapping[str, object]) -> str:
    return ", ".join(entries)


def _not_there(what: str, name: str | None, entries: Mapping[str, object]) -> str:
    """That a context names something that its kubeconfig does not have."""
    missing = f"there is no {what} {name!r}" if name else f"it names no {what}"
    instead = f"name one of {_names(entries)}" if entries else f"add it, there is no {what} at all"
    return f"{missing}: {instead}"


def _check_cluster(cluster: _Cluster, source: str) -> None:
    if cluster.insecure_skip_tls_verify:
        raise InvalidInput(
            f"{source}: insecure-skip-tls-verify is not supported, TLS is always verified:"
            " give the cluster's certificate-authority"
        )
    if cluster.proxy_url and _scheme(cluster.proxy_url) not in ("http", "https"):
        raise InvalidInput(f"{source}: the proxy-url {cluster.proxy_url!r} is not supported: give one with http://")


def _scheme(url: str) -> str:
    """Empty if it is not a URL."""
    try:
        return urlsplit(url).scheme
    except ValueError:
        return ""


def _authority(cluster: _Cluster, found: _Found, source: str) -> Callable[[], str] | None:
    """Like kubectl, data before a file. A file is read at each connection's beginning, since it may be replaced."""
    if cluster.certificate_authority_data:
        data = _decoded(cluster.certificate_authority_data, f"{source}: certificate-authority-data")
        try:
            text = data.decode()
        except UnicodeDecodeError:
            raise InvalidInput(f"{source}: certificate-authority-data is not PEM in base64") from None
        return lambda: text
    if cluster.certificate_authority:
        file = found.path(cluster.certificate_authority)
        read_text(file, "certificate authority")
        return lambda: read_text(file, "certificate authority")
    return None


def _decoded(data: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{what} is not valid base64") from None


def _about(cluster: _Cluster, authority: Callable[[], str] | None) -> Callable[[], dict[str, Any]]:
    """The cluster as an exec plugin is told of it."""

    def about() -> dict[str, Any]:
        said: dict[str, Any] = {"server": cluster.server}
        if cluster.tls_server_name:
            said["tls-server-name"] = cluster.tls_server_name
        if authority is not None:
            said["certificate-authority-data"] = base64.b64encode(authority().encode()).decode()
        if cluster.proxy_url:
            said["proxy-url"] = cluster.proxy_url
        for each in cluster.extensions or ():
            if each.name == _CLUSTER_CONFIG:
                said["config"] = each.extension
        return said

    return about


def _credentials(user: _User, found: _Found, source: str, about: Callable[[], dict[str, Any]]) -> ApiCredentials:
    """Raises InvalidInput. A token before an exec plugin, a token's file before a token, data before a file."""
    _reject_unsupported(user, source)
    certificate = _certificate(user, found, source)
    if user.token_file:
        file = found.path(user.token_file)
        return FileCredentials(
            lambda: Credential(read_token(file), certificate and certificate()), f"the token in {file} of {source}"
        )
    token = checked_token(user.token, f"{source}: the token") if user.token else None
    if token is None and user.exec is not None:
        return ExecCredentials(_plugin(user.exec, found, source, about))
    if certificate is None:
        return FixedCredentials(Credential(token), f"the token of {source}" if token else "no credentials")
    return FileCredentials(lambda: Credential(token, certificate()), f"the client certificate of {source}")


def _reject_unsupported(user: _User, source: str) -> None:
    instead = "give a token, a client certificate or an exec plugin"
    if user.username or user.password:
        raise InvalidInput(f"{source}: basic authentication (username, password) is not supported: {instead}")
    if user.auth_provider is not None:
        raise InvalidInput(f"{source}: auth-provider is not supported, Kubernetes 1.26 removed it: {instead}")
    if user.as_ or user.as_uid or user.as_groups or user.as_user_extra:
        raise InvalidInput(f"{source}: impersonation (as, as-groups) is not supported: give the user's own credentials")


def _certificate(user: _User, found: _Found, source: str) -> Callable[[], ClientCertificate] | None:
    """None if the user has none. What is returned raises InvalidInput if a file cannot be read."""

    def read(data: str | None, name: str | None, what: str) -> Callable[[], bytes] | None:
        if data:
            decoded = _decoded(data, f"{source}: {what}-data")
            return lambda: decoded
        if name:
            file = found.path(name)
            return lambda: read_file(file, what)
        return None

    certificate = read(user.client_certificate_data, user.client_certificate, "client-certificate")
    key = read(user.client_key_data, user.client_key, "client-key")
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput(f"{source}: a client certificate needs its key: give both")
    return lambda: ClientCertificate(certificate(), key())


def _plugin(exec_: _Exec, found: _Found, source: str, about: Callable[[], dict[str, Any]]) -> ExecPlugin:
    if exec_.api_version not in API_VERSIONS:
        raise InvalidInput(f"{source}: the exec plugin's apiVersion {exec_.api_version!r} is not {API_VERSIONS[0]}")
    if exec_.interactive_mode == "Always":
        raise InvalidInput(f"{source}: the exec plugin {exec_.command} needs a terminal (interactiveMode: Always)")
    command = exec_.command
    if os.sep in command:  # otherwise it is looked for in PATH
        command = str(found.path(command))
    return ExecPlugin(
        api_version=exec_.api_version,
        command=command,
        args=tuple(exec_.args or ()),
        env=tuple((each.name, each.value) for each in exec_.env or ()),
        install_hint=exec_.install_hint or "",
        cluster=about() if exec_.provide_cluster_info else None,
    )
