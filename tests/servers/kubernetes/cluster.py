"""A cluster of one control plane, kubelets, and nodes that kwok pretends. It ends with the process that started it."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from owmesos.local.proc import with_variable
from owmesos.system.file_lock import FileLock
from tests.servers.kubernetes import parts
from tests.servers.kubernetes.api import Api, ApiRefused, Json
from tests.servers.kubernetes.build import Build
from tests.servers.kubernetes.parts import Part, Place
from tests.waiting import eventually

NETS = range(1, 100)
LOST_AFTER = 12  # seconds; with less than ten, kubelets on a busy machine count as lost now and then
CPUS, MEMORY = 4, "8Gi"
_POSTING = 8  # threads that post kwok's nodes: one takes 70 s for a thousand
_CONDITION = "node.kubernetes.io/"  # how the keys of taints begin that stand for a node's state
_SILENT: Callable[[str], None] = lambda _: None  # noqa: E731


@contextmanager
def reserved_net() -> Iterator[int]:
    """A net that no other cluster of this machine has."""
    folder = Path(tempfile.gettempdir()) / f"owmesos-test-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    begin = os.getpid() * 37 % len(NETS)
    for net in (*NETS[begin:], *NETS[:begin]):
        lock = FileLock(folder / f"kubernetes-{net}")
        if not lock.acquire(timeout=0):
            continue
        try:
            if net_is_free(net):
                yield net
                return
        finally:
            lock.release()
    raise AssertionError("no net of the loopback is free: other clusters have 127.1.0.0 to 127.99.0.0")


def net_is_free(net: int) -> bool:
    wanted = [(f"127.{net}.0.254", parts.API_PORT), (f"127.{net}.0.1", parts.KUBELET_PORT)]
    return all(map(_is_free, wanted))


def _is_free(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError:
            return False
    return True


class KubernetesCluster:
    """`with KubernetesCluster(…) as cluster:` is `up` and `down`. A node's name is its address."""

    def __init__(
        self,
        folder: Path,
        build: Build,
        net: int,
        *,
        nodes: int = 3,
        kwok: int = 0,
        cpus: int = CPUS,
        memory: str = MEMORY,
        lost_after: int = LOST_AFTER,
        flags: Mapping[str, Sequence[str]] | None = None,
        detached: bool = False,
    ) -> None:
        """`cpus` and `memory` of each node. `flags`: more for `kube-apiserver`, `kube-controller-manager` or
        `kube-scheduler`. With `detached` it stays until `down`, and who knows its folder finds it."""
        self.place = Place(folder.resolve(), net, build, detached)
        self._room = (cpus, memory)
        self._lost_after = lost_after
        self._kwok_nodes = kwok
        more = flags or {}
        place = self.place
        self.place.prepare()
        self._parts: dict[str, Part] = {}
        for part in (
            parts.etcd(place),
            parts.api_server(place, more.get("kube-apiserver", ())),
            parts.controller_manager(place, lost_after, more.get("kube-controller-manager", ())),
            parts.scheduler(place, more.get("kube-scheduler", ())),
            *([parts.kwok(place)] if kwok else []),
        ):
            self._parts[part.name] = part
        self.nodes: list[str] = []
        """The names of those with a kubelet."""
        for _ in range(nodes):
            self._one_more_kubelet()

    # -- where it is

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, readable by this user alone."""
        return self.place.kubeconfig

    @property
    def url(self) -> str:
        return f"https://{self.place.control}:{parts.API_PORT}"

    @property
    def token(self) -> str:
        """The administrator's."""
        return self.place.token

    @property
    def authority(self) -> Path:
        """The certificate to trust."""
        return self.place.authority

    def ssl_context(self) -> ssl.SSLContext:
        """For a client that trusts `authority`."""
        return ssl.create_default_context(cafile=str(self.authority))

    def api(self) -> Api:
        """A connection of its own; for a `with`."""
        return Api(self.place.control, parts.API_PORT, self.token, self.authority)

    # -- its life

    def __enter__(self) -> KubernetesCluster:
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self.down()

    def up(self, progress: Callable[[str], None] = _SILENT) -> None:
        """Returns when pods can be posted and all nodes are ready. After a failure nothing is left running."""
        try:
            progress("starting etcd and kube-apiserver")
            self._launch("etcd")
            self._launch("kube-apiserver")
            self._parts["kube-apiserver"].wait()
            for name in self._parts:
                self._launch(name)
            if self._kwok_nodes:
                progress(f"posting {self._kwok_nodes} nodes for kwok")
                self._post_kwok_nodes()
            progress("waiting for the nodes")
            self._wait_complete()
        except BaseException:
            self.down(force=True)
            raise

    def down(self, *, force: bool = False) -> None:
        """Ends all processes, containers too. The folder stays, and with it all that the API server knew."""
        for name in reversed([*self._parts]):
            self._parts[name].stop(force=force or not self.place.detached)
        self._end_containers(self.place.folder)

    def status(self) -> dict[str, int | None]:
        """The pid of each part, None where it does not run."""
        return {name: part.pid for name, part in self._parts.items()}

    # -- what befalls it

    def kill_api_server(self) -> None:
        self._parts["kube-apiserver"].stop(force=True)

    def start_api_server(self) -> None:
        """Returns when it is ready."""
        self._parts["kube-apiserver"].start()

    def kill_node(self, name: str) -> None:
        """The kubelet, and its containers: nobody says so, as where a machine loses its power."""
        part = self._kubelet(name)
        part.stop(force=True)
        self._end_containers(part.folder)

    def start_node(self, name: str) -> None:
        """Returns when the node is ready, by what it says from now on."""
        before = self._renewed(name)
        self._kubelet(name).launch()
        self._eventually(lambda: self._renewed(name) != before and name in self._ready_nodes(), f"{name} is ready")

    def add_node(self) -> str:
        """One more, with a kubelet; returns its name when it is ready."""
        name = self._one_more_kubelet()
        self.start_node(name)
        return name

    # -- inside

    def _one_more_kubelet(self) -> str:
        number = len(self.nodes) + 1
        part = parts.kubelet(self.place, number, *self._room, self._lost_after)
        self._parts[part.name] = part
        self.nodes.append(self.place.node(number))
        return self.nodes[-1]

    def _kubelet(self, name: str) -> Part:
        return self._parts[f"node-{self.nodes.index(name) + 1}"]

    def _launch(self, name: str) -> None:
        if self._parts[name].pid is None:
            self._parts[name].launch()

    def _renewed(self, name: str) -> str:
        """When the node renewed its lease, empty if it never did."""
        with self.api() as api:
            try:
                lease = api.get(f"/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/{name}")
            except ApiRefused as error:
                if error.status != 404:
                    raise
                return ""
        return str(lease["spec"]["renewTime"])

    def _eventually(self, found: Callable[[], bool], what: str, timeout: float = 90.0, interval: float = 0.1) -> None:
        def checked() -> bool:
            self._require_alive()
            return found()

        eventually(checked, timeout, interval=interval, what=what, retry_on=(OSError,))

    def _require_alive(self) -> None:
        """What was started and not killed; a part that ended says why in its log."""
        for name, part in self._parts.items():
            if part.ended_by_itself is not None:
                lines = (part.folder / "log").read_text(errors="replace").splitlines()
                raise AssertionError(f"{name} has ended: {lines[-1] if lines else 'it wrote nothing'} ({part.folder})")

    def _wait_complete(self) -> None:
        kwok = self._kwok_nodes

        def complete() -> bool:
            ready = self._ready_nodes()
            if not set(self.nodes) <= ready or len(ready) < len(self.nodes) + kwok:
                return False
            with self.api() as api:
                try:
                    api.get("/api/v1/namespaces/default/serviceaccounts/default")
                except ApiRefused as error:
                    if error.status != 404:
                        raise
                    return False  # without it every pod is refused
            return True

        what = f"{len(self.nodes) + kwok} nodes are ready, see the logs below {self.place.folder}"
        self._eventually(complete, what, timeout=120 + kwok / 2, interval=0.1 if kwok < 100 else 2.0)

    def _ready_nodes(self) -> set[str]:
        with self.api() as api:
            nodes = api.get("/api/v1/nodes")["items"]
        return {each["metadata"]["name"] for each in nodes if node_is_ready(each)}

    def _post_kwok_nodes(self) -> None:
        numbers = iter(range(1, self._kwok_nodes + 1))
        lock = threading.Lock()
        failures: list[Exception] = []

        def post_some() -> None:
            with self.api() as api:
                while not failures:
                    with lock:
                        number = next(numbers, None)
                    if number is None:
                        return
                    try:
                        api.post("/api/v1/nodes", kwok_node(number, *self._room))
                    except ApiRefused as error:
                        if error.status != 409:  # it is there from an earlier `up`
                            failures.append(error)
                    except OSError as error:
                        failures.append(error)

        threads = [threading.Thread(target=post_some) for _ in range(_POSTING)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    @staticmethod
    def _end_containers(folder: Path) -> None:
        """Those that outlived a kubelet which was killed: children of containers."""
        for pid in with_variable("NODE_ROOT", str(folder)):
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGKILL)


def node_is_ready(node: Json) -> bool:
    """And the controllers have taken away the taints of a node that is not; a cordon does not count."""
    conditions = node["status"].get("conditions", [])
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    taints = {each["key"] for each in node["spec"].get("taints", [])}
    return ready and not any(key.startswith(_CONDITION) and key != f"{_CONDITION}unschedulable" for key in taints)


def kwok_node(number: int, cpus: int, memory: str) -> Json:
    """kwok-1 and so on; one in ten is in the same rack."""
    room = {"cpu": str(cpus), "memory": memory, "pods": "110", "ephemeral-storage": "100Gi"}
    labels = {"type": "kwok", "kubernetes.io/hostname": f"kwok-{number}", "rack": f"r{number % 10}"}
    annotations = {"kwok.x-k8s.io/node": "fake"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": f"kwok-{number}", "labels": labels, "annotations": annotations},
        "status": {"allocatable": room, "capacity": room},
    }
