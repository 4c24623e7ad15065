"""What each listing looks like: its fields for programs, its columns for people.

The fields are the contract (docs/cli.md), so that an empty listing has a heading too; the columns are the most useful
of them, short enough that a usual cluster fits into 100 characters. `-o json` has everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, NamedTuple

Document = Mapping[str, Any]
_OUTCOMES = ("success", "application error", "developer error", "internal error")
VECTOR = ("cpus", "mem", "disk", "gpus", "ports")
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?P<short>[SO][0-9]+)\Z")


class Column(NamedTuple):
    """`text` of a row; `number` is set flush right, `long` may be cut off at the window's edge."""

    title: str
    text: Callable[[Document], str]
    number: bool = False
    long: bool = False


class Listing(NamedTuple):
    """`vectors` are those of `fields` that hold resources."""

    fields: Sequence[str]
    vectors: Sequence[str]
    columns: Sequence[Column]
    nothing: str


def short_id(text: str | None) -> str:
    """`S3` of an agent's id, `O12` of an offer's: what comes before names the master, and is the same for all."""
    if text is None:
        return "-"
    match = _ID.match(text)
    return match["short"] if match else text


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def megabytes(value: float) -> str:
    """Without what nobody reads: no decimals from 100 MB on, rounded down, for it may be room."""
    return number(value) if value < 100 else str(int(value))


def ports(ranges: Sequence[Sequence[int]]) -> str:
    """`31000,31005-31007`"""
    return ",".join(str(begin) if begin == end else f"{begin}-{end}" for begin, end in ranges)


def count_of_ports(ranges: Sequence[Sequence[int]]) -> int:
    return sum(end - begin + 1 for begin, end in ranges)


def ago(seconds: float | None) -> str:
    """`12s`, `3m`, `2h`, `5d`"""
    if seconds is None:
        return "-"
    for size, unit in ((86400, "d"), (3600, "h"), (120, "m")):
        if seconds >= size:
            return f"{seconds // (60 if unit == 'm' else size):.0f}{unit}"
    return f"{max(0.0, seconds):.0f}s"


def since(text: str | None) -> str:
    """How long ago an instant was."""
    if text is None:
        return "-"
    return ago((datetime.now(timezone.utc) - datetime.fromisoformat(text.replace("Z", "+00:00"))).total_seconds())


def flat(row: Document, listing: Listing) -> dict[str, str]:
    """For TSV: each vector as five cells, lists as JSON; nothing is an empty cell."""
    cells: dict[str, str] = {}
    for field in listing.fields:
        value = row[field]
        if field in listing.vectors:
            for kind in VECTOR:
                cells[f"{field}.{kind}"] = "" if value is None else cell(value[kind])
        else:
            cells[field] = cell(value)
    return cells


def headings(listing: Listing) -> list[str]:
    names: list[str] = []
    for field in listing.fields:
        names += [f"{field}.{kind}" for kind in VECTOR] if field in listing.vectors else [field]
    return names


def cell(value: Any) -> str:
    """One cell of TSV: nothing is empty, what is no text is JSON."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _of(kind: str, shown: Callable[[float], str]) -> Callable[[Document], str]:
    """`3.5 of 4`: what is available of an agent's total, where that is known."""

    def text(row: Document) -> str:
        have = shown(row["available"][kind])
        return have if row["total"] is None else f"{have} of {shown(row['total'][kind])}"

    return text


def _pair(field: str) -> Callable[[Document], str]:
    """`0.5 / 320`: cpus and memory."""

    def text(row: Document) -> str:
        vector = row[field]
        return f"{number(vector['cpus'])} / {megabytes(vector['mem'])}" if vector["cpus"] or vector["mem"] else "-"

    return text


def _resource(kind: str) -> Column:
    if kind == "ports":
        return Column("PORTS", lambda row: str(count_of_ports(row["resources"]["ports"]) or "-"), number=True)
    return Column(kind.upper(), lambda row: number(row["resources"][kind]), number=True)


def _field(field: str, title: str, *, long: bool = False) -> Column:
    return Column(title, lambda row: "-" if row[field] is None else str(row[field]), long=long)


def _why(row: Document) -> str:
    """Of one that did what it should there is nothing to say."""
    return "" if row["state"] == "FINISHED" else str(row["message"] or row["reason"] or "")


def _what_became(row: Document) -> str:
    """Of an offer."""
    launches = row["launch_ids"]
    return f"{len(launches)} launches" if len(launches) > 1 else str(launches[0] if launches else row["reason"] or "")


def _annotation(row: Document, key: str) -> Any:
    return next((each["value"] for each in row["annotations"] if each["key"] == key), None)


def _moment(milliseconds: int) -> str:
    """`2026-01-02T03:04:05Z`"""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


NODES = Listing(
    fields=(
        *("agent_id", "hostname", "role", "attributes", "state", "total", "used", "free", "reserved", "buffer"),
        *("available", "unavailability", "observed_at", "age_s"),
    ),
    vectors=("total", "used", "free", "reserved", "buffer", "available"),
    columns=(
        _field("hostname", "HOST"),
        Column("AGENT", lambda row: short_id(row["agent_id"])),
        _field("role", "ROLE"),
        _field("state", "STATE"),
        Column("CPUS", _of("cpus", number), number=True),
        Column("MEM", _of("mem", megabytes), number=True),
        Column("PORTS", lambda row: str(count_of_ports(row["available"]["ports"])), number=True),
        Column("USED", _pair("used"), number=True),
        Column("RESERVED", _pair("reserved"), number=True),
        Column("BUFFER", _pair("buffer"), number=True),
        Column("SEEN", lambda row: ago(row["age_s"]), number=True),
    ),
    nothing="no agent is known",
)

OFFERS = Listing(
    fields=(
        *("offer_id", "agent_id", "hostname", "role", "resources", "state", "reason", "filter_s", "launch_ids"),
        *("received_at", "ended_at", "age_s"),
    ),
    vectors=("resources",),
    columns=(
        Column("OFFER", lambda row: short_id(row["offer_id"])),
        _field("hostname", "HOST"),
        Column("AGENT", lambda row: short_id(row["agent_id"])),
        _field("role", "ROLE"),
        _field("state", "STATE"),
        *(_resource(kind) for kind in ("cpus", "mem", "ports")),
        Column("FILTER", lambda row: ago(row["filter_s"]), number=True),
        Column("AGE", lambda row: ago(row["age_s"]), number=True),
        Column("WHY", _what_became, long=True),
    ),
    nothing="no offer is known",
)

RESERVATIONS = Listing(
    fields=("launch_id", "task_id", "agent_id", "hostname", "kind", "state", "resources", "since", "age_s"),
    vectors=("resources",),
    columns=(
        _field("launch_id", "LAUNCH"),
        _field("kind", "KIND"),
        _field("state", "STATE"),
        _field("hostname", "HOST"),
        Column("AGENT", lambda row: short_id(row["agent_id"])),
        *(_resource(kind) for kind in ("cpus", "mem", "disk", "ports")),
        Column("AGE", lambda row: ago(row["age_s"]), number=True),
    ),
    nothing="nothing is reserved",
)

LAUNCHES = Listing(
    fields=(
        *("launch_id", "task_id", "name", "state", "attempts", "agent_id", "hostname", "ports", "resources"),
        *("queue_position", "submitted_at", "deadline_at", "started_at", "ended_at", "reason", "message"),
    ),
    vectors=("resources",),
    columns=(
        _field("launch_id", "LAUNCH"),
        _field("state", "STATE"),
        _field("queue_position", "QUEUE"),
        _field("hostname", "HOST"),
        *(_resource(kind) for kind in ("cpus", "mem")),
        Column("PORTS", lambda row: ports(row["resources"]["ports"]) or "-"),
        Column("AGE", lambda row: since(row["submitted_at"]), number=True),
        Column("WHY", _why, long=True),
    ),
    nothing="no launch is known",
)

CONTAINERS = Listing(
    fields=("container_id", "action", "kind", "state", "agent_id", "address", "memory", "active", "last_used"),
    vectors=(),
    columns=(
        _field("container_id", "CONTAINER"),
        _field("action", "ACTION"),
        _field("kind", "KIND"),
        _field("state", "STATE"),
        Column("AGENT", lambda row: short_id(row["agent_id"])),
        _field("address", "ADDRESS"),
        Column("MEM", lambda row: str(row["memory"]), number=True),
        Column("ACTIVE", lambda row: str(row["active"]), number=True),
        Column("USED", lambda row: since(row["last_used"]), number=True),
    ),
    nothing="no container is known",
)

ACTIONS = Listing(
    fields=(
        *("namespace", "name", "version", "exec", "limits", "parameters", "annotations", "publish"),
        "updated",
    ),
    vectors=(),
    columns=(
        Column("ACTION", lambda row: f"/{row['namespace']}/{row['name']}"),
        Column("KIND", lambda row: str(row["exec"]["kind"])),
        _field("version", "VERSION"),
        Column("MEM", lambda row: str(row["limits"]["memory"]), number=True),
        Column("TIMEOUT", lambda row: f"{row['limits']['timeout']}ms", number=True),
        Column("CONCURRENCY", lambda row: str(row["limits"]["concurrency"]), number=True),
    ),
    nothing="there is no action",
)

ACTIVATIONS = Listing(
    fields=(
        *("activationId", "namespace", "name", "version", "start", "end", "duration", "statusCode"),
        *("annotations", "publish"),
    ),
    vectors=(),
    columns=(
        Column("DATETIME", lambda row: _moment(row["start"])),
        _field("activationId", "ACTIVATION ID"),
        Column("KIND", lambda row: str(_annotation(row, "kind"))),
        Column("START", lambda row: "warm" if _annotation(row, "initTime") is None else "cold"),
        Column("DURATION", lambda row: f"{row['duration'] or 0}ms", number=True),
        Column("STATUS", lambda row: _OUTCOMES[row["statusCode"]]),
        Column("ENTITY", lambda row: f"{row['namespace']}/{row['name']}:{row['version']}"),
    ),
    nothing="no activation has ended yet",
)

STORY = Listing(
    fields=("at", "state", "text"),
    vectors=(),
    columns=(_field("at", "AT"), _field("state", "STATE"), _field("text", "WHAT", long=True)),
    nothing="nothing happened yet",
)
