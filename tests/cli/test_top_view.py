"""The screens of `owmesos top`, and what its keys do to them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest

from owmesos.cli.top import keys_in
from owmesos.cli.top_view import Snapshot, TopView
from tests.cli.test_status import WELL

NOW = 1_800_000_000.0


def instant(ago: float) -> str:
    return datetime.fromtimestamp(datetime.now(timezone.utc).timestamp() - ago, timezone.utc).isoformat()


def node(number: int, *, total: float | None = 100.0, **amounts: float) -> dict[str, Any]:
    """`used`, `reserved`, `buffer` and `available` of both CPUs and memory."""
    vectors = {
        name: {"cpus": amounts.get(name, 0.0), "mem": amounts.get(name, 0.0)}
        for name in ("used", "reserved", "buffer", "available")
    }
    whole = None if total is None else {"cpus": total, "mem": total}
    return {"agent_id": f"A-S{number}", "hostname": f"node{number}", "role": "*", "state": "fresh", "total": whole} | {
        "reason": None,
        **vectors,
    }


def waiting(name: str, waits: float, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "kind": "launch",
        "name": "web",
        "cpus": 1.0,
        "mem": 64.0,
        "since": instant(waits),
        "reason": "of 2 agents, 2 lack memory",
    } | more


def container(name: str, **more: Any) -> dict[str, Any]:
    return {
        "container_id": name,
        "state": "warm",
        "agent_id": "S1",
        "memory": 256,
        "active": 0,
        "last_used": instant(5.0),
        "kind": "python:3",
        "action": "guest/a",
        "address": "h:1",
    } | more


def snapshot(**more: Any) -> Snapshot:
    return Snapshot(WELL, **more)


def shown(view: TopView, seen: Snapshot, width: int = 80, height: int = 24) -> list[str]:
    lines = view.screen(seen, width, height, NOW).plain.split("\n")
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def rows(view: TopView, seen: Snapshot, **size: int) -> list[str]:
    """The first words of the table's rows."""
    return [line.split()[0] for line in shown(view, seen, **size)[5:-3] if line.strip()]


class TestNodes:
    def test_a_bar_has_used_reserved_buffer_and_available_in_proportion(self) -> None:
        seen = snapshot(nodes=[node(1, used=50, reserved=10, buffer=10, available=20)])
        (line,) = [line for line in shown(TopView(ascii_only=True), seen, width=120) if line.startswith("node1 ")]
        bar = line.split()[2]
        assert bar.count("#") / len(bar) == pytest.approx(0.56, abs=0.05)
        for character in "=-.":
            assert character in bar
        assert bar == "".join(sorted(bar, key="#=-.".index))

    def test_what_is_others_is_blank(self) -> None:
        seen = snapshot(nodes=[node(1, used=10, available=10)])
        (line,) = [line for line in shown(TopView(), seen) if line.startswith("node1 ")]
        assert "█" in line
        assert " " * 10 in line

    def test_amounts_beyond_the_total_do_not_make_a_bar_longer(self) -> None:
        assert rows(TopView(), snapshot(nodes=[node(1, used=90, reserved=90, available=90)])) == ["node1"]

    def test_a_node_whose_total_is_not_known_shows_what_is_known(self) -> None:
        seen = snapshot(nodes=[node(1, total=None, available=30), node(2, total=0.0)])
        assert rows(TopView(), seen) == ["node2", "node1"] or rows(TopView(), seen) == ["node1", "node2"]

    def test_the_fullest_come_first_and_r_turns_it_round(self) -> None:
        view, seen = TopView(), snapshot(nodes=[node(1, available=90), node(2, available=10), node(10, available=50)])
        assert rows(view, seen) == ["node2", "node10", "node1"]
        view.press("r")
        assert rows(view, seen) == ["node1", "node10", "node2"]
        view.press("n")
        assert rows(view, seen) == ["node1", "node2", "node10"]
        view.press("n")
        assert rows(view, seen) == ["node10", "node2", "node1"]

    def test_a_marked_node_says_why_it_gets_no_starts(self) -> None:
        seen = snapshot(nodes=[node(1) | {"state": "backoff", "reason": "three starts failed"}])
        assert "node1: A-S1: three starts failed" in shown(TopView(), seen)


class TestQueue:
    def test_who_waits_longest_comes_first_and_ids_are_never_cut(self) -> None:
        view = TopView()
        view.press("2")
        long_id = "0123456789abcdef0123456789abcdef"
        seen = snapshot(waiting=[waiting("L1", 10.0), waiting(long_id, 100.0, kind="activation")])
        lines = [line for line in shown(view, seen) if "of 2 agents" in line]
        assert lines[0].split()[:2] == ["100s", long_id]
        assert lines[1].split()[:2] == ["10s", "L1"]

    def test_the_whole_reason_of_the_marked_one_is_at_the_bottom(self) -> None:
        view = TopView()
        view.press("2")
        reason = "of 2 agents, 1 lacks memory, 1 is draining; nearest: agent S1 (node1) is 96 MB short"
        seen = snapshot(waiting=[waiting("L1", 10.0, reason=reason), waiting("L2", 5.0)])
        assert " ".join(shown(view, seen)[-3:-1]) == f"launch L1: {reason}"
        view.press("down")
        assert shown(view, seen)[-3] == "launch L2: of 2 agents, 2 lack memory"

    def test_a_reason_that_is_not_known_yet(self) -> None:
        view = TopView()
        view.press("2")
        assert "…" in shown(view, snapshot(waiting=[waiting("L1", 1.0, reason=None)]))[5]

    def test_more_than_are_sent_are_counted(self) -> None:
        seen = snapshot(waiting=[waiting("L1", 1.0)], left_out={"waiting": 800})
        assert "2 queue 801" in shown(TopView(), seen)[3]


class TestContainers:
    def test_they_are_sorted_by_memory_runs_and_idle_time(self) -> None:
        view = TopView()
        view.press("3")
        seen = snapshot(
            containers=[
                container("c1", memory=128, active=2, last_used=instant(1.0)),
                container("c2", memory=512, active=0, last_used=instant(99.0)),
                container("c3", memory=256, active=1, last_used=None, action=None),
            ]
        )
        assert rows(view, seen) == ["c2", "c3", "c1"]
        view.press("c")
        assert rows(view, seen) == ["c1", "c3", "c2"]
        view.press("w")
        assert rows(view, seen)[0] == "c2"

    def test_one_that_runs_something_is_not_idle(self) -> None:
        view = TopView()
        view.press("3")
        seen = snapshot(containers=[container("c1", active=0), container("c2", active=1)])
        titles, *found = shown(view, seen)[4:7]
        idle = {line.split()[0]: line.split()[titles.split().index("IDLE")] for line in found}
        assert idle["c2"] == "-"
        assert idle["c1"] != "-"


class TestMoving:
    def test_the_marked_row_stays_on_the_screen(self) -> None:
        view, seen = TopView(), snapshot(nodes=[node(number, available=number) for number in range(1, 51)])
        assert rows(view, seen, height=18)[0] == "node1"
        for _ in range(20):
            view.press("down")
        assert "node21" in rows(view, seen, height=18)
        view.press("end")
        assert rows(view, seen, height=18)[-1] == "node50"
        view.press("pgup")
        view.press("home")
        assert rows(view, seen, height=18)[0] == "node1"
        view.press("up")
        assert rows(view, seen, height=18)[0] == "node1"

    def test_rows_that_are_gone_leave_the_mark_on_one_that_is_there(self) -> None:
        view = TopView()
        view.press("end")
        shown(view, snapshot(nodes=[node(1), node(2)]))
        assert rows(view, snapshot(nodes=[node(1)])) == ["node1"]
        assert "nothing waits" not in shown(view, snapshot())

    def test_tab_goes_round_and_each_table_keeps_its_order(self) -> None:
        view = TopView()
        view.press("c")
        for key in ("tab", "tab", "tab"):
            view.press(key)
        assert shown(view, snapshot(nodes=[node(1)]))[3].endswith("by cpus")

    @pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 5), (200, 60), (1, 1)])
    def test_it_fits_any_window(self, size: tuple[int, int]) -> None:
        view = TopView()
        seen = snapshot(nodes=[node(1)], waiting=[waiting("L1", 1.0)], containers=[container("c1")])
        for key in ("1", "2", "3"):
            view.press(key)
            shown(view, seen, *size)

    def test_q_ends_it_and_an_unknown_key_does_nothing(self) -> None:
        view = TopView()
        assert view.press("x")
        assert not view.press("q")


class TestHeading:
    def test_without_a_master_it_says_since_when_and_why(self) -> None:
        cluster = {**WELL["cluster"], "connected": False, "reason": "connection refused", "since": instant(30.0)}
        assert (
            "not connected for 30s: connection refused" in shown(TopView(), Snapshot({**WELL, "cluster": cluster}))[0]
        )

    def test_a_silent_master_says_for_how_long(self) -> None:
        cluster = {**WELL["cluster"], "silent_since": instant(30.0)}
        line = shown(TopView(), Snapshot({**WELL, "cluster": cluster}))[0]
        assert f"the master has been silent for 30s: {WELL['cluster']['address']}" in line

    def test_a_silent_api_says_since_when(self) -> None:
        line = shown(TopView(), snapshot(lost=(NOW - 300.0, "no framework answers")))[0]
        assert line == "batch  no answer for 5m, retrying: no framework answers"

    def test_control_characters_are_escaped(self) -> None:
        assert "\\x1b" in "\n".join(shown(TopView(), snapshot(nodes=[node(1) | {"hostname": "\x1b[2J"}])))


def test_a_page_has_all_tables_without_keys() -> None:
    seen = snapshot(nodes=[node(1)], waiting=[waiting("L1", 1.0)], containers=[container("c1")])
    text = TopView().page(seen, 80, NOW).plain
    assert all(name in text for name in ("node1", "L1", "c1"))
    assert "quit" not in text


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"m", ["m"]),
        (b"\x1b[A\x1b[Bq", ["up", "down", "q"]),
        (b"\x1bOA\t", ["up", "tab"]),
        (b"\x1b[5~\x1b[6~", ["pgup", "pgdn"]),
        (b"\x1b[15~q", []),
        (b"\xc3\xa4", ["\ufffd", "\ufffd"]),
    ],
)
def test_what_terminals_send(typed: bytes, keys: list[str]) -> None:
    assert list(keys_in(typed)) == keys


def test_on_kubernetes_nodes_are_named_whole_and_there_are_no_launches() -> None:
    status = {**WELL, "cluster": {**WELL["cluster"], "manager": "kubernetes"}}
    view = TopView(ascii_only=True)
    view.press("3")
    lines = shown(view, Snapshot(status, containers=[container("c1", agent_id="node-with-a-name")]))
    assert not any("launches" in line for line in lines)
    assert any("node-with-a-name" in line for line in lines)
