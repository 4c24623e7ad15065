"""What came of it: pure counting, from what was asked, what owmesos says, and what tasks and the master wrote."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from chaos.evidence import Line
from chaos.load import AskedActivation, AskedLaunch, Known

ENDED = ("FINISHED", "FAILED", "KILLED", "LOST", "ERROR")
_STATUS_UPDATE = re.compile(
    r"^[IW](\d{4} [\d:.]{15}) .*[Ss]tatus update (TASK_\w+) \(Status UUID: \S+\) for task (\S+) of framework",
    re.MULTILINE,
)
_OURS = re.compile(r"c\d{5}-")
_TIMED_OUT = "exceeded its time limits"  # the only error of its user's that the action can have: it was frozen
_LATE = 2.0  # seconds: an end is told before the last process is gone
_TERMINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR")


@dataclass
class Counts:
    """`asked` were answered with an id, `ran` began to run; each of the others has a line that says what it is."""

    asked: int = 0
    ran: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        return [*self.lost, *self.twice, *self.orphans, *self.wrong]


class EndAtMaster(NamedTuple):
    """When the master learned of a task's end, in seconds of the epoch."""

    state: str
    at: float


def ends_at_master(log: str, year: int) -> dict[str, EndAtMaster]:
    """The first end of each task, by its id, that a Mesos master's log has: its times are local, and lack the year."""
    ends: dict[str, EndAtMaster] = {}
    for match in _STATUS_UPDATE.finditer(log):
        if match[2] in _TERMINAL:
            at = datetime.strptime(f"{year}{match[1]}", "%Y%m%d %H:%M:%S.%f").astimezone()
            ends.setdefault(match[3], EndAtMaster(match[2], at.timestamp()))
    return ends


def judge_launches(
    asked: Sequence[AskedLaunch],
    known: Known,
    lines: Iterable[Line],
    *,
    at_master: Mapping[str, EndAtMaster],
    left: Collection[str],
) -> Counts:
    """`at_master` has the ends of tasks; `left` are the launches of which a process is left in the end."""
    counts = Counts(wrong=list(known.changed))
    starts, ends = _by_owner(lines)
    by_name = {row["launch_id"].rsplit("-", 1)[0]: row for row in known.rows.values()}
    for each in asked:
        row = known.rows.get(each.launch_id) if each.launch_id is not None else by_name.get(each.name)
        if each.launch_id is not None:
            counts.asked += 1
            counts.ran += each.launch_id in starts
        if row is None:
            if each.launch_id is not None:
                counts.lost.append(f"{each.launch_id} is not known any more")
            continue
        launch_id = row["launch_id"]
        counts.lost += _lost(row)
        counts.orphans += _outlived(row, [*starts[launch_id], *ends[launch_id]])
        counts.wrong += _wrong(each, row, ends[launch_id], at_master.get(row["task_id"] or ""))
        if len(starts[launch_id]) > 1:
            tasks = ", ".join(sorted(line.attempt for line in starts[launch_id]))
            counts.twice.append(f"{launch_id} ran as {tasks}")
    counts.twice += _taken_twice(known.rows)
    for launch_id in sorted(left):
        counts.orphans.append(f"{launch_id} still runs, and is {_state(known, launch_id)}")
    return counts


def judge_quiet(rows: Mapping[str, Mapping[str, Any]], alive: Collection[str]) -> Counts:
    """When nothing goes wrong any more, and before the rest is killed: what runs, and what is said to run."""
    counts = Counts()
    running = {launch_id for launch_id, row in rows.items() if row["state"] == "RUNNING"}
    counts.wrong += [
        f"{launch_id} is said to be RUNNING, and no process of it is there" for launch_id in running - set(alive)
    ]
    for launch_id in sorted(set(alive) - running):
        state = rows[launch_id]["state"] if launch_id in rows else "not known"
        text = f"{launch_id} runs, and is {state}"
        (counts.orphans if state in ENDED or state == "not known" else counts.wrong).append(text)
    return counts


def judge_activations(asked: Sequence[AskedActivation], known: Known, lines: Iterable[Line]) -> Counts:
    counts = Counts()
    starts, ends = _by_owner(lines)
    answered = {each.activation_id for each in asked if each.activation_id is not None}
    counts.asked = len(answered)
    counts.ran = sum(each in starts for each in answered)
    counts.lost += [f"activation {each} has no record" for each in sorted(answered - set(known.records))]
    counts.twice += [f"activation {owner} ran {len(found)} times" for owner, found in starts.items() if len(found) > 1]
    numbers: dict[str, set[str]] = defaultdict(set)
    for owner, found in starts.items():
        numbers[found[0].attempt].add(owner)
    counts.twice += [f"invocation {number} ran as {owners}" for number, owners in numbers.items() if len(owners) > 1]
    told = {each.activation_id: each.status for each in asked if each.status is not None}
    for activation_id, record in known.records.items():
        status = record["response"]["status"]
        if told.get(activation_id, status) != status:
            counts.wrong.append(f"activation {activation_id} was {told[activation_id]} and is recorded as {status}")
        if status == "success" and not ends[activation_id]:
            counts.wrong.append(f"activation {activation_id} is a success, and never came to its end")
        elif status == "application error":
            counts.wrong.append(f"activation {activation_id} has an application error, which it cannot have")
        elif status == "action developer error" and _TIMED_OUT not in str(record["response"].get("result")):
            counts.wrong.append(f"activation {activation_id} is blamed on its user: {record['response'].get('result')}")
        elif status != "success" and not record["response"].get("result"):
            counts.wrong.append(f"activation {activation_id} has a {status} that does not say why")
    return counts


def how_they_ended(asked: Sequence[AskedLaunch], known: Known) -> Counter[str]:
    """States of launches with their reasons, and statuses of activations."""
    ids = {each.launch_id for each in asked}
    rows = (row for row in known.rows.values() if row["launch_id"] in ids)
    found = Counter(f"launch {row['state']}{' ' + row['reason'] if row['reason'] else ''}" for row in rows)
    found.update(f"activation {record['response']['status']}" for record in known.records.values())
    return found


def _lost(row: Mapping[str, Any]) -> Iterable[str]:
    if row["state"] not in ENDED:
        yield f"{row['launch_id']} has not ended: it is {row['state']}"
    elif row["state"] != "FINISHED" and not row["reason"] and not row["message"]:
        yield f"{row['launch_id']} is {row['state']}, and nothing says why"


def _taken_twice(rows: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """Requests, each with a name of its own, that were taken more than once: the client repeats them."""
    taken: dict[str, list[str]] = defaultdict(list)
    for launch_id, row in rows.items():
        if _OURS.match(launch_id):
            taken[launch_id.rsplit("-", 1)[0]].append(f"{launch_id} ({row['state']})")
    for name, launches in taken.items():
        if len(launches) > 1:
            yield f"{name} was asked for once and taken {len(launches)} times: {', '.join(launches)}"


def _outlived(row: Mapping[str, Any], lines: Iterable[Line]) -> Iterable[str]:
    """What it wrote after its task was said to have ended. LOST and UNREACHABLE say that nobody knows whether it has:
    such a task is killed when its agent comes back, and must be gone in the end as all others."""
    if row["ended_at"] is not None and row["state"] != "LOST" and row["reason"] != "UNREACHABLE":
        for line in lines:
            late = line.at - _seconds(row["ended_at"])
            if late > _LATE:
                yield f"{row['launch_id']} is {row['state']}, and {line.what}ed {late:.1f} s later ({line.attempt})"


def _wrong(
    each: AskedLaunch, row: Mapping[str, Any], ends: Sequence[Line], at_master: EndAtMaster | None
) -> Iterable[str]:
    launch_id, state = row["launch_id"], row["state"]
    known = at_master.state if at_master is not None and at_master.at <= _seconds(row["ended_at"]) else None
    told = f"{launch_id} is {state} ({row['reason']}: {row['message']})"
    if state == "FINISHED" and not any(line.status == 0 for line in ends):
        yield f"{told}, and never came to its end"
    elif state in ENDED and state != "FINISHED" and known == "TASK_FINISHED":
        yield f"{told}, and the master had TASK_FINISHED"
    elif state == "KILLED" and row["reason"] == "DEADLINE" and row["ended_at"] < row["deadline_at"]:
        yield f"{told}, and its deadline was {row['deadline_at']}"
    elif state == "KILLED" and row["reason"] != "DEADLINE" and each.kill_asked_at is None and known != "TASK_KILLED":
        yield f"{told}, and nobody asked for it"


def _seconds(instant: str | None) -> float:
    """Seconds since the epoch; 0 where there is none."""
    return datetime.fromisoformat(instant.replace("Z", "+00:00")).timestamp() if instant is not None else 0.0


def _by_owner(lines: Iterable[Line]) -> tuple[dict[str, list[Line]], dict[str, list[Line]]]:
    starts: dict[str, list[Line]] = defaultdict(list)
    ends: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        (starts if line.what == "start" else ends)[line.owner].append(line)
    return starts, ends


def _state(known: Known, launch_id: str) -> str:
    row = known.rows.get(launch_id)
    return str(row["state"]) if row is not None else "not known"
