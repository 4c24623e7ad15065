"""A launch's record as the tests of the store write it."""

from __future__ import annotations

from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.launches import LaunchRecord, StoryLine
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.resources import Resources
from owmesos.storage import SaveLaunch


def a_record(launch_id: str = "launch-1", place: int = 0) -> LaunchRecord:
    """One that ran, with something in every field that a restart needs."""
    launch = Launch(
        command="sleep 1", cpus=0.5, mem=128, ports=2, constraints=["rack LIKE r[12]"], env={"A": "b"}, kill_grace=3
    )
    return LaunchRecord(
        id=launch_id,
        launch=launch,
        ask=launch.ask(),
        template='{"name": "launch"}',
        place=place,
        submitted_at=1000.5,
        constraints=launch.parsed_constraints(),
        state=State.RUNNING,
        attempts=2,
        task_id=f"{launch_id}.2",
        agent_id="S1",
        hostname="node1",
        role="*",
        resources=Resources.of(cpus=0.5, mem=128, ports=[(31000, 31001)]),
        offer_ids=("O1", "O2"),
        started_at=1002.25,
        story=[StoryLine(1000.5, State.PENDING, "asked for")],
    )


def save(record: LaunchRecord) -> SaveLaunch:
    return SaveLaunch(record.id, record.stored_form())
