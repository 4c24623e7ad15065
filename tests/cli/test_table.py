"""Tables for people: what a narrow window shows, what is never cut, colours, and how long many rows take."""

from __future__ import annotations

import logging
import time
from typing import Any

import pytest

from owmesos.cli.columns import ACTIVATIONS, CONTAINERS, LAUNCHES, NODES, RESERVATIONS, STORY, Listing
from owmesos.cli.output import screen_of, show
from owmesos.cli.process_log import ShortIdFormatter
from owmesos.cli.table import TableText, Window, table, width_of, window_of_stdout

AGENT = "1af52354-c9b6-4d79-801b-5ce74ee3de50-S7"
VECTOR = {"cpus": 1.0, "mem": 300.0, "disk": 0.0, "gpus": 0.0, "ports": [], "pods": 0}


def launch(number: int = 1, state: str = "PENDING", **fields: Any) -> dict[str, Any]:
    return {
        "launch_id": f"a-launch-with-a-long-name-{number:08x}",
        "state": state,
        "queue_position": number,
        "hostname": None,
        "resources": VECTOR,
        "submitted_at": None,
        "reason": None,
        "message": None,
        "summary": f"of 1 agent, 1 lacks memory; nearest: agent {AGENT} (node7) is 96 MB short, all of it buffer",
        **fields,
    }


ACTIVATION = {
    "activationId": "0123456789abcdef" * 2,
    "start": 0,
    "duration": 12,
    "statusCode": 1,
    "annotations": [{"key": "kind", "value": "python:3"}, {"key": "waitTime", "value": 1}],
    "namespace": "guest",
    "name": "hello",
    "version": "0.0.1",
}


CONTAINER = {
    "container_id": "c1",
    "action": "guest/hello",
    "kind": "python:3",
    "state": "warm",
    "agent_id": AGENT,
    "hostname": "node7",
    "address": "10.0.0.1:8080",
    "memory": 256,
    "active": 0,
    "last_used": None,
}
RESERVATION = {
    "launch_id": "c1",
    "task_id": None,
    "agent_id": AGENT,
    "hostname": "node7",
    "kind": "start",
    "state": "decided",
    "resources": VECTOR,
    "since": None,
    "age_s": 1.0,
}


@pytest.mark.parametrize(
    ("row", "listing", "of_mesos", "of_kubernetes"),
    [(CONTAINER, CONTAINERS, ["AGENT"], ["NODE"]), (RESERVATION, RESERVATIONS, ["HOST", "AGENT"], ["HOST"])],
)
def test_where_it_is_on_kubernetes_is_a_node_s_name(
    row: dict[str, Any], listing: Listing, of_mesos: list[str], of_kubernetes: list[str]
) -> None:
    def places(made: TableText) -> list[str]:
        return [title for title in made.heading.split() if title in ("HOST", "AGENT", "NODE")]

    on_mesos = table([row], listing, Window())
    assert places(on_mesos) == of_mesos
    assert "S7" in on_mesos.lines[0]
    on_kubernetes = table([{**row, "agent_id": "node7"}], listing, Window())
    assert places(on_kubernetes) == of_kubernetes
    assert on_kubernetes.lines[0].count("node7") == 1


class TestNarrowWindows:
    @pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
    def test_ids_are_never_cut(self, width: int) -> None:
        made = table([launch()], LAUNCHES, Window(width))
        assert launch()["launch_id"] in made.lines[0]
        assert ACTIVATION["activationId"] in table([ACTIVATION], ACTIVATIONS, Window(width)).lines[0]

    def test_at_80_columns_every_line_fits_and_what_is_left_out_is_said(self) -> None:
        made = table([ACTIVATION], ACTIVATIONS, Window(80))
        assert all(len(line) <= 80 for line in (made.heading, *made.lines))
        assert made.left_out == ["KIND", "START", "DATETIME"]
        assert made.heading.split() == ["ACTIVATION", "ID", "DURATION", "STATUS", "ENTITY"]

    def test_a_narrow_column_that_fits_beside_the_others_stays(self) -> None:
        made = table([{**ACTIVATION, "namespace": "me", "name": "a"}], ACTIVATIONS, Window(80))
        assert made.left_out == ["KIND", "DATETIME"]
        assert made.heading.split() == ["ACTIVATION", "ID", "START", "DURATION", "STATUS", "ENTITY"]

    def test_a_long_column_is_cut_and_keeps_its_beginning(self) -> None:
        made = table([launch()], LAUNCHES, Window(100))
        assert all(len(line) <= 100 for line in made.lines)
        assert made.lines[0].endswith("…")
        assert "of 1 agent" in made.lines[0]

    def test_what_happened_goes_on_in_the_next_line(self) -> None:
        """`story` is for reading: nothing of it is cut."""
        words = "larger than any agent: it asks for 3000 MB, and launch-5f0c1d2e can get no more than 972.8 MB of S0"
        made = table([{"at": "2026-11-29T16:08:22.927Z", "state": "ERROR", "text": words}], STORY, Window(60))
        first, *more = made.lines
        assert first.startswith("2026-11-29T16:08:22.927Z  ERROR  larger than")
        assert all(len(line) <= 60 for line in made.lines)
        assert all(line.startswith(" " * 33) for line in more)
        assert " ".join([first[33:], *map(str.strip, more)]) == words

    def test_without_a_window_nothing_is_cut_or_left_out(self) -> None:
        made = table([launch()], LAUNCHES, Window())
        assert made.lines[0].endswith("agent S7 (node7) is 96 MB short, all of it buffer")
        assert made.left_out == []

    def test_ids_of_agents_are_whole_when_that_is_wanted(self) -> None:
        assert AGENT in table([launch()], LAUNCHES, Window(), wide=True).lines[0]
        story = {"at": "2026", "state": "RUNNING", "text": f"ACCEPT on agent {AGENT}"}
        assert table([story], STORY, Window()).lines[0].endswith("ACCEPT on agent S7")
        assert table([story], STORY, Window(), wide=True).lines[0].endswith(AGENT)

    def test_characters_of_two_columns_are_counted_as_two(self) -> None:
        assert width_of("日本") == 4
        made = table([launch(message="日本" * 200, summary=None)], LAUNCHES, Window(90))
        assert width_of(made.lines[0]) <= 90


class TestColours:
    def test_states_are_coloured_and_take_no_more_room(self) -> None:
        plain = table([launch(state="RUNNING"), launch(state="FAILED")], LAUNCHES, Window(None))
        coloured = table([launch(state="RUNNING"), launch(state="FAILED")], LAUNCHES, Window(None, colour=True))
        assert "\x1b[32mRUNNING\x1b[0m" in coloured.lines[0]
        assert "\x1b[1;31mFAILED\x1b[0m" in coloured.lines[1]
        without = [
            line.replace("\x1b[32m", "").replace("\x1b[1;31m", "").replace("\x1b[0m", "") for line in coloured.lines
        ]
        assert without == plain.lines

    def test_what_a_server_says_gives_the_terminal_no_orders(self) -> None:
        (line,) = table([launch(summary=None, message="\x1b[31mred")], LAUNCHES, Window(None, colour=True)).lines
        assert "\\x1b[31mred" in line

    @pytest.mark.parametrize(
        ("terminal", "variables", "colour"),
        [
            (True, {}, True),
            (True, {"NO_COLOR": ""}, True),
            (True, {"NO_COLOR": "1"}, False),
            (True, {"TERM": "dumb"}, False),
            (False, {}, False),
        ],
    )
    def test_pipes_and_no_color_get_none(
        self, monkeypatch: pytest.MonkeyPatch, terminal: bool, variables: dict[str, str], colour: bool
    ) -> None:
        monkeypatch.delenv("NO_COLOR", raising=False)
        monkeypatch.setenv("TERM", "xterm")
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.stdout.isatty", lambda: terminal)
        window = window_of_stdout()
        assert window.colour is colour
        assert (window.width is None) is not terminal


class TestWatch:
    def test_the_latest_rows_stay_and_the_rest_is_counted(self) -> None:
        rows = [launch(number) for number in range(100)]
        screen = screen_of(rows, LAUNCHES, 24)
        assert len(screen) == 24
        assert screen[0].startswith("LAUNCH")
        assert [line.split()[0] for line in screen[1:23]] == [row["launch_id"] for row in rows[:22]]
        assert screen[23] == "78 earlier rows do not fit"

    def test_where_the_latest_are_last_the_last_stay(self) -> None:
        lines = [{"at": "2026", "state": "RUNNING", "text": f"line {number}"} for number in range(50)]
        screen = screen_of(lines, STORY, 10)
        assert [line.split()[-1] for line in screen[1:9]] == [str(number) for number in range(42, 50)]
        assert screen[9] == "42 earlier rows do not fit"

    def test_what_fits_is_shown_whole(self) -> None:
        assert len(screen_of([launch()] * 23, LAUNCHES, 24)) == 24
        assert screen_of([], NODES, 24) == ["no node is known"]


def test_ten_thousand_rows_take_no_two_seconds() -> None:
    """Of this process: another may have the machine meanwhile."""
    rows = [launch(number, submitted_at="2026-01-01T00:00:00.000Z") for number in range(10_000)]
    begun = time.process_time()
    assert len(table(rows, LAUNCHES, Window(120, colour=True)).lines) == 10_000
    assert time.process_time() - begun < 2


def test_the_log_names_agents_as_tables_do() -> None:
    record = logging.LogRecord("owmesos", logging.INFO, "", 0, "ACCEPT on agent %s", (AGENT,), None)
    assert ShortIdFormatter().format(record) == "ACCEPT on agent S7"


def test_what_is_left_out_can_be_seen_by_an_option_that_the_command_has(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owmesos.cli.output.window_of_stdout", lambda *, wide: Window(None if wide else 40))
    show([launch()], LAUNCHES, "table")
    assert capsys.readouterr().err.endswith(": -o json shows all\n")
    show([launch()], LAUNCHES, "table", wide=False)
    assert capsys.readouterr().err.endswith(": --wide shows all\n")
    show([launch()], LAUNCHES, "table", wide=True)
    assert capsys.readouterr().err == ""
