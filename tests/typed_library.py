"""What mypy says of a program on the library: it passes with the wrong lines marked, and only then.

It is checked with the package (`files` in pyproject.toml, where unused marks are errors), and never run.
"""

from __future__ import annotations

import owmesos


def a_field_that_there_is(framework: owmesos.Framework) -> list[str]:
    return [node["hostname"] for node in framework.nodes()]


def a_field_that_there_is_not(framework: owmesos.Framework) -> None:
    framework.nodes()[0]["hostnme"]  # type: ignore[typeddict-item]
    framework.launches()[0]["hostnme"]  # type: ignore[typeddict-item]
    framework.offers()[0]["resources"]["memory"]  # type: ignore[typeddict-item]


async def why_it_waits(framework: owmesos.Framework, launch: owmesos.LaunchHandle) -> int | None:
    found = framework.explain(launch.id)
    if "launch_id" in found:
        return found["queue_position"]
    found["queue_position"]  # type: ignore[typeddict-item]
    return launch.explain()["agents"]


def what_is_killed(killed: owmesos.Killed) -> bool:
    if killed.row["outcome"] == "killd":  # type: ignore[comparison-overlap]
        return False
    return killed.document is None or killed.document["overdue"]


def options_of_both() -> None:
    owmesos.Framework(master="127.0.0.1:5050", name="batch", role=["a", "b"])
    owmesos.BlockingFramework(master="127.0.0.1:5050", name="batch", role=["a", "b"])
    owmesos.BlockingFramework(master="127.0.0.1:5050", nmae="batch")  # type: ignore[call-arg]
    owmesos.BlockingFramework(master=5050)  # type: ignore[arg-type]


def patient(task: owmesos.TaskInfo) -> None:
    assert task.kill_policy is None


def another(task: owmesos.TaskInfo) -> owmesos.TaskInfo:
    return task


def by_name(task: str) -> str:
    return task


LAUNCHES = [
    owmesos.Launch("make test", cpus=1, task_info=patient),
    owmesos.Launch(command="make test", task_info=another),
    owmesos.Launch("make", task_info=by_name),  # type: ignore[arg-type]
    owmesos.Launch("make", ["test"]),  # type: ignore[call-arg]
]
