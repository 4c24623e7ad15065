"""Objects of the API as JSON. They are never changed: a change makes a new one that shares what stays the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Document = dict[str, Any]
PodKey = tuple[str, str]
"""Namespace and name."""

TERMINAL = ("Succeeded", "Failed")
_DAY = 86_400


def key_of(document: Mapping[str, Any]) -> PodKey:
    metadata = document["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


def uid_of(document: Mapping[str, Any]) -> str:
    uid: str = document["metadata"]["uid"]
    return uid


def node_of(pod: Mapping[str, Any]) -> str:
    """Empty for one that is bound to none."""
    name: str = pod["spec"].get("nodeName", "")
    return name


def is_over(pod: Mapping[str, Any]) -> bool:
    """Whether its phase is terminal."""
    return pod["status"].get("phase") in TERMINAL


def is_deleted(pod: Mapping[str, Any]) -> bool:
    """Whether somebody asked for its end: it may run for its grace yet."""
    return "deletionTimestamp" in pod["metadata"]


def changed(document: Document, *, spec: Mapping[str, Any] | None = None, **status: Any) -> Document:
    """With other fields in its `spec` and its status. A value of None removes the field."""
    new = dict(document)
    if spec is not None:
        new["spec"] = _merged(document["spec"], spec)
    if status:
        new["status"] = _merged(document["status"], status)
    return new


def with_metadata(document: Document, **fields: Any) -> Document:
    return {**document, "metadata": _merged(document["metadata"], fields)}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> Document:
    return {name: value for name, value in {**old, **new}.items() if value is not None}


def condition(kind: str, status: bool | None, reason: str = "", message: str = "") -> Document:
    """`status` None is Unknown."""
    made = {"type": kind, "status": "Unknown" if status is None else str(status)}
    return made | {name: text for name, text in (("reason", reason), ("message", message)) if text}


def with_conditions(document: Document, *new: Document) -> list[Document]:
    """Those of a node or a pod, where `new` ones take the places of those of their types."""
    by_type = {each["type"]: each for each in document["status"].get("conditions", ())}
    return list((by_type | {each["type"]: each for each in new}).values())


def precise_timestamp(seconds: float) -> str:
    """As `timestamp`, with nanoseconds, as in logs. What a float has not is 0."""
    micros = round(seconds * 1e6)
    return f"{timestamp(micros // 1_000_000)[:-1]}.{micros % 1_000_000:06}000Z"


def timestamp(seconds: float) -> str:
    """Seconds of the epoch in RFC 3339, as the API server writes them: whole seconds of UTC."""
    days, rest = divmod(int(seconds), _DAY)
    era, day_of_era = divmod(days + 719_468, 146_097)  # from 0000-03-01; years begin in March, so leap days end them
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * march_month + 2) // 5 + 1
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = year_of_era + era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}T{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"
