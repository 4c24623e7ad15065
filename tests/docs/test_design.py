"""What the docs draw from the code is what the code says. `python -m tests.docs.test_design` draws it anew."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from owmesos.core.pool.containers import STEPS, ContainerState
from owmesos.mesos.scheduler.lifecycle import TRANSITIONS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "owmesos"
LISTED = (
    "core",
    "core/pool",
    "kubernetes/wire",
    "mesos/scheduler",
    "mesos/wire",
    "openwhisk/container",
    "openwhisk/kafka",
    "openwhisk/store",
    "sizing",
)
"""Rooms whose every module the picture names."""


def life_cycle() -> str:
    """The table of a launch's states. Ends that all lead from one state are drawn as one arrow."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, row in TRANSITIONS.items():
        ends = [f"{trigger.value} → {to.value}" for trigger, to in row.items() if to.ended]
        lines += [f"    {state.value} --> {to.value}: {t.value}" for t, to in row.items() if not to.ended]
        if ends:
            lines.append(f"    {state.value} --> [*]: {', '.join(ends)}")
    return "\n".join(lines) + "\n"


def containers() -> str:
    """The table of a container's states."""
    lines = ["stateDiagram-v2", f"    [*] --> {ContainerState.STARTING.value}"]
    for state, row in STEPS.items():
        for step, to in row.items():
            lines.append(f"    {state.value} --> {'[*]' if to is ContainerState.GONE else to.value}: {step.value}")
    return "\n".join(lines) + "\n"


DIAGRAMS = {"design.md": ("life-cycle", life_cycle), "pool.md": ("containers", containers)}


def page(name: str) -> Path:
    return ROOT / "docs" / name


def with_diagram(name: str) -> str:
    mark, diagram = DIAGRAMS[name]
    begin, end = f"<!-- begin: {mark} -->\n", f"<!-- end: {mark} -->"
    before, rest = page(name).read_text(encoding="utf-8").split(begin)
    return f"{before}{begin}```mermaid\n{diagram()}```\n{end}{rest.split(end)[1]}"


@pytest.mark.parametrize("name", DIAGRAMS)
def test_states_are_drawn_from_the_table(name: str) -> None:
    assert page(name).read_text(encoding="utf-8") == with_diagram(name), "run: python -m tests.docs.test_design"


def rooms() -> dict[str, str]:
    """What the picture says of each folder, by its path."""
    picture = page("design.md").read_text(encoding="utf-8").split("\n## The packages\n")[1].split("\n\n    cli →")[0]
    found, folders, room = {}, [""] * 4, ""
    for line in picture.splitlines():
        folder = re.match(r"( {6,12})([a-z_]+)/ (.*)", line)
        if folder is not None:
            depth = (len(folder[1]) - 6) // 2
            folders[depth] = folder[2]
            room = "/".join(folders[: depth + 1])
        found[room] = f"{found.get(room, '')} {folder[3] if folder else line}"
    return found


def test_the_rooms_are_the_folders_of_the_package() -> None:
    assert set(rooms()) - {""} == {str(init.parent.relative_to(PACKAGE)) for init in PACKAGE.glob("*/**/__init__.py")}


@pytest.mark.parametrize("room", LISTED)
def test_the_modules_of_a_room_are_those_that_the_picture_lists(room: str) -> None:
    missing = {module.stem for module in (PACKAGE / room).glob("[!_]*.py")} - set(re.findall(r"\w+", rooms()[room]))
    assert not missing


if __name__ == "__main__":
    for each in DIAGRAMS:
        page(each).write_text(with_diagram(each), encoding="utf-8")
