"""The processes of a cluster: etcd, the API server, the controller manager, the scheduler, kubelets, kwok."""

from __future__ import annotations

import secrets
import ssl
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from owmesos.system.private_files import make_private_folder, write_private
from tests.servers.kubernetes.build import Build
from tests.servers.process import Server

API_PORT, ETCD_PORT, ETCD_PEER_PORT, CONTROLLERS_PORT, SCHEDULER_PORT, KWOK_PORT = 6443, 2379, 2380, 6444, 6445, 6446
KUBELET_PORT = 10250
KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: tests
contexts: [{{name: tests, context: {{cluster: tests, user: admin, namespace: default}}}}]
clusters: [{{name: tests, cluster: {{server: "https://{address}", certificate-authority: "{authority}"}}}}]
users: [{{name: admin, user: {{token: {token}}}}}]
"""


@dataclass(frozen=True)
class Place:
    """Where the parts of one cluster are. `net` is its own: 127.NET.0.254 the control plane, 127.NET.0.N node N, and
    127.(NET + 100).N.* that node's pods."""

    folder: Path
    net: int
    build: Build
    detached: bool = False

    @property
    def control(self) -> str:
        return f"127.{self.net}.0.254"

    def node(self, number: int) -> str:
        return f"127.{self.net}.0.{number}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's."""
        return self.folder / "kubeconfig"

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.folder / "kube-apiserver" / "certs" / "apiserver.crt"

    @property
    def token(self) -> str:
        return (self.folder / "token").read_text()

    def prepare(self) -> None:
        """Secrets, and the kubeconfig, once."""
        make_private_folder(self.folder, ("kubeconfig",))
        if self.kubeconfig.exists():
            return
        token = secrets.token_hex(16)
        write_private(self.folder / "token", token)
        write_private(self.folder / "tokens.csv", f"{token},admin,admin,system:masters\n")
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
        )
        write_private(self.folder / "service-accounts.key", key.decode())
        address = f"{self.control}:{API_PORT}"
        text = KUBECONFIG.format(address=address, authority=self.authority, token=token)
        write_private(self.kubeconfig, text)


class Part(Server):
    """`arguments` are those of the program that `name` says. It answers as soon as its process is there."""

    lifeline = "KUBERNETES_LIFELINE"

    def __init__(self, place: Place, name: str, arguments: Sequence[str], *, folder: str = "") -> None:
        super().__init__(place.folder / (folder or name), 0)
        self.name = folder or name
        self.place = place
        self._command = [str(place.build.program), name, *arguments]
        if place.detached:
            self.lifeline = ""

    @property
    def address(self) -> str:
        return self.place.control

    def command(self) -> list[str]:
        return self._command

    def answers(self) -> bool:
        return True


class ApiServer(Part):
    """It answers when it is ready."""

    def answers(self) -> bool:
        if not self.place.authority.exists():
            return False
        context = ssl.create_default_context(cafile=str(self.place.authority))
        url = f"https://{self.place.control}:{API_PORT}/readyz"
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {self.place.token}"})
        try:
            with urllib.request.urlopen(request, timeout=2, context=context) as response:
                return bool(response.status == 200)
        except urllib.error.HTTPError:
            return False  # not yet ready


def etcd(place: Place) -> Part:
    client, peer = f"http://{place.control}:{ETCD_PORT}", f"http://{place.control}:{ETCD_PEER_PORT}"
    arguments = [
        *("--data-dir", "data", "--log-level", "warn", "--unsafe-no-fsync"),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"),
    ]
    return Part(place, "etcd", arguments)


def api_server(place: Place, flags: Sequence[str]) -> ApiServer:
    key = str(place.folder / "service-accounts.key")
    arguments = [
        *("--etcd-servers", f"http://{place.control}:{ETCD_PORT}", "--endpoint-reconciler-type", "none"),
        *("--bind-address", place.control, "--advertise-address", place.control, "--secure-port", str(API_PORT)),
        *("--cert-dir", "certs", "--token-auth-file", str(place.folder / "tokens.csv"), "--authorization-mode", "RBAC"),
        *("--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", key),
        *("--service-account-signing-key-file", key, "--service-cluster-ip-range", "10.0.0.0/24"),
        *("--kubelet-preferred-address-types", "InternalIP"),
        *flags,
    ]
    return ApiServer(place, "kube-apiserver", arguments)


def controller_manager(place: Place, lost_after: int, flags: Sequence[str]) -> Part:
    """`lost_after`: seconds of silence after which a node counts as lost."""
    arguments = [
        *("--kubeconfig", str(place.kubeconfig), "--leader-elect=false", "--cert-dir", "certs"),
        *("--bind-address", place.control, "--secure-port", str(CONTROLLERS_PORT)),
        *("--use-service-account-credentials=false", "--kube-api-qps", "200", "--kube-api-burst", "400"),
        *("--service-account-private-key-file", str(place.folder / "service-accounts.key")),
        *("--node-monitor-grace-period", f"{lost_after}s", "--node-monitor-period", "1s"),
        *flags,
    ]
    return Part(place, "kube-controller-manager", arguments)


def scheduler(place: Place, flags: Sequence[str]) -> Part:
    access = str(place.kubeconfig)
    arguments = [
        *("--kubeconfig", access, "--authentication-kubeconfig", access, "--authorization-kubeconfig", access),
        *("--leader-elect=false", "--cert-dir", "certs"),
        *("--bind-address", place.control, "--secure-port", str(SCHEDULER_PORT)),
        *flags,
    ]
    return Part(place, "kube-scheduler", arguments)


def kubelet(place: Place, number: int, cpus: int, memory: str, lost_after: int) -> Part:
    """It renews its lease often enough that one renewal may come late."""
    folder = f"node-{number}"
    arguments = [
        *("--kubeconfig", str(place.kubeconfig), "--root", str(place.folder / folder)),
        *("--address", place.node(number), "--pods", f"127.{place.net + 100}.{number}."),
        *("--cpus", str(cpus), "--memory", memory, "--lease", str(lost_after)),
    ]
    return Part(place, "node", arguments, folder=folder)


def kwok(place: Place) -> Part:
    arguments = [
        *("--kubeconfig", str(place.kubeconfig), "--config", str(place.build.stages)),
        *("--manage-nodes-with-label-selector", "type=kwok", "--node-lease-duration-seconds", "40"),
        *("--server-address", f"{place.control}:{KWOK_PORT}", "--cidr", "127.99.0.0/16"),
    ]
    return Part(place, "kwok", arguments)
