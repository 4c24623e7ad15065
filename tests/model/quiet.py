"""The end of a run: everything is healed, and what must then come about is waited for."""

from __future__ import annotations

from owmesos.mesos.messages import Reconcile
from owmesos.mesos.scheduler.blame import Trials
from owmesos.mesos.scheduler.launches import LaunchRecord
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.resources import Resources
from tests.model.world import World

LONGEST_DEADLINE = 300.0
LONGEST_PAUSE = 60.0 + 20.0  # of a launch that failed where all was broken, and the time to place it
NEVER_START = ("fails", "dropped", "silent", "bad")
PATIENCE = 20.0  # more than a REVIVE's interval and the wait for its offers


def heal(world: World) -> None:
    """No faults any more, neither at the master nor on the way to it."""
    world.lose_answer = world.crash_after = None
    world.cluster.heal()


def quiet(world: World) -> None:
    """With room for long enough the head is placed, every launch ends or runs, and then nothing is asked any more."""
    heal(world)
    state = world.scheduler.state
    healed_at = world.now
    until = world.now + LONGEST_DEADLINE + 3 * PATIENCE
    while state.queue and world.now < until:
        head = state.queue.head()
        world.wait(PATIENCE)
        if head is not None and head is state.queue.head():
            excused = head.launch.name in NEVER_START or world.now < healed_at + LONGEST_PAUSE
            assert not fits(world, head, excused=excused), (
                f"{head} waits, and there is room: {world.scheduler.explain(head.id)}"
            )
    assert not state.queue, "a launch waits beyond its deadline"
    if world.cluster.books.recovered:  # replaced after a failover, so it never comes back
        world.wait(world.cluster.books.settings.agent_reregister_timeout)
    world.wait(world.settings.unreachable_timeout + 60)
    for record in state.launches.values():
        assert record.state.ended or record.state is State.RUNNING, f"{record.id} neither runs nor ends: {record}"
    assert not state.ledger.reservations.by_launch, "all is quiet, and there are reservations"
    asks_nothing(world, 600.0)
    for record in list(state.launches.values()):
        if not record.state.ended:
            world.kill(record.id)
    world.wait(60.0)
    all_over(world)


def asks_nothing(world: World, seconds: float) -> None:
    """While idle only implicit reconciliation is allowed, every 15 minutes."""
    sent = len(world.sent)
    world.wait(seconds)
    for at, call in world.sent[sent:]:
        assert call == Reconcile(), f"idle, and after {at - world.now + seconds:.0f} s it sends {call}"
    assert len(world.sent) <= sent + 1 + seconds / world.settings.reconcile_implicit


def all_over(world: World) -> None:
    """Every launch has ended with its reason, and nothing of ours is left at the master."""
    state, cluster = world.scheduler.state, world.cluster
    for record in state.launches.values():
        assert record.state.ended, f"{record.id} was killed and is {record.state.value}"
        assert record.state is State.FINISHED or record.reason or record.message, f"{record.id} ended without a reason"
        assert record.ended_at is not None
    living = [task.task_id for task in cluster.runner.living()]
    assert not living, f"tasks {living} live on"
    assert not state.ledger.reservations.by_launch
    assert not state.tasks
    assert not cluster.offers, "offers are out and nobody wants them"
    assert not cluster.inverse_offers, "an inverse offer was not answered"


def fits(world: World, record: LaunchRecord, *, excused: bool = False) -> bool:
    """Whether the master could place it now on an agent that may get starts. `excused`: it may avoid what failed."""
    cluster, state = world.cluster, world.scheduler.state
    avoided = None
    if excused and not state.backoff.calm:
        trials = Trials(state, world.now)
        if trials.rests(record):
            return False
        avoided = trials.avoids(record).never
    for name in cluster.names:
        agent = cluster.books.agents.get(cluster.id_of(name))
        known = state.ledger.agents.get(agent.id) if agent is not None else None
        if agent is None or known is None or not cluster.is_up(name) or agent.id in state.capacity.closed:
            continue
        if avoided is not None and agent.id in avoided:
            continue
        if not all(each.matches(agent.description.hostname, known.attributes) for each in record.constraints):
            continue
        cpus, mem = state.ledger.buffer_on(known)
        for role in world.roles if record.launch.role is None else (record.launch.role,):
            if record.ask.fits(cluster.free(agent, role).minus(Resources(cpus, mem))):
                return True
    return False
