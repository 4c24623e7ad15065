"""All that the factory knows of the cluster, for the parts that decide on it: nodes, pods, posts."""

from __future__ import annotations

from collections import Counter, deque
from enum import Enum
from typing import Literal

from owmesos.core.backoff import Backoff
from owmesos.core.capacity import Capacity
from owmesos.core.container_factory import ClusterEvent
from owmesos.core.explanation import Exclusion
from owmesos.core.ledger import Account, Ledger
from owmesos.core.node_stats import NodeState, NodeStats, NodeStatsUpdate
from owmesos.core.placement import Slot
from owmesos.core.pool.additions import Additions
from owmesos.core.pool.events import PoolTick
from owmesos.core.timers import Timers
from owmesos.kubernetes.effects import DeletePod, KubernetesEffect, LogNote
from owmesos.kubernetes.node_room import NodeSums
from owmesos.kubernetes.pod_manifest import is_of_another_invoker
from owmesos.kubernetes.pod_records import PodRecord
from owmesos.kubernetes.settings import KubernetesSettings
from owmesos.resources import Resources

ROLE = "*"
_STATES: dict[Exclusion, NodeState] = {"backoff": NodeState.BACKOFF, "cordoned": NodeState.DRAINING}


class KubernetesTimer(str, Enum):
    """What may be due, of a pod (by name) or a node."""

    DEADLINE = "deadline"
    UNSCHEDULABLE = "unschedulable"
    UNANSWERED = "unanswered"
    POST_AGAIN = "post again"
    DELETE_AGAIN = "delete again"
    BACKOFF = "backoff"
    QUOTA = "quota"
    ADDITIONS = "additions"


def slot_of(node: str) -> Slot:
    """On Kubernetes a node has one kind of room for all."""
    return Slot(node, ROLE)


class FactoryState:
    """The parts change it; times are in seconds."""

    def __init__(self, settings: KubernetesSettings) -> None:
        self.settings = settings
        self.ledger = Ledger(settings.buffer)
        self.capacity = Capacity(self.ledger, settings.strategy, queues_starts=True)
        self.backoff = Backoff(settings)
        self.timers: Timers[KubernetesTimer] = Timers()
        self.room = NodeSums(lambda pod: is_of_another_invoker(pod, settings))
        self.records: dict[str, PodRecord] = {}  # by pod name
        self.on_node: dict[str, dict[str, PodRecord]] = {}  # by the node that a start is reserved on
        self.orphans: dict[str, str] = {}  # pods of ours that nobody knows: name → uid
        self.closed: dict[str, Exclusion] = {}  # nodes that get nothing, by what they say themselves
        self.nodes_listed = self.pods_listed = False
        self.quota: Counter[str] | None = None  # pods that may be started, by node, while a quota is exhausted
        self.quota_noted = False  # in the log, since a pod was last created
        self.additions = Additions()  # to our pods, by admission
        self.for_pool: deque[ClusterEvent | PoolTick] = deque()
        self._effects: list[KubernetesEffect] = []
        self._behind = self.ledger.watch()  # slots whose NodeStats are to be told
        self._gone: set[str] = set()
        self._told: dict[Slot, NodeStats | None] = {}

    # -- effects

    def emit(self, effect: KubernetesEffect) -> None:
        self._effects.append(effect)

    def note(self, level: Literal["debug", "info", "warning"], text: str) -> None:
        self._effects.append(LogNote(level, text))

    def take_effects(self) -> list[KubernetesEffect]:
        effects, self._effects = self._effects, []
        return effects

    # -- records

    def put(self, record: PodRecord) -> None:
        self.records[record.name] = record
        self.on_node.setdefault(record.start.slot.agent_id, {})[record.name] = record

    def drop(self, record: PodRecord) -> None:
        """Forget a container whose pod is gone, once the pool was told."""
        del self.records[record.name]
        node = record.start.slot.agent_id
        del self.on_node[node][record.name]
        if not self.on_node[node]:
            del self.on_node[node]
        for timer in (
            KubernetesTimer.DEADLINE,
            KubernetesTimer.UNSCHEDULABLE,
            KubernetesTimer.UNANSWERED,
            KubernetesTimer.POST_AGAIN,
            KubernetesTimer.DELETE_AGAIN,
        ):
            self.timers.cancel((timer, record.name))
        self.ledger.release(record.id)
        self.forget_if_gone(node)

    def delete(self, record: PodRecord) -> None:
        """Ask for its pod's deletion; again only when that was answered with an error."""
        record.deletes += 1
        self.emit(DeletePod(record.name, record.uid, record.grace))

    # -- room

    @property
    def known(self) -> bool:
        """The cluster is heard, and everything was listed."""
        return self.nodes_listed and self.pods_listed

    def update_known(self) -> None:
        """Nodes or pods were: whichever came last, now the cluster is known."""
        if self.known and not self.capacity.known:
            self.note("info", "the cluster is known")
        self.capacity.known = self.known

    def refresh(self, node: str, now: float) -> None:
        """What the node has free may have changed."""
        if not self.known or node not in self.room:
            return
        slot, free = slot_of(node), self.free(node)
        account = self.ledger.account(slot)
        if account.observed_at is None or account.held != free:
            self.ledger.offer(slot, free, now)

    def free(self, node: str) -> Resources:
        """What starts may take there: while a quota is exhausted, no more pods than it has room for."""
        free = self.room.free(node)
        if self.quota is None:
            return free
        pods = min(free.pods, self.quota[node])
        return Resources(free.milli_cpus, free.milli_mem, free.milli_disk, free.milli_gpus, free.ports, pods)

    def refresh_all(self, now: float) -> None:
        for node in self.room:
            self.refresh(node, now)

    def judge(self, node: str) -> None:
        """Whether the node may get starts."""
        closed = self.closed.get(node) or ("backoff" if self.backoff.agent_pause(node) is not None else None)
        if self.capacity.close(node, closed):
            self.ledger.mark(slot_of(node))

    def gone(self, node: str) -> None:
        """To be told with the next NodeStats."""
        self._gone.add(node)

    def forget_if_gone(self, node: str) -> None:
        """A node that was deleted is forgotten once no start of ours is reserved there."""
        agent = self.ledger.agents.get(node)
        if agent is not None and agent.gone_at is not None and node not in self.on_node:
            self.ledger.forget_agent(node)
            self.capacity.forget(node)
            self.backoff.forget(node)
            self.timers.cancel((KubernetesTimer.BACKOFF, node))

    # -- NodeStats

    def stats(self, account: Account) -> NodeStats:
        closed = self.capacity.closed.get(account.slot.agent_id)
        gone = self.ledger.agents[account.slot.agent_id].gone_at is not None
        return self.ledger.stats(account, None if gone or closed is None else _STATES.get(closed, NodeState.CLOSED))

    def take_stats(self) -> NodeStatsUpdate | None:
        """What differs from what was told last. A pool that only tries whether something would fit changes nothing."""
        accounts, told = self.ledger.accounts, self._told
        changed = []
        for slot in self._behind:
            stats = self.stats(accounts[slot]) if slot in accounts else None
            if stats != told.get(slot):
                told[slot] = stats
                if stats is not None:
                    changed.append(stats)
        self._behind.clear()
        gone, self._gone = self._gone, set()
        for node in gone:
            told.pop(slot_of(node), None)
        return NodeStatsUpdate(tuple(changed), tuple(sorted(gone))) if changed or gone else None
