"""What events about nodes do: which there are, what they can give, and which get nothing."""

from __future__ import annotations

from owmesos.core.constraints import shared_attributes
from owmesos.core.explanation import in_words
from owmesos.kubernetes.closed_nodes import is_lost, why_closed
from owmesos.kubernetes.events import NodesListed
from owmesos.kubernetes.messages import Node
from owmesos.kubernetes.pods import Pods
from owmesos.kubernetes.state import FactoryState, slot_of


class Nodes:
    """Writes events about nodes into the state."""

    def __init__(self, state: FactoryState, pods: Pods) -> None:
        self._state = state
        self._pods = pods
        self._lost: set[str] = set()
        self._tolerations = tuple((state.settings.template.get("spec") or {}).get("tolerations") or ())

    def listed(self, event: NodesListed, now: float) -> None:
        state = self._state
        state.nodes_listed = True
        names = {node.metadata.name for node in event.nodes}
        for name in [each for each in state.room if each not in names]:
            self.deleted(name, now)
        for node in event.nodes:
            self.seen(node, now)
        state.update_known()
        state.refresh_all(now)

    def seen(self, node: Node, now: float) -> None:
        state, name = self._state, node.metadata.name
        agent = state.ledger.agent(name)
        attributes = shared_attributes(sorted(node.metadata.labels.items()))
        if agent.attributes != attributes or agent.gone_at is not None or name not in state.room:
            agent.attributes, agent.gone_at = attributes, None
            state.capacity.describe(agent)
        if state.room.node(node):
            agent.total = state.room.total(name)
            state.ledger.account(slot_of(name))
        self._bar(node)
        if is_lost(node) and name not in self._lost:
            self._lost.add(name)
            state.note("warning", f"node {name} is silent: its containers are given up")
            self._pods.node_lost(name, f"node {name} is silent", now)
        elif not is_lost(node):
            self._lost.discard(name)
        state.refresh(name, now)

    def deleted(self, name: str, now: float) -> None:
        state = self._state
        if not state.room.node_gone(name):
            return
        state.note("warning", f"node {name} is gone")
        state.closed.pop(name, None)
        self._lost.discard(name)
        state.ledger.lose_agent(name, now)
        state.judge(name)
        self._pods.node_lost(name, f"node {name} is gone", now)
        state.gone(name)
        state.forget_if_gone(name)

    def _bar(self, node: Node) -> None:
        state, name = self._state, node.metadata.name
        closed = why_closed(node, state.settings.node_selector, self._tolerations)
        before = state.closed.get(name)
        if closed is None:
            state.closed.pop(name, None)
        else:
            state.closed[name] = closed
        if closed != before:
            state.judge(name)
            said = f"{in_words(closed)}: it gets no starts" if closed is not None else "gets starts again"
            if state.known:
                state.note("info" if closed in (None, "unselected") else "warning", f"node {name} {said}")
