"""What `owmesos top` shows, and what its keys do: pure, from the newest documents to lines of text.

A screen has a heading, one of three tables with one row marked, and at the bottom the full text of that row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, NamedTuple

from owmesos.cli.columns import Document, ago, megabytes, node_state, number, of_total, short_id, short_ids, since
from owmesos.cli.status import REFUSES
from owmesos.cli.table import COLOURS
from owmesos.cli.text import visible

if TYPE_CHECKING:
    from rich.text import Text

AMOUNTS = ("used", "reserved", "buffer", "available")
"""What a bar shows, from left to right; the rest is used by other frameworks, or unknown."""
_BLOCKS = {"used": "█", "reserved": "▓", "buffer": "▒", "available": "░"}
_ASCII = {"used": "#", "reserved": "=", "buffer": "-", "available": "."}
_STYLES = {"used": "blue", "reserved": "magenta", "buffer": "yellow", "available": "green"}
_BOTTOM = 3  # lines: two of detail, one of keys
_HEAD = 5  # lines: three of heading, one of tables, one of titles


class Snapshot(NamedTuple):
    """The newest documents."""

    status: Document  # StatusDocument
    nodes: Sequence[Document] = ()  # NodeDocument
    waiting: Sequence[Document] = ()  # WaitingDocument
    containers: Sequence[Document] = ()  # ContainerDocument
    left_out: Mapping[str, int] = {}  # rows that the API does not send, by table
    lost: tuple[float, str] | None = None  # since when (seconds since the epoch) the API does not answer, and why


class TopColumn(NamedTuple):
    """As wide as its longest text, up to `width`."""

    title: str
    text: Callable[[Document], str]
    width: int  # characters at most; 0: all that are left
    right: bool = False  # aligned right
    bar: str | None = None  # the kind of resource to draw a bar of


class TopTable(NamedTuple):
    """One of the three tables."""

    name: str
    rows: Callable[[Snapshot], Sequence[Document]]
    key: Callable[[Document], str]  # what identifies a row
    columns: tuple[TopColumn, ...]
    sorts: Mapping[str, tuple[str, Callable[[Document], Any]]]  # by typed key: name, and value; largest first
    detail: Callable[[Document], str]  # the full text of a row


def _taken(kind: str) -> Callable[[Document], float]:
    """The share of a node's total that is not available, so that full nodes come first."""

    def share(row: Document) -> float:
        total = row["total"][kind] if row["total"] is not None else 0.0
        return 1.0 - row["available"][kind] / total if total else 0.0

    return share


def _descending(text: str) -> str:
    """A text that sorts in the opposite order."""
    return "".join(chr(0x10FFFF - ord(letter)) for letter in text)


def _name(row: Document) -> tuple[int, str]:
    return (-len(row["hostname"]), _descending(row["hostname"]))


def _cell(field: str) -> Callable[[Document], str]:
    return lambda row: "-" if row[field] is None else str(row[field])


NODES = TopTable(
    "nodes",
    lambda snapshot: snapshot.nodes,
    lambda row: f"{row['agent_id']} {row['role']}",
    (
        TopColumn("HOST", _cell("hostname"), 28),
        TopColumn("STATE", node_state, 8),
        TopColumn("CPUS AVAILABLE", of_total("cpus", number, "/"), 0, bar="cpus"),
        TopColumn("MB AVAILABLE", of_total("mem", megabytes, "/"), 0, bar="mem"),
    ),
    {"m": ("memory", _taken("mem")), "c": ("cpus", _taken("cpus")), "n": ("name", _name)},
    lambda row: ": ".join(each for each in (row["hostname"], row["agent_id"], row["reason"]) if each),
)
QUEUE = TopTable(
    "queue",
    lambda snapshot: snapshot.waiting,
    lambda row: str(row["id"]),
    (
        TopColumn("WAITS", lambda row: since(row["since"]), 5, right=True),
        TopColumn("ID", _cell("id"), 40),
        TopColumn("NAME", _cell("name"), 12),
        TopColumn("CPUS", lambda row: number(row["cpus"]), 5, right=True),
        TopColumn("MEM", lambda row: megabytes(row["mem"]), 6, right=True),
        TopColumn("WHY", lambda row: short_ids(row["reason"] or "…"), 0),
    ),
    {
        "w": ("wait", lambda row: _descending(row["since"] or "")),
        "m": ("memory", lambda row: row["mem"]),
        "c": ("cpus", lambda row: row["cpus"]),
    },
    lambda row: f"{row['kind']} {row['id']}: {short_ids(row['reason'] or 'not yet known why')}",
)
CONTAINERS = TopTable(
    "containers",
    lambda snapshot: snapshot.containers,
    lambda row: str(row["container_id"]),
    (
        TopColumn("CONTAINER", _cell("container_id"), 24),
        TopColumn("STATE", _cell("state"), 9),
        TopColumn("NODE", lambda row: short_id(row["agent_id"]), 20),
        TopColumn("MEM", _cell("memory"), 6, right=True),
        TopColumn("ACTIVE", _cell("active"), 6, right=True),
        TopColumn("IDLE", lambda row: "-" if row["active"] else since(row["last_used"]), 5, right=True),
        TopColumn("KIND", _cell("kind"), 12),
        TopColumn("ACTION", _cell("action"), 0),
    ),
    {
        "m": ("memory", lambda row: row["memory"]),
        "c": ("active", lambda row: row["active"]),
        "w": ("idle", lambda row: _descending(row["last_used"] or "")),
    },
    lambda row: f"{row['container_id']} at {row['address'] or '-'}: {row['action'] or 'no action yet'}",
)
TABLES = (NODES, QUEUE, CONTAINERS)


class TopView:
    """Which table is shown, how it is sorted, and which row is marked. `ascii_only`: for terminals without UTF-8."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        self.table: TopTable = NODES
        self._blocks = _ASCII if ascii_only else _BLOCKS
        self._sorts = {each.name: next(iter(each.sorts)) for each in TABLES}
        self._reversed = dict.fromkeys(self._sorts, False)
        self._marked = dict.fromkeys(self._sorts, 0)
        self._first = dict.fromkeys(self._sorts, 0)
        self._page = 1
        self._digits: dict[str | None, int] = {}

    def press(self, key: str) -> bool:
        """Returns False for a key that quits. An unknown key changes nothing."""
        name = self.table.name
        moves = {"up": -1, "down": 1, "pgup": -self._page, "pgdn": self._page, "home": -(10**9), "end": 10**9}
        if key in ("q", "Q"):
            return False
        if key in ("1", "2", "3"):
            self.table = TABLES[int(key) - 1]
        elif key in ("tab", "left", "right"):
            self.table = TABLES[(TABLES.index(self.table) + (-1 if key == "left" else 1)) % len(TABLES)]
        elif key in moves:
            self._marked[name] = max(0, self._marked[name] + moves[key])
        elif key == "r":
            self._reversed[name] = not self._reversed[name]
        elif key in self.table.sorts:
            self._reversed[name] = key == self._sorts[name] and not self._reversed[name]
            self._sorts[name] = key
        return True

    def screen(self, snapshot: Snapshot, width: int, height: int, now: float) -> Text:
        """At most `height` lines of `width` characters. `now`: seconds since the epoch."""
        from rich.text import Text

        self._page = max(1, height - _HEAD - _BOTTOM)
        rows = self._sorted(snapshot)
        lines = [*self._heading(snapshot, now), self._tabs(snapshot), *self._rows(rows, width)]
        lines += [Text()] * (height - _BOTTOM - len(lines))
        lines = [*lines[: max(_HEAD, height - _BOTTOM)], *self._bottom(rows, snapshot, width)][:height]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
        return Text("\n").join(lines)

    def page(self, snapshot: Snapshot, width: int, now: float) -> Text:
        """All tables, without keys, for output to a file or a pipe."""
        from rich.text import Text

        lines = list(self._heading(snapshot, now))
        for self.table in TABLES:
            rows = self._sorted(snapshot)
            self._page = len(rows)
            if rows:
                lines += [Text(), *self._rows(rows, width, marked=False)]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.rstrip()
        return Text("\n").join(lines)

    # -- within

    def _sorted(self, snapshot: Snapshot) -> list[Document]:
        name = self.table.name
        _, key = self.table.sorts[self._sorts[name]]
        return sorted(self.table.rows(snapshot), key=key, reverse=not self._reversed[name])

    def _heading(self, snapshot: Snapshot, now: float) -> list[Text]:
        from rich.text import Text

        status = snapshot.status
        cluster, sums = status["cluster"], status["nodes"]["sums"]
        first = Text.assemble((visible(status["name"]), "bold"), "  ")
        if snapshot.lost is not None:
            at, why = snapshot.lost
            first.append(f"no answer for {ago(now - at)}, retrying: {visible(why)}", "bold red")
        elif cluster["connected"] and cluster.get("silent_since"):
            first.append(f"the master has been silent for {since(cluster['silent_since'])}", "bold red")
            first.append(f": {visible(cluster['address'])}")
        elif cluster["connected"]:
            first.append("connected", "green").append(f" for {since(cluster['since'])}, {visible(cluster['address'])}")
        else:
            first.append(f"not connected for {since(cluster['since'])}", "bold red")
            first.append(f": {visible(cluster['reason'] or '')}")
        kinds = (("cpus", "CPUs", number), ("mem", "MB", megabytes))
        room = [f"{text(sums['available'][kind])} of {text(sums['total'][kind])} {unit}" for kind, unit, text in kinds]
        waits = [f"launches: {_oldest(status['queue'])}"] if cluster.get("manager") != "kubernetes" else []
        if status["runs"] is not None:
            waits.append(f"activations: {status['runs']['running']} running, {_oldest(status['runs'])}")
        return [first, Text(f"available: {', '.join(room)}"), Text("; ".join(waits))]

    def _tabs(self, snapshot: Snapshot) -> Text:
        from rich.text import Text

        line = Text()
        for place, table in enumerate(TABLES, 1):
            count = len(table.rows(snapshot)) + snapshot.left_out.get("waiting" if table is QUEUE else "", 0)
            line.append(f" {place} {table.name} {count} ", "reverse" if table is self.table else "")
            line.append(" ")
        name, order = self.table.name, ""
        if self._reversed[name]:
            order = ", reversed"
        line.append(f" by {self.table.sorts[self._sorts[name]][0]}{order}", "dim")
        return line

    def _rows(self, rows: Sequence[Document], width: int, *, marked: bool = True) -> list[Text]:
        from rich.text import Text

        name, table = self.table.name, self.table
        at = self._marked[name] = min(self._marked[name], max(0, len(rows) - 1))
        first = self._first[name] = max(0, min(max(self._first[name], at - self._page + 1), at))
        seen = rows[first : first + self._page]
        longest = [max((len(visible(each.text(row))) for row in seen), default=0) for each in table.columns]
        widths = _widths(table.columns, longest, width)
        self._digits = {each.bar: size for each, size in zip(table.columns, longest, strict=True)}
        titles = (_fitted(each.title, size, right=each.right) for each, size in zip(table.columns, widths, strict=True))
        lines = [Text(" ".join(titles), "bold")]
        for place, row in enumerate(seen, first):
            line = Text(" ").join(self._cell(row, *each) for each in zip(table.columns, widths, strict=True))
            if marked and place == at:
                line.stylize("reverse")
            lines.append(line)
        return lines if rows else [*lines, Text(f"no {name}" if name != "queue" else "nothing waits", "dim")]

    def _cell(self, row: Document, column: TopColumn, width: int) -> Text:
        from rich.text import Text

        text = visible(column.text(row))
        if column.bar is not None:
            numbers = min(width, self._digits[column.bar])
            bar = self._bar(row, column.bar, width - numbers - 1)
            return bar.append(" ").append(_fitted(text, numbers))
        return Text(_fitted(text, width, right=column.right), COLOURS.get(text, "") if column.title == "STATE" else "")

    def _bar(self, row: Document, kind: str, width: int) -> Text:
        """As long as the total; if that is unknown, as the known amounts together."""
        from rich.text import Text

        amounts = {name: max(0.0, row[name][kind]) for name in AMOUNTS}
        whole = row["total"][kind] if row["total"] is not None else sum(amounts.values())
        bar, done, drawn = Text(), 0.0, 0
        for name in AMOUNTS:
            done += amounts[name]
            end = min(width, round(done / whole * width)) if whole > 0 else 0
            bar.append(self._blocks[name] * (end - drawn), _STYLES[name])
            drawn = max(drawn, end)
        return bar.append(" " * (width - drawn))

    def _bottom(self, rows: Sequence[Document], snapshot: Snapshot, width: int) -> list[Text]:
        from rich.text import Text

        at = self._marked[self.table.name]
        detail = visible(self.table.detail(rows[at])) if rows else ""
        refuses = (snapshot.status["invoker"] or {}).get("refuses")
        if refuses is not None and not detail:
            detail = f"the invoker accepts no activations: {REFUSES.get(refuses, refuses)}"
        keys = Text()
        if self.table is NODES:
            for name in AMOUNTS:
                keys.append(self._blocks[name], _STYLES[name]).append(f" {name} ")
        keys.append(f" 1-3 table {' '.join(self.table.sorts)} sort r reverse q quit", "dim")
        return [*map(Text, [*wrap(detail, width), "", ""][:2]), keys]


def _oldest(queue: Document) -> str:
    oldest = queue["oldest"]
    return "none waits" if oldest is None else f"{queue['length']} waiting, oldest {ago(oldest['wait_s'])}"


def _widths(columns: Sequence[TopColumn], longest: Sequence[int], width: int) -> list[int]:
    """Columns of width 0 share the characters that are left."""
    widths = [min(each.width, max(size, len(each.title))) for each, size in zip(columns, longest, strict=True)]
    open_ones = sum(not each.width for each in columns)
    share = max(8, (width - sum(widths) - len(columns) + 1) // open_ones) if open_ones else 0
    return [size or share for size in widths]


def _fitted(text: str, width: int, *, right: bool = False) -> str:
    if len(text) > width:
        text = text[: max(0, width - 1)] + "…"
    return text.rjust(width) if right else text.ljust(width)
