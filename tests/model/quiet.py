"""The end of a run: everything is healed, and what must then come about is waited for."""

from __future__ import annotations

from owmesos.core.launches import LaunchRecord
from owmesos.core.lifecycle import State
from owmesos.mesos.messages import Reconcile
from owmesos.resources import NOTHING, Resources, total
from tests.model.agents import Link
from tests.model.world import World

LONGEST_DEADLINE = 300.0
PATIENCE = 20.0  # more than a REVIVE's interval and the wait for its offers


def heal(world: World) -> None:
    """No faults any more: agents are back, neighbours are gone, no machine is under maintenance."""
    master = world.master
    world.lose_answer = world.crash_after = None
    for agent in list(master.agents.values()):
        agent.neighbours = NOTHING
        if agent.unavailable:
            master.maintenance(agent, planned=False)
        master.tasks.register(agent)
    master.touch()


def quiet(world: World) -> None:
    """With room for long enough the head is placed, every launch ends or runs, and then nothing is asked any more."""
    heal(world)
    books = world.scheduler.books
    until = world.now + LONGEST_DEADLINE + 3 * PATIENCE
    while books.queue and world.now < until:
        head = books.queue.head()
        world.wait(PATIENCE)
        if head is not None and head is books.queue.head():
            assert not fits(world, head), f"{head} waits, and there is room: {world.scheduler.explain(head.id)}"
    assert not books.queue, "a launch waits beyond its deadline"
    world.wait(world.settings.unreachable_timeout + 60)
    for record in books.launches.values():
        assert record.state.ended or record.state is State.RUNNING, f"{record.id} neither runs nor ends: {record}"
    assert not books.ledger.reservations.by_launch, "all is quiet, and there are reservations"
    asks_nothing(world, 600.0)
    for record in list(books.launches.values()):
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
    books, master = world.scheduler.books, world.master
    for record in books.launches.values():
        assert record.state.ended, f"{record.id} was killed and is {record.state.value}"
        assert record.state is State.FINISHED or record.reason or record.message, f"{record.id} ended without a reason"
        assert record.ended_at is not None
    living = [task.task_id for task in master.tasks.all.values() if task.lives]
    assert not living, f"tasks {living} live on"
    assert not books.ledger.reservations.by_launch
    assert not books.tasks
    assert not master.offers, "offers are out and nobody wants them"
    assert not master.inverse, "an inverse offer was not answered"


def fits(world: World, record: LaunchRecord) -> bool:
    """Whether the master could place it now on an agent that may get starts."""
    master, books = world.master, world.scheduler.books
    for agent in master.agents.values():
        known = books.ledger.agents.get(agent.agent_id)
        if agent.link is not Link.UP or known is None or agent.agent_id in books.capacity.closed:
            continue
        if not all(each.matches(agent.host, known.attributes) for each in record.constraints):
            continue
        cpus, mem = books.ledger.buffer_on(known)
        for role in world.roles if record.launch.role is None else (record.launch.role,):
            if record.ask.fits(total(master.free(agent, role).values()).minus(Resources(cpus, mem))):
                return True
    return False
