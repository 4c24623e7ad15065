"""A cluster and its changes from a file; what is wrong is said in one line with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.sizing.cluster_file import read_cluster
from owmesos.sizing.surroundings import Change, Surroundings, peak

AGENTS = "agents:\n  - {count: 2, cpus: 8, mem: 8192}\n"


def read(folder: Path, text: str) -> Surroundings:
    (folder / "cluster.yaml").write_text(text, encoding="utf-8")
    return read_cluster(folder / "cluster.yaml")


def test_agents_are_named_by_their_number(tmp_path: Path) -> None:
    text = AGENTS + "  - {name: big, count: 2, cpus: 32, mem: 65536}\n  - {name: one, cpus: 1.5, mem: 100}\n"
    machines = read(tmp_path, text).machines
    assert [(each.name, each.cpus, each.mem) for each in machines] == [
        ("agent1", 8.0, 8192),
        ("agent2", 8.0, 8192),
        ("big1", 32.0, 65536),
        ("big2", 32.0, 65536),
        ("one", 1.5, 100),
    ]


def test_agents_leave_die_and_join(tmp_path: Path) -> None:
    changes = """\
changes:
  - {at: 1, leave: agent1}
  - {at: 2, die: [agent2]}
  - {at: 3, join: {count: 2, cpus: 4, mem: 4096}}
  - {at: 4, join: agent1}
"""
    around = read(tmp_path, AGENTS + changes)
    assert around.changes == (
        Change(1.0, "agent1", up=False, removed=True),
        Change(2.0, "agent2", up=False, removed=False),
        Change(3.0, "agent3", up=True),
        Change(3.0, "agent4", up=True),
        Change(4.0, "agent1", up=True),
    )
    assert around.absent == ("agent3", "agent4")
    assert (around.start_mb, around.least_mb) == (16384, 0)


def test_what_a_neighbour_takes_it_holds_until_it_gives_it(tmp_path: Path) -> None:
    changes = """\
changes:
  - {at: 10, neighbour_takes: 2500}
  - {at: 20, neighbour_gives: 1500}
  - {at: 30, neighbour_takes: 500}
"""
    foreign = read(tmp_path, AGENTS + changes).foreign

    def held(at: float) -> int:
        return sum(task.mem for task in foreign if task.at <= at < task.at + task.seconds)

    assert [held(at) for at in (9, 10, 19, 20, 29, 30, 1e6)] == [0, 2500, 2500, 1000, 1000, 1500, 1500]
    assert peak(foreign) == 2500
    assert max(task.mem for task in foreign) <= 1024


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "it is empty"),
        ("a: [", 1, "it is not valid YAML"),
        ("- 1\n", 1, "the file must be a mapping with agents, changes"),
        ("changes: []\n", 1, "`agents` is missing"),
        ("agents: []\n", 1, "`agents` is empty: write a list such as [{count: 10, cpus: 8, mem: 8192}]"),
        ("agents: 3\n", 1, "`agents` must be a list such as [{count: 10"),
        (AGENTS + "changes: 3\n", 3, "`changes` must be a list such as [{at: 300, leave: agent3}]"),
        ("agents:\n  - {cpus: 8}\n", 2, "`mem` of an agent is missing"),
        ("agents:\n  - {cpus: 8, mem: -5}\n", 2, "mem is '-5': write a number of MB from 1 to"),
        ("agents:\n  - {cpus: .inf, mem: 5}\n", 2, "cpus is '.inf'"),
        ("agents:\n  - {cpus: 8, mem: 5, count: 1.5}\n", 2, "count is 1.5: write a whole number"),
        ("agents:\n  - cpus: 8\n    mem: 5\n    colour: red\n", 4, "unknown key 'colour'"),
        ("agents:\n  - {cpus: 8, mem: 5, name: x}\n  - {cpus: 8, mem: 5, name: x}\n", 3, "there are two agents 'x'"),
        (AGENTS + "changes:\n  - {at: 1}\n", 4, "a change has `at` and one of leave, die, join"),
        (AGENTS + "changes:\n  - {at: 1, leave: agent1, die: agent2}\n", 4, "a change has `at` and one of"),
        (AGENTS + "changes:\n  - {at: 1, leave: agent9}\n", 4, "there is no agent 'agent9' then; there are agent1"),
        (AGENTS + "changes:\n  - {at: 5, leave: agent1}\n  - {at: 4, leave: agent2}\n", 5, "at 4 is before"),
        (AGENTS + "changes:\n  - {at: 1, join: agent1}\n", 4, "agent1 is there already"),
        (AGENTS + "changes:\n  - {at: 1, join: agent7}\n", 4, "unknown agent 'agent7'"),
        (AGENTS + "changes:\n  - {at: 1, neighbour_gives: 5}\n", 4, "the neighbour gives 5 MB, but holds 0 MB then"),
        (AGENTS + "changes:\n  - {at: 1, neighbour_takes: 1e9}\n", 4, "the neighbour takes more than 102,400,000 MB"),
        (AGENTS + "changes:\n  - {at: x, leave: agent1}\n", 4, "at is 'x': write a number of seconds from 0 to"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(InvalidInput) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"{tmp_path / 'cluster.yaml'}:{line}: {says}")
    assert "\n" not in str(error.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"none.yaml cannot be read: No such file"):
        read_cluster(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff")
    with pytest.raises(InvalidInput, match="is not valid YAML"):
        read_cluster(tmp_path / "bytes.yaml")
    (tmp_path / "deep.yaml").write_text(10_000 * "[")
    with pytest.raises(InvalidInput, match="is not valid YAML"):
        read_cluster(tmp_path / "deep.yaml")
    with pytest.raises(InvalidInput, match="is larger than 1 MB"):
        read_cluster(Path("/dev/zero"))
