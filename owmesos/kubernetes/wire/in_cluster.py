"""Access from within a pod: the API server in the environment, the service account's files.

https://kubernetes.io/docs/tasks/run-application/access-api-from-pod/. The kubelet replaces the token's file before it
expires, and that of the authority when it changes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from owmesos.errors import InvalidInput
from owmesos.kubernetes.wire.access import ClusterAccess, Credential, FileCredentials, read_text, read_token

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_HOST, _PORT = "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"


def is_in_cluster(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> bool:
    """Whether this process is in a pod that has a service account's token."""
    return bool(environment.get(_HOST)) and (folder / "token").exists()


def in_cluster(environment: Mapping[str, str] = os.environ, folder: Path = SERVICE_ACCOUNT) -> ClusterAccess:
    """Raises InvalidInput if this process is not in a pod, or its pod has no service account's token."""
    host, port = environment.get(_HOST), environment.get(_PORT)
    if not host or not port:
        raise InvalidInput(f"this is not a pod of a Kubernetes cluster: {_HOST} and {_PORT} are not set")
    token, authority, namespace = folder / "token", folder / "ca.crt", folder / "namespace"
    if not token.exists():
        raise InvalidInput(f"{token} is missing: set automountServiceAccountToken, or give a kubeconfig")
    read_text(authority, "certificate authority")
    return ClusterAccess(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        credentials=FileCredentials(lambda: Credential(token=read_token(token)), f"the token in {token}"),
        source=f"the service account in {folder}",
        authority=lambda: read_text(authority, "certificate authority"),
        namespace=read_text(namespace, "namespace file").strip() if namespace.exists() else "default",
    )
