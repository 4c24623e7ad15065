"""Frameworks: how they come, change, go away, come back, and end."""

from __future__ import annotations

from collections import deque

import msgspec

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, FrameworkInfo, MasterInfo
from owmesos.mesos.messages.values import Address, Capability
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import Books, with_id
from owmesos.simulator.master.constraints import compile_constraints
from owmesos.simulator.master.effects import Tell
from owmesos.simulator.master.framework_checks import (
    constraints_error,
    info_error,
    suppressed_error,
    unchangeable_error,
)
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.records import FrameworkRecord
from owmesos.simulator.protocol import EndFramework, FrameworkBack

VERSION = "1.11.0"


class Subscriptions:
    def __init__(self, books: Books, allocator: Allocator, maintenance: Maintenance) -> None:
        self._books = books
        self._allocator = allocator
        self._maintenance = maintenance

    # -- SUBSCRIBE

    def subscribe(self, stream: str, call: messages.Subscribe, principal: str | None) -> None:
        """A refusal by content is an ERROR event and the end of the stream."""
        books, info = self._books, call.framework_info
        if principal is not None and info.principal not in (None, principal):
            whose = f"does not match principal '{info.principal}' set in `FrameworkInfo`"
            books.answer(400, f"Authenticated principal '{principal}' {whose}")
            return
        books.answer(200)
        error = (
            info_error(info)
            or suppressed_error(info, call.suppressed_roles)
            or constraints_error(call.offer_constraints)
        )
        framework_id = info.id.value if info.id is not None and info.id.value else None
        if error is None and framework_id in books.completed:
            error = "Framework has been removed"
        if error is not None:
            self._refuse(stream, error)
            return
        framework = books.frameworks.get(framework_id) if framework_id is not None else None
        displacing = False
        if framework is None:
            framework = self._add(info, framework_id)
        else:
            displacing = framework.connected
            self._come_back(framework, info)
        self._connect(framework, stream, call)
        if not displacing:
            self._allocator.run()

    def _refuse(self, stream: str, error: str) -> None:
        self._books.effects.append(Tell(stream, messages.Error(error)))
        self._books.end_stream(stream)

    def _add(self, info: FrameworkInfo, framework_id: str | None) -> FrameworkRecord:
        """An id that was never seen is adopted."""
        books = self._books
        framework_id = framework_id or books.next_id("F")
        framework = FrameworkRecord(framework_id, with_id(info, framework_id), books.now)
        framework.describe(framework.info)
        books.frameworks[framework_id] = framework
        books.publish("FRAMEWORK_ADDED", framework={"framework_info": framework.info, "active": True})
        return framework

    def recover(self, info: FrameworkInfo) -> FrameworkRecord:
        """A framework of which an agent tells, before it is back itself."""
        assert info.id is not None
        framework = self._books.frameworks.get(info.id.value)
        if framework is None:
            framework = self._add(info, info.id.value)
            framework.recovered = True
        return framework

    def _come_back(self, framework: FrameworkRecord, info: FrameworkInfo) -> None:
        """Another user, principal or checkpoint is ignored without a word."""
        books = self._books
        kept = {name: getattr(framework.info, name) for name in ("user", "principal", "checkpoint")}
        if framework.connected:
            books.tell(framework, messages.Error("Framework failed over"))
            books.end_stream(framework.stream)
            self._stop_stream(framework)
            for offer in list(framework.offers.values()):
                books.drop_offer(offer, rescind=False)
            self._maintenance.forget_framework(framework)
        if not framework.recovered:
            framework.reregistered_at = books.now
        framework.recovered = False
        before = framework.roles
        framework.describe(with_id(msgspec.structs.replace(info, **kept), framework.id))
        self._leave_roles(framework, before)
        if framework.removal is not None:
            framework.removal.cancel()
            framework.removal = None

    def _connect(self, framework: FrameworkRecord, stream: str, call: messages.Subscribe) -> None:
        books = self._books
        framework.stream, framework.connected, framework.active = stream, True, True
        books.streams[stream] = framework
        self._set_wishes(framework, call.suppressed_roles, call.offer_constraints)
        books.tell(framework, messages.Subscribed(ID(framework.id), books.settings.heartbeat, self.master_info()))
        self._beat(framework, stream)
        agents = {task.agent_id for task in framework.tasks.values()}
        for agent_id in sorted(agents & books.agents.keys()):
            books.to_agent(books.agents[agent_id], FrameworkBack(framework.id))

    def _set_wishes(
        self, framework: FrameworkRecord, suppressed: list[str], constraints: messages.OfferConstraints | None
    ) -> None:
        """Both are replaced. A role that is wanted again loses its filters."""
        wanted_again = framework.suppressed - set(suppressed)
        framework.suppressed = set(suppressed)
        framework.offer_constraints = constraints
        framework.constraints = compile_constraints(constraints)
        self.clear_filters(framework, wanted_again)

    def _beat(self, framework: FrameworkRecord, stream: str) -> None:
        if framework.connected and framework.stream == stream and self._books.alive:
            self._books.tell(framework, messages.Heartbeat())
            framework.heartbeat = self._books.agenda.after(
                self._books.settings.heartbeat, self._beat, framework, stream
            )

    def master_info(self) -> MasterInfo:
        books = self._books
        host, port = books.address
        a, b, c, d = (int(part) for part in host.split("."))
        return MasterInfo(
            books.id,
            ip=a | b << 8 | c << 16 | d << 24,
            port=port,
            pid=f"master@{host}:{port}",
            hostname=host,
            version=VERSION,
            address=Address(port, host, host),
            capabilities=[Capability("AGENT_UPDATE"), Capability("AGENT_DRAINING"), Capability()],
        )

    # -- UPDATE_FRAMEWORK, REVIVE, SUPPRESS

    def update(self, framework: FrameworkRecord, call: messages.UpdateFramework) -> None:
        """Takes effect with the next allocation; offers of a role that is left are rescinded."""
        info = call.framework_info
        error = info_error(info) or unchangeable_error(framework.info, info)
        if error is not None:
            self._books.answer(400, f"FrameworkInfo update is not valid: {error}")
            return
        error = suppressed_error(info, call.suppressed_roles)
        if error is not None:
            self._books.answer(400, f"'UpdateFramework.suppressed_roles' are not valid: {error}")
            return
        error = constraints_error(call.offer_constraints)
        if error is not None:
            self._books.answer(400, f"'UpdateFramework.offer_constraints' are not valid: {error}")
            return
        before = framework.roles
        framework.describe(with_id(info, framework.id))
        self._leave_roles(framework, before)
        self._set_wishes(framework, call.suppressed_roles, call.offer_constraints)
        self._books.publish("FRAMEWORK_UPDATED", framework={"framework_info": framework.info, "active": True})
        self._books.answer(200)

    def _leave_roles(self, framework: FrameworkRecord, before: tuple[str, ...]) -> None:
        for role in set(before) - set(framework.roles):
            for offer in [each for each in framework.offers.values() if each.role == role]:
                self._books.drop_offer(offer, rescind=True)
            self.clear_filters(framework, {role})

    def revive(self, framework: FrameworkRecord, roles: list[str]) -> None:
        """Roles that are not the framework's are ignored."""
        named = set(roles or framework.roles) & set(framework.roles)
        if roles and not named:
            return
        framework.suppressed -= named
        self.clear_filters(framework, named)
        for agent_id in list(framework.inverse_filters):
            del framework.inverse_filters[agent_id]
        self._allocator.run()

    def suppress(self, framework: FrameworkRecord, roles: list[str]) -> None:
        framework.suppressed |= set(roles or framework.roles) & set(framework.roles)

    @staticmethod
    def clear_filters(framework: FrameworkRecord, roles: set[str]) -> None:
        if roles >= set(framework.roles):
            framework.filters.clear()
        elif roles:
            framework.filters = {key: each for key, each in framework.filters.items() if key[0] not in roles}

    # -- how they leave

    def closed(self, stream: str) -> None:
        """The stream is gone: its offers are void, filters and suppression forgotten; the failover timeout runs."""
        books = self._books
        framework = books.streams.get(stream)
        if framework is None:
            return
        self._stop_stream(framework)
        framework.active = False
        for offer in list(framework.offers.values()):
            books.drop_offer(offer, rescind=False)
        self._maintenance.forget_framework(framework)
        framework.suppressed.clear()
        framework.filters.clear()
        framework.inverse_filters.clear()
        # A negative one is no time at all; with 0 the master takes half a second to see the end.
        timeout = max(framework.info.failover_timeout, 0.5)
        framework.removal = books.agenda.after(timeout, self.remove, framework)

    def _stop_stream(self, framework: FrameworkRecord) -> None:
        framework.connected = False
        self._books.streams.pop(framework.stream, None)
        if framework.heartbeat is not None:
            framework.heartbeat.cancel()

    def remove(self, framework: FrameworkRecord) -> None:
        """Its tasks are killed, without a word to it; its id is refused from now on."""
        books = self._books
        if books.frameworks.get(framework.id) is not framework or not books.alive:
            return
        if framework.connected:
            books.end_stream(framework.stream)
            self._stop_stream(framework)
        framework.active = False
        for offer in list(framework.offers.values()):
            books.drop_offer(offer, rescind=False)
        self._maintenance.forget_framework(framework)
        agents = {task.agent_id for task in framework.tasks.values()}
        for agent_id in sorted(agents & books.agents.keys()):
            books.to_agent(books.agents[agent_id], EndFramework(framework.id))
        for task in [*framework.tasks.values(), *framework.unreachable.values()]:
            if not task.over:
                books.set_state(task, "TASK_KILLED")
            books.complete_task(task)
        if framework.removal is not None:
            framework.removal.cancel()
        framework.unregistered_at = books.now
        del books.frameworks[framework.id]
        books.completed[framework.id] = framework
        framework.completed = deque(framework.completed, maxlen=books.settings.completed_tasks)
        while len(books.completed) > books.settings.completed_frameworks:
            books.completed.popitem(last=False)
        books.publish("FRAMEWORK_REMOVED", framework_info=framework.info)
