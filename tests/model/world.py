"""One scheduler against the simulator's master and agents, with a store of its own, in their virtual time.

The world is the shell: it carries effects out in their order, brings the master's events one by one, and may lose the
stream, an answer or the whole process at any point. After each event that the scheduler has handled everything that
must always hold is checked.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from owmesos.mesos.messages import Accept, Call, Event, Subscribe, TaskStatus, Update, UpdateFramework
from owmesos.mesos.scheduler.effects import (
    AskAgents,
    Effect,
    ForgetRecord,
    Resubscribe,
    SendCall,
    Stop,
    StoreFramework,
    StoreLaunch,
)
from owmesos.mesos.scheduler.events import AgentsSeen, CallNotTaken, KillLaunches, Submit, Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings, framework_info
from owmesos.mesos.scheduler.task_info import template
from owmesos.mesos.wire.driver import Disconnected
from owmesos.simulator.agenda import AgendaEntry, cancel
from owmesos.simulator.protocol import AgentDescription
from owmesos.storage.records import read
from tests.model.calls import CallChecks
from tests.model.checks import Checks
from tests.model.cluster import Cluster
from tests.model.shadow import tasks_of

RECONNECT = 1.0


class Stream:
    """One subscription: its events are read from the world's inbox."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self.name = name

    def event(self, event: Event) -> None:
        if self._world.stream is self:
            self._world.arrived(event)

    def end(self) -> None:
        """The world ends it itself."""

    def pause(self, seconds: float) -> None:
        """What is read, and when, says who drives the world."""


class World:
    """`inbox` is the stream: events that the scheduler has not read yet. `sent` are all calls with their times."""

    def __init__(
        self,
        agents: Sequence[AgentDescription],
        *,
        roles: tuple[str, ...] = ("web",),
        settings: Settings | None = None,
        operator_api: bool = False,
    ) -> None:
        self.settings = settings if settings is not None else Settings()
        self.roles = roles
        self.operator_api = operator_api
        self.store: dict[str, bytes] = {}
        self.framework_id: str | None = None
        self.inbox: deque[Event] = deque()
        self.stream: Stream | None = None
        self.sent: list[tuple[float, Call]] = []
        self.reported: list[TaskStatus] = []  # what agents said, for duplicates
        self.effects: list[Effect] = []  # of the last event, and of what came of it at once
        self.stopped: Stop | None = None
        self.lose_answer: bool | None = None  # of the next ACCEPT; True: it is taken all the same
        self.crash_after: int | None = None  # effects
        self.mark_first = False  # the process that dies before an ACCEPT has noted already that it may be sent
        self.sent_until = 0.0  # ACCEPTs of a later time were not sent
        self.half_open = False  # nothing comes any more
        self.refused = frozenset({"bad"})  # names of tasks whose ACCEPT is answered 400
        self.constraints_work = True
        self.dropped: set[str] = set()  # tasks of which it was told that they never began
        self.signs: set[str] = set()  # tasks of which an update of their executor was acknowledged
        self.ran: set[str] = set()  # launches whose RUNNING was taken in
        self.broken = False  # an event failed, or a check on it
        self._launches = self._streams = 0
        self._reconnect: AgendaEntry | None = None
        self.cluster = Cluster(agents)
        self._calls = CallChecks(self.cluster)
        self._start()
        self.connect()

    @property
    def now(self) -> float:
        return self.cluster.world.agenda.now

    # -- the process

    def _start(self) -> None:
        info = framework_info(name="test", user="nobody", roles=self.roles, framework_id=self.framework_id)
        self.scheduler = Scheduler(self.settings, info)
        records, unreadable = read(self.store.items())
        self.scheduler.restore(records, self.now, unreadable, sent_until=self.sent_until)
        self.checks = Checks(self)

    def crash(self) -> None:
        """The process is gone, and another begins with what was stored."""
        self.crash_after = None
        self._hang_up()
        self.inbox.clear()
        self._start()
        self.connect()

    def be_away(self, seconds: float) -> None:
        """The process is gone for so long."""
        self._hang_up()
        self.cluster.world.advance(self.now + seconds)
        self.crash()

    @property
    def subscribed(self) -> bool:
        return self.stream is not None

    def connect(self) -> None:
        assert self.stream is None
        self._reconnect = None
        self._streams += 1
        self.stream = Stream(self, f"stream-{self._streams}")
        call = Subscribe(self.scheduler.state.info)
        answer = self.cluster.world.subscribe(self.stream.name, call, self.stream)
        assert answer.status == 200, answer.text

    def _hang_up(self) -> None:
        cancel(self._reconnect)
        self._reconnect = None
        stream, self.stream = self.stream, None
        if stream is not None:
            self.cluster.world.closed(stream.name)

    def lose_stream(self, *, unread_too: bool = True, connect_after: float = RECONNECT) -> None:
        """The stream ends; what was not read may be lost with it, or still be read."""
        self._stream_lost("end of stream", unread_too=unread_too, connect_after=connect_after)

    def restart_master(self, back_after: dict[str, float], connect_after: float = RECONNECT) -> None:
        """Agents register again after `back_after` seconds, or stay absent."""
        self._stream_lost("end of stream", unread_too=True, connect_after=connect_after)
        self.cluster.fail_over(back_after)

    def _stream_lost(self, reason: str, *, unread_too: bool, connect_after: float) -> None:
        waits = self._reconnect is not None
        self._hang_up()
        if unread_too:
            self.inbox.clear()
        if not waits or not unread_too:
            self.inbox.append(Disconnected(reason))
        self._reconnect = self.cluster.world.agenda.after(connect_after, self.connect)

    def arrived(self, event: Event) -> None:
        """From the master."""
        if isinstance(event, Update):
            status = event.status
            assert status.state != "TASK_ERROR", f"the master finds {status.task_id.value} invalid: {status.message}"
            if status.uuid is not None and status not in self.reported:
                self.reported.append(status)
        if not self.half_open:
            self.inbox.append(event)

    def repeat(self, status: TaskStatus) -> None:
        """An update that came before comes again, however late."""
        agent_id = status.agent_id.value if status.agent_id is not None else ""
        if self.stream is not None and agent_id in self.cluster.books.agents:
            self.stream.event(Update(status))

    # -- what is asked of it

    def submit(self, **asked: object) -> str:
        """Its name says what its tasks do; launches of one command start or fail alike."""
        launch = Launch(**{"command": asked.get("name", "true"), **asked})  # type: ignore[arg-type]
        self._launches += 1
        launch_id = f"L{self._launches}"
        self.handle(Submit(launch_id, launch, template(launch)))
        return launch_id

    def kill(self, launch_id: str) -> None:
        self.handle(KillLaunches((launch_id,)))

    def record(self, launch_id: str) -> LaunchRecord:
        return self.scheduler.state.launches[launch_id]

    # -- time and events

    def deliver(self, most: int | None = None) -> int:
        """Up to `most` events of the stream are read. How many were."""
        read = 0
        while self.inbox and (most is None or read < most):
            self.handle(self.inbox.popleft())
            read += 1
        return read

    def wait(self, seconds: float) -> None:
        """Time passes, and everything is read as it comes."""
        world, target = self.cluster.world, self.now + seconds
        ticks, last = 0, -math.inf
        while True:
            self.deliver()
            wake = self.scheduler.next_wake()
            until = target if wake is None else min(wake, target)
            while not self.inbox and world.advance(until, 1):
                pass
            if self.inbox:
                continue
            if wake is None or wake > target:
                return
            ticks = ticks + 1 if self.now == last else 0
            last = self.now
            assert ticks < 50, f"the scheduler asks to be woken again and again: {wake}"
            self.handle(Tick())

    def handle(self, event: Event) -> None:
        """One event, its effects and what comes of them at once, and all checks."""
        self.broken = True
        self.effects = []
        answers: deque[Event] = deque([event])
        while answers:
            each = answers.popleft()
            self.checks.before(each)
            effects = self.scheduler.handle(each, self.now)
            self.effects += effects
            found = self._carry_out(effects)
            if found is None:
                self.crash()
                break
            answers += found
            self.checks.after(each, effects, all_taken=not answers)
        self.broken = False

    def _carry_out(self, effects: list[Effect]) -> list[Event] | None:
        """The events that come of them at once; None when the process died on the way."""
        answers: list[Event] = []
        for effect in effects:
            if self.crash_after is not None:
                if self.crash_after <= 0:
                    self._note(effect, dies=True)
                    return None
                self.crash_after -= 1
            self.checks.effect(effect)
            if isinstance(effect, StoreLaunch):
                self.store[effect.record.id] = effect.record.stored_form()
            elif isinstance(effect, StoreFramework):
                self.framework_id = effect.framework_id
            elif isinstance(effect, ForgetRecord):
                self.store.pop(effect.launch_id, None)
            elif isinstance(effect, SendCall):
                self._note(effect)
                answers += self._send(effect.call)
            elif isinstance(effect, AskAgents):
                answers.append(self._agents_seen())
            elif isinstance(effect, Resubscribe):
                self._stream_lost(effect.reason, unread_too=True, connect_after=RECONNECT)
            elif isinstance(effect, Stop):
                self.stopped = effect
        return answers

    def _note(self, effect: Effect, *, dies: bool = False) -> None:
        """Just before an ACCEPT leaves."""
        if isinstance(effect, SendCall) and effect.accepted_at is not None and (self.mark_first or not dies):
            self.sent_until = max(self.sent_until, effect.accepted_at)

    def _send(self, call: Call) -> list[Event]:
        self.sent.append((self.now, call))
        if self.stream is None:
            return [CallNotTaken(call, None, "not subscribed", sent=False)]
        if isinstance(call, Accept) and self.lose_answer is not None:
            taken, self.lose_answer = self.lose_answer, None
            if taken:
                self._taken(call)
            return [CallNotTaken(call, None, "no answer came")]
        refused = self._taken(call)
        return [] if refused is None else [CallNotTaken(call, *refused)]

    def _taken(self, call: Call) -> tuple[int, str] | None:
        """None when the master takes it, else the status and the text of its refusal."""
        assert self.stream is not None
        assert self.framework_id is not None
        self._calls.check(call, self.framework_id)
        if isinstance(call, Accept) and any(info.name in self.refused for info in tasks_of(call)):
            return 400, "Failed to convert JSON into Call protobuf: Missing required fields: task_infos[0].name"
        if isinstance(call, UpdateFramework) and call.offer_constraints is not None and not self.constraints_work:
            return 400, "'UpdateFramework.offer_constraints' are not valid: this master takes none"
        self._calls.spend(call)
        answer = self.cluster.world.call(self.framework_id, self.stream.name, call)
        return None if answer.status in (200, 202) else (answer.status, answer.text)

    def _agents_seen(self) -> AgentsSeen:
        return AgentsSeen(self.cluster.agents_seen()) if self.operator_api else AgentsSeen(None, "403")

    # -- what a test asks

    def calls(self, kind: type[Call], since: float = -math.inf) -> list[Call]:
        return [call for at, call in self.sent if isinstance(call, kind) and at >= since]
