"""What each listing looks like: its fields for programs, those of its document, and its columns for people.

The columns are the most useful fields, short enough that a usual cluster fits into 100 characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import cached_property
from typing import Any, NamedTuple, get_type_hints

from owmesos import documents
from owmesos.cli.text import cell
from owmesos.openwhisk import documents as openwhisk_documents

Document = Mapping[str, Any]
_OUTCOMES = ("success", "application error", "developer error", "internal error")
_INTERNAL_ERROR = 3
VECTOR = tuple(documents.Vector.__annotations__)
_IDS = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}-(?P<short>[SO][0-9]+)\b")


class Column(NamedTuple):
    """A column of a table."""

    title: str
    text: Callable[[Document], str]
    number: bool = False  # aligned right
    long: bool = False  # may be cut to fit the window
    rare: bool = False  # left out if it is empty in all rows
    state: bool = False  # coloured by its text
    whole: Callable[[Document], str] | None = None  # the text with whole ids, for --wide
    wraps: bool = False  # goes on in the next line instead of being cut


class Listing:
    """The columns of one kind of document.

    `document` is the type of a row, `nothing` the text for an empty table. `spare` are the titles of the columns that a
    narrow window leaves out, in this order. `latest_first` says at which end the latest rows are; None if the order is
    another one.
    """

    def __init__(
        self,
        document: type,
        nothing: str,
        *columns: Column,
        spare: Sequence[str] = (),
        latest_first: bool | None = None,
    ) -> None:
        self.spare = spare
        self.latest_first = latest_first
        self.document = document
        self.nothing = nothing
        self.columns = columns

    def saying(self, nothing: str) -> Listing:
        return Listing(self.document, nothing, *self.columns, spare=self.spare, latest_first=self.latest_first)

    @property
    def fields(self) -> list[str]:
        """The names that every row has, in their order."""
        return [name for name in self.document.__annotations__ if name in self.document.__required_keys__]  # type: ignore[attr-defined]

    @cached_property
    def vectors(self) -> frozenset[str]:
        """Those of `fields` that hold resources."""
        hints = get_type_hints(self.document)
        return frozenset(name for name, kind in hints.items() if kind in (documents.Vector, documents.Vector | None))


def short_id(text: str | None) -> str:
    """`S3` of an agent's id, `O12` of an offer's: what comes before names the master, and is the same for all."""
    if text is None:
        return "-"
    match = _IDS.fullmatch(text)
    return match["short"] if match else text


def short_ids(text: str) -> str:
    """The text with its ids shortened as by `short_id`."""
    return _IDS.sub(lambda found: found["short"], text)


def node_state(row: Document) -> str:
    """As people read it: documents say `stale` of the normal state of an idle framework."""
    return "known" if row["state"] == "stale" else str(row["state"])


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
    """For TSV: each vector as six cells, lists as JSON; nothing is an empty cell."""
    cells: dict[str, str] = {}
    for field in listing.fields:
        value = row.get(field)
        if field in listing.vectors:
            for kind in VECTOR:
                cells[f"{field}.{kind}"] = "" if value is None else cell(value[kind])
        else:
            cells[field] = cell(value)
    return cells


def of_total(kind: str, shown: Callable[[float], str], between: str = " of ") -> Callable[[Document], str]:
    """`3.5 of 4`: what is available of an agent's total, where that is known."""

    def text(row: Document) -> str:
        have = shown(row["available"][kind])
        return have if row["total"] is None else f"{have}{between}{shown(row['total'][kind])}"

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


def _fields(**by_title: str) -> list[Column]:
    """Fields as they are: ids in short, times as how long ago, nothing as `-`."""
    return [_field(title, field) for title, field in by_title.items()]


def _field(title: str, field: str) -> Column:
    shown = _SHOWN.get(field, _plain)
    return Column(
        title,
        lambda row: shown(row[field]),
        number=shown in (ago, since, str),
        state=title in ("STATE", "STATUS", "OUTCOME"),
        whole=(lambda row: _plain(row[field])) if shown is short_id else None,
    )


def _plain(value: Any) -> str:
    return "-" if value is None else str(value)


_SHOWN: Mapping[str, Callable[[Any], str]] = {
    **dict.fromkeys(("agent_id", "offer_id"), short_id),
    **dict.fromkeys(("age_s", "filter_s"), ago),
    **dict.fromkeys(("submitted_at", "last_used", "since"), since),
    **dict.fromkeys(("memory", "active"), str),
}


def _why(row: Document) -> str:
    """Empty for a launch that succeeded. For one that waits again, why it waits and how the former attempt ended."""
    if row["state"] == "FINISHED":
        return ""
    last, summary = row["message"] or row["reason"], row.get("summary")
    return f"{summary}; last: {last}" if summary and last else str(summary or last or "")


def _sentence(title: str, text: Callable[[Document], str], *, rare: bool = False) -> Column:
    """A column of sentences, with short ids."""
    return Column(title, lambda row: short_ids(text(row)), long=True, rare=rare, whole=text)


def _what_is_wrong(row: Document) -> str:
    """What is wrong with a server, and what to do about it."""
    return ": ".join(row[field] for field in ("reason", "advice") if row[field])


def _what_became(row: Document) -> str:
    """What became of an offer."""
    launches = row["launch_ids"]
    return f"{len(launches)} launches" if len(launches) > 1 else str(launches[0] if launches else row["reason"] or "")


def _annotation(row: Document, key: str) -> Any:
    return next((each["value"] for each in row["annotations"] if each["key"] == key), None)


def _kind(row: Document) -> str:
    kind = _annotation(row, "kind")
    return "-" if kind in (None, "unknown") else str(kind)


def _start(row: Document) -> str:
    """`-` for an activation that did not run, and for an internal error, where it is unknown."""
    if _annotation(row, "initTime") is not None:
        return "cold"
    ran = _annotation(row, "waitTime") is not None and row["statusCode"] not in (None, _INTERNAL_ERROR)
    return "warm" if ran else "-"


def _status(row: Document) -> str:
    return str(row["state"]) if row["statusCode"] is None else _OUTCOMES[row["statusCode"]]


def _duration(row: Document) -> str:
    duration = row["duration"]
    return "-" if duration is None or (duration == 0 and _start(row) == "-") else f"{duration}ms"


def _moment(milliseconds: int) -> str:
    """`2026-01-02T03:04:05Z`"""
    return datetime.fromtimestamp(milliseconds / 1000, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_agent(row: Document) -> bool:
    """Whether the row is about an agent of Mesos: a node of Kubernetes has no id but its name."""
    return bool(row["agent_id"] != row["hostname"])


def _of_agent(text: Callable[[Document], str]) -> Callable[[Document], str]:
    """Nothing for a node of Kubernetes."""
    return lambda row: text(row) if is_agent(row) else ""


def _of_node(text: Callable[[Document], str]) -> Callable[[Document], str]:
    """Nothing for an agent of Mesos."""
    return lambda row: "" if is_agent(row) else text(row)


_AGENT = Column(
    "AGENT",
    _of_agent(lambda row: short_id(row["agent_id"])),
    rare=True,
    whole=_of_agent(lambda row: _plain(row["agent_id"])),
)


NODES = Listing(
    documents.NodeDocument,
    "no node is known",
    *_fields(HOST="hostname"),
    _AGENT,
    *_fields(ROLE="role"),
    Column("STATE", node_state, state=True),
    Column("CPUS", of_total("cpus", number), number=True),
    Column("MEM", of_total("mem", megabytes), number=True),
    Column("PORTS", _of_agent(lambda row: str(count_of_ports(row["available"]["ports"]))), number=True, rare=True),
    Column("PODS", _of_node(of_total("pods", str)), number=True, rare=True),
    *(Column(field.upper(), _pair(field), number=True) for field in ("used", "reserved", "buffer")),
    *_fields(SEEN="age_s"),
    _sentence("WHY", lambda row: str(row["reason"] or ""), rare=True),
    spare=("ROLE", "SEEN", "PORTS", "RESERVED", "BUFFER"),
)

OFFERS = Listing(
    documents.OfferDocument,
    "no offer is known",
    *_fields(OFFER="offer_id", HOST="hostname", AGENT="agent_id", ROLE="role", STATE="state"),
    *map(_resource, ("cpus", "mem", "ports")),
    *_fields(FILTER="filter_s", AGE="age_s"),
    _sentence("WHY", _what_became),
    spare=("ROLE", "FILTER", "PORTS", "CPUS", "MEM"),
)

RESERVATIONS = Listing(
    documents.ReservationDocument,
    "nothing is reserved",
    *_fields(LAUNCH="launch_id", KIND="kind", STATE="state", HOST="hostname"),
    _AGENT,
    *map(_resource, ("cpus", "mem", "disk", "ports")),
    *_fields(AGE="age_s"),
    spare=("DISK", "PORTS", "HOST"),
    latest_first=False,
)

LAUNCHES = Listing(
    documents.LaunchDocument,
    "no launch is known",
    *_fields(LAUNCH="launch_id", STATE="state", QUEUE="queue_position", HOST="hostname"),
    *map(_resource, ("cpus", "mem")),
    Column("PORTS", lambda row: ports(row["resources"]["ports"]) or "-"),
    *_fields(AGE="submitted_at"),
    _sentence("WHY", _why),
    spare=("PORTS", "CPUS", "MEM", "QUEUE"),
    latest_first=True,
)

KILLS = Listing(
    documents.KillDocument,
    "no launch matches: nothing was killed",
    *_fields(LAUNCH="launch_id", OUTCOME="outcome", STATE="state", HOST="hostname"),
    _sentence("WHY", _why),
    spare=("HOST",),
)

CONTAINERS = Listing(
    documents.ContainerDocument,
    "no container is known",
    *_fields(CONTAINER="container_id", ACTION="action", KIND="kind", STATE="state"),
    _AGENT,
    Column("NODE", _of_node(lambda row: _plain(row["hostname"])), rare=True),
    *_fields(ADDRESS="address", MEM="memory", ACTIVE="active", USED="last_used"),
    spare=("MEM", "KIND", "ADDRESS", "USED"),
    latest_first=False,
)

ACTIONS = Listing(
    openwhisk_documents.ListedAction,
    "no action is known",
    Column("ACTION", lambda row: f"/{row['namespace']}/{row['name']}"),
    Column("KIND", lambda row: str(row["exec"]["kind"])),
    *_fields(VERSION="version"),
    Column("MEM", lambda row: str(row["limits"]["memory"]), number=True),
    Column("TIMEOUT", lambda row: f"{row['limits']['timeout']}ms", number=True),
    Column("CONCURRENCY", lambda row: str(row["limits"]["concurrency"]), number=True),
    spare=("CONCURRENCY", "TIMEOUT", "VERSION"),
)

ACTIVATIONS = Listing(
    openwhisk_documents.ListedActivation,
    "no activation is known",
    Column("DATETIME", lambda row: _moment(row["start"])),
    Column("ACTIVATION ID", lambda row: str(row["activationId"])),
    Column("KIND", _kind),
    Column("START", _start),
    Column("DURATION", _duration, number=True),
    Column("STATUS", _status, state=True),
    Column("ENTITY", lambda row: f"{row['namespace']}/{row['name']}:{row['version']}"),
    _sentence("WHY", lambda row: row.get("summary") or "", rare=True),
    spare=("KIND", "START", "DATETIME", "DURATION"),
    latest_first=True,
)

SERVERS = Listing(
    documents.ServerRow,
    "no server is known",
    *_fields(SERVER="server", STATE="state", SINCE="since", ADDRESS="address"),
    Column("WHY", _what_is_wrong, long=True, rare=True),
)

STORY = Listing(
    documents.StoryEntry,
    "nothing happened yet",
    *_fields(AT="at", STATE="state"),
    _sentence("WHAT", lambda row: str(row["text"]))._replace(wraps=True),
    latest_first=False,
)

UNREADABLE = Listing(
    documents.UnreadableDocument,
    "every stored launch can be read",
    *_fields(LAUNCH="launch_id"),
    Column("WHY", lambda row: str(row["reason"]), long=True),
)


def _seconds(title: str, field: str) -> Column:
    return Column(title, lambda row: f"{row[field]:.2f}s" if row[field] < 10 else f"{row[field]:.0f}s", number=True)


def _share(title: str, field: str) -> Column:
    return Column(title, lambda row: f"{row[field]:.1%}", number=True)


def _count(title: str, field: str) -> Column:
    return Column(title, lambda row: f"{row[field]:,}", number=True)


SIMULATIONS = Listing(
    documents.SimulationDocument,
    "no setting was simulated",
    *_fields(SETTING="setting"),
    _seconds("MEDIAN", "wait_median_s"),
    _seconds("P99", "wait_p99_s"),
    _seconds("MAX", "wait_max_s"),
    _count(">60S", "long_waits"),
    _count("FAILED", "failed"),
    _count("OVER", "overprovisioned"),
    _share("COLD", "cold"),
    _share("USED", "memory_used"),
    _share("BUSY", "memory_busy"),
    spare=("BUSY", "MAX", ">60S"),
)
