"""One run of owmesos's scheduler on a virtual cluster where everything goes wrong, by seed, and what must hold of it.

The checks are the design's invariants, seen from the cluster's side: its books, its agents, and the calls that came.
"""

from __future__ import annotations

import random
from collections import Counter

from owmesos.mesos.messages import Accept, Call, Decline, Event, Offers, Update
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.settings import Settings
from owmesos.simulator.agent.runs import TaskRun
from owmesos.simulator.faults import EVERYTHING, Faults
from owmesos.simulator.master.settings import MasterSettings
from owmesos.simulator.virtual import VirtualCluster
from owmesos.testing.virtual_scheduler import VirtualScheduler

TROUBLED = 120  # seconds
LAUNCHES = 30
DEADLINE = 90.0
UNREACHABLE = 60.0
FORGOTTEN = 60.0  # after a failover, an agent that never came back
ALIVE = ("TASK_STARTING", "TASK_RUNNING", "TASK_KILLING")
COMMANDS = ("sleep 5", "sleep 5", "sleep 40", "sleep 100000", "true", "false")


class Chaos:
    """`run` is all of it; it raises AssertionError with what was found wrong."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.cluster = VirtualCluster(
            4,
            resources="cpus:4;mem:4096;disk:1000;ports:[31000-31009]",
            seed=seed,
            masters=2,
            settings=MasterSettings(agent_reregister_timeout=FORGOTTEN),
        )
        self.faults = Faults(self.cluster.world, EVERYTHING, seed)
        settings = Settings(unreachable_timeout=UNREACHABLE)
        self.ours = VirtualScheduler(self.cluster, settings=settings, seed=seed)
        self.ours.observers.append(self._see)
        self.used: set[str] = set()
        self.seen: set[str] = set()
        self.ids: list[str] = []
        self._listen()

    def _listen(self) -> None:
        """Looks at every call as it arrives."""
        taken = self.cluster.call

        def call(framework_id: str, stream: object, each: Call) -> object:
            self._see_call(each)
            return taken(framework_id, stream, each)  # type: ignore[arg-type]

        self.cluster.call = call  # type: ignore[method-assign, assignment]

    # -- invariants 1 and 2

    def _see_call(self, call: Call) -> None:
        if isinstance(call, (Accept, Decline)):
            for offer_id in call.offer_ids:
                assert offer_id.value not in self.used, f"offer {offer_id.value} is in two calls"
                self.used.add(offer_id.value)

    def _see(self, event: Event) -> None:
        if isinstance(event, Offers):
            self.seen.update(offer.id.value for offer in event.offers)
        elif isinstance(event, Update):
            status = event.status
            assert status.reason != "REASON_TASK_INVALID", f"an ACCEPT takes what its offers do not hold: {status}"

    # -- the run

    def run(self) -> Counter[State]:
        """How the launches ended."""
        self.cluster.run(3)
        self.faults.start()
        for second in range(TROUBLED):
            if second < LAUNCHES:
                self.submit()
            if second % 37 == 20:
                self.ours.crash()
            self.cluster.run(1)
            self.check()
        self.faults.stop()
        self.heal()
        return Counter(record.state for record in self.ours.records())

    def submit(self) -> None:
        chance = self.chance
        launch = Launch(
            command=chance.choice(COMMANDS),
            cpus=chance.choice((0.5, 1.0, 2.0)),
            mem=chance.choice((128, 512, 1500)),
            ports=chance.choice((0, 0, 1)),
            deadline=DEADLINE,
        )
        self.ids += self.ours.submit(launch)

    def check(self) -> None:
        """At any moment."""
        scheduler = self.ours.scheduler
        scheduler.state.validate()
        assert self.ours.stopped is None, self.ours.stopped
        assert {record.id for record in self.ours.records()} == set(self.ids), "a launch is lost"
        alive = Counter(run.task_id.rpartition(".")[0] for run in self.runs() if run.state in ALIVE)
        assert all(count == 1 for count in alive.values()), f"two live tasks of one launch: {alive.most_common(1)}"
        master = self.cluster.world.master
        out = set(master.books.offers) if master is not None else set()
        leaked = (out & self.seen) - set(scheduler.state.offers.outstanding)
        assert not leaked, f"offers {leaked} are out, and nobody has them"
        for record in scheduler.state.queue:
            found = scheduler.explain(record.id)
            assert found is not None
            assert found.summary, f"nobody knows why {record.id} waits"

    def heal(self) -> None:
        """No faults any more: what waits is placed or ends in time, and in the end nothing is left."""
        self.cluster.run(DEADLINE + FORGOTTEN + 2 * UNREACHABLE + 60)
        self.check()
        for record in self.ours.records():
            assert record.state.ended or record.state is State.RUNNING, _story(record)
            assert record.state is not State.RUNNING or self.living(record) == 1, _story(record)
        self.quiet()
        for record in list(self.ours.records()):
            if not record.state.ended:
                self.ours.kill(record.id)
        self.cluster.run(UNREACHABLE + 60)
        for record in self.ours.records():
            assert record.state.ended, _story(record)
            assert record.state is State.FINISHED or record.reason or record.message, _story(record)
        self.quiet()
        left = [run.task_id for run in self.runs()]
        assert left == [], f"tasks {left} live on"

    def living(self, record: LaunchRecord) -> int:
        """How many tasks of a launch there are."""
        return sum(run.task_id.rpartition(".")[0] == record.id and run.state in ALIVE for run in self.runs())

    def runs(self) -> list[TaskRun]:
        """What the agents have, whether anyone can reach them or not."""
        return [run for place in self.cluster.world.places.values() for run in place.agent.runs.values()]

    def quiet(self) -> None:
        """Nothing is asked for, and nobody holds anything."""
        state, master = self.ours.scheduler.state, self.cluster.world.master
        assert master is not None
        assert not state.queue
        assert not state.ledger.reservations.by_launch, "all is quiet, and there are reservations"
        assert not state.offers.outstanding
        assert not master.books.offers, "offers are out and nobody wants them"
        self.agree()

    def agree(self) -> None:
        """The master's arithmetic: what is free and what tasks have is what there is."""
        master = self.cluster.world.master
        assert master is not None
        for agent in master.books.agents.values():
            used = [task.pieces for task in agent.tasks.values() if not task.freed]
            whole = agent.available
            for pieces in used:
                whole = whole.plus(pieces)
            assert whole == agent.total, f"agent {agent.id} has {agent.total} and shows {whole}"


def _story(record: LaunchRecord) -> str:
    lines = "\n".join(f"  {line.at:.2f} {line.state.value} {line.text}" for line in record.story)
    return f"{record.id} is {record.state.value}:\n{lines}"
