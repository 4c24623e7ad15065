"""The life of frameworks: they subscribe, change, disconnect, return, and end."""

from __future__ import annotations

from collections import deque

import msgspec

from owmesos.mesos import messages
from owmesos.mesos.messages import ID, Address, FrameworkInfo, MasterInfo
from owmesos.mesos.messages.values import Capability
from owmesos.simulator.agenda import cancel
from owmesos.simulator.master import framework_checks as checks
from owmesos.simulator.master.allocator import Allocator
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.constraints import compile_constraints
from owmesos.simulator.master.effects import EndStream, MasterAnswer, ToFramework
from owmesos.simulator.master.maintenance import Maintenance
from owmesos.simulator.master.records import FrameworkRecord, TaskRecord
from owmesos.simulator.protocol import VERSION, EndFramework, FrameworkBack


class Subscriptions:
    def __init__(self, books: MasterBooks, allocator: Allocator, maintenance: Maintenance) -> None:
        self._books = books
        self._allocator = allocator
        self._maintenance = maintenance

    # -- SUBSCRIBE

    def subscribe(self, stream: str, call: messages.Subscribe, principal: str | None) -> MasterAnswer:
        """On a stream that has just been given its id; `principal`: who authenticated, if anyone.

        A refusal by content is an ERROR event and the end of the stream.
        """
        books, info = self._books, call.framework_info
        if principal is not None and info.principal not in (None, principal):
            whose = f"does not match principal '{info.principal}' set in `FrameworkInfo`"
            return MasterAnswer(400, f"Authenticated principal '{principal}' {whose}")
        error = (
            checks.info_error(info)
            or checks.suppressed_error(info, call.suppressed_roles)
            or checks.constraints_error(call.offer_constraints)
        )
        framework_id = info.id.value if info.id is not None and info.id.value else None
        if error is None and framework_id in books.completed:
            error = "Framework has been removed"
        if error is not None:
            books.effects.append(ToFramework(stream, messages.Error(error)))
            books.effects.append(EndStream(stream))
            return MasterAnswer(200)
        framework = books.frameworks.get(framework_id) if framework_id is not None else None
        displacing = framework is not None and framework.connected
        if framework is None:
            framework = self._add(info, framework_id)
        else:
            self._come_back(framework, info)
        self._connect(framework, stream, call)
        if not displacing:
            self._allocator.run()
        return MasterAnswer(200)

    def _add(self, info: FrameworkInfo, framework_id: str | None) -> FrameworkRecord:
        """An id that was never seen is adopted."""
        books = self._books
        framework_id = framework_id or books.next_id("F")
        completed: deque[TaskRecord] = deque(maxlen=books.settings.completed_tasks)
        framework = FrameworkRecord(framework_id, info, books.now, completed)
        framework.describe(info)
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
        """Another user, principal or checkpoint is ignored silently."""
        books = self._books
        kept = {name: getattr(framework.info, name) for name in ("user", "principal", "checkpoint")}
        if framework.connected:
            books.to_framework(framework, messages.Error("Framework failed over"))
            books.effects.append(EndStream(framework.stream))
            self._disconnect(framework)
        if not framework.recovered:
            framework.reregistered_at = books.now
        framework.recovered = False
        before = framework.roles
        framework.describe(msgspec.structs.replace(info, **kept))
        self._leave_roles(framework, before)
        cancel(framework.removal)

    def _connect(self, framework: FrameworkRecord, stream: str, call: messages.Subscribe) -> None:
        books = self._books
        framework.stream, framework.connected = stream, True
        self._set_wishes(framework, call)
        books.to_framework(
            framework, messages.Subscribed(ID(framework.id), books.settings.heartbeat, self.master_info())
        )
        self._beat(framework, stream)
        books.to_agents_of(framework, FrameworkBack(framework.id))

    def _set_wishes(self, framework: FrameworkRecord, call: messages.Subscribe | messages.UpdateFramework) -> None:
        """Replaces suppressed roles and constraints. A role that is wanted again loses its filters."""
        wanted_again = framework.suppressed - set(call.suppressed_roles)
        framework.suppressed = set(call.suppressed_roles)
        framework.offer_constraints = call.offer_constraints
        framework.constraints = compile_constraints(call.offer_constraints)
        self.clear_filters(framework, wanted_again)

    def _beat(self, framework: FrameworkRecord, stream: str) -> None:
        if framework.connected and framework.stream == stream and self._books.alive:
            self._books.to_framework(framework, messages.Heartbeat())
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

    def update(self, framework: FrameworkRecord, call: messages.UpdateFramework) -> MasterAnswer:
        """Takes effect with the next allocation; offers of a role that is left are rescinded."""
        info = call.framework_info
        for what, error in (
            ("FrameworkInfo update is", checks.info_error(info) or checks.unchangeable_error(framework.info, info)),
            ("'UpdateFramework.suppressed_roles' are", checks.suppressed_error(info, call.suppressed_roles)),
            ("'UpdateFramework.offer_constraints' are", checks.constraints_error(call.offer_constraints)),
        ):
            if error is not None:
                return MasterAnswer(400, f"{what} not valid: {error}")
        before = framework.roles
        framework.describe(info)
        self._leave_roles(framework, before)
        self._set_wishes(framework, call)
        self._books.publish("FRAMEWORK_UPDATED", framework={"framework_info": framework.info, "active": True})
        return MasterAnswer(200)

    def _leave_roles(self, framework: FrameworkRecord, before: tuple[str, ...]) -> None:
        for role in set(before) - set(framework.roles):
            self._books.drop_offers(each for each in framework.offers.values() if each.role == role)
            self.clear_filters(framework, {role})

    def revive(self, framework: FrameworkRecord, roles: list[str]) -> None:
        """Roles that are not the framework's are ignored."""
        named = set(roles or framework.roles) & set(framework.roles)
        if roles and not named:
            return
        framework.suppressed -= named
        self.clear_filters(framework, named)
        framework.inverse_filters.clear()
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
        framework = next((each for each in books.frameworks.values() if each.connected and each.stream == stream), None)
        if framework is None:
            return
        self._disconnect(framework)
        framework.suppressed.clear()
        framework.filters.clear()
        framework.inverse_filters.clear()
        # A negative one is no time at all; with 0 the master takes half a second to see the end.
        timeout = max(framework.info.failover_timeout, 0.5)
        framework.removal = books.agenda.after(timeout, self.remove, framework)

    def _disconnect(self, framework: FrameworkRecord) -> None:
        framework.connected = False
        cancel(framework.heartbeat)
        self._books.drop_offers(framework.offers.values(), rescind=False)
        self._maintenance.forget_framework(framework)

    def remove(self, framework: FrameworkRecord) -> None:
        """Its tasks are killed without an event to it; its id is refused from now on."""
        books = self._books
        if books.frameworks.get(framework.id) is not framework or not books.alive:
            return
        if framework.connected:
            books.effects.append(EndStream(framework.stream))
        self._disconnect(framework)
        books.to_agents_of(framework, EndFramework(framework.id))
        for task in [*framework.tasks.values(), *framework.unreachable.values()]:
            if not task.over:
                books.set_state(task, "TASK_KILLED")
            books.complete_task(task)
        cancel(framework.removal)
        framework.unregistered_at = books.now
        del books.frameworks[framework.id]
        books.completed[framework.id] = framework
        while len(books.completed) > books.settings.completed_frameworks:
            books.completed.popitem(last=False)
        books.publish("FRAMEWORK_REMOVED", framework_info=framework.info)
