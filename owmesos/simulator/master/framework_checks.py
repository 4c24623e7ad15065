"""The reasons for which a master refuses a framework, in Mesos's words (from src/master/validation.cpp)."""

from __future__ import annotations

import re

from owmesos.mesos.messages import FrameworkInfo, OfferConstraints
from owmesos.simulator.master.constraints import compile_constraints
from owmesos.simulator.protocol import NotValid

_BAD_ID = re.compile(r"[/\\\x00-\x1f\x7f]")


def id_error(value: str) -> str | None:
    if not value:
        return "ID must not be empty"
    if len(value) > 255:
        return f"ID must not be greater than 255 characters: '{value}'"
    if value in (".", ".."):
        return f"'{value}' is disallowed"
    return f"'{value}' contains invalid characters" if _BAD_ID.search(value) else None


def role_error(role: str) -> str | None:
    """docs/roles.md, "Invalid role names"."""
    if role == "*":
        return None
    if not role:
        return "Empty role name is invalid"
    if role.startswith("/"):
        return f"Role '{role}' cannot start with a slash"
    if role.endswith("/"):
        return f"Role '{role}' cannot end with a slash"
    for part in role.split("/"):
        if not part:
            return f"Role '{role}' cannot contain two adjacent slashes"
        if part in (".", "..", "*"):
            return f"Role '{role}' is invalid because it contains '{part}' as a role component"
        if part.startswith("-"):
            return f"Role component '{part}' is invalid because it begins with a dash"
        if re.search(r"[\t\n\v\f\r \b\x7f]", part):
            return f"Role component '{part}' is invalid because it contains backspace or whitespace"
    return None


def info_error(info: FrameworkInfo) -> str | None:
    multi_role = any(each.type == "MULTI_ROLE" for each in info.capabilities)
    if multi_role and info.role is not None:
        return "'FrameworkInfo.role' must not be set when the framework is MULTI_ROLE capable"
    if not multi_role and info.roles:
        return "'FrameworkInfo.roles' must not be set when the framework is not MULTI_ROLE capable"
    twice = sorted({role for role in info.roles if info.roles.count(role) > 1})
    if twice:
        return f"'FrameworkInfo.roles' contains duplicate items: {{ {', '.join(twice)} }}"
    for role in info.roles:
        error = role_error(role)
        if error is not None:
            return f"'FrameworkInfo.roles' contains invalid role: {error}"
    if info.role is not None and (error := role_error(info.role)) is not None:
        return f"'FrameworkInfo.role' is not a valid role: {error}"
    return id_error(info.id.value) if info.id is not None and info.id.value else None


def suppressed_error(info: FrameworkInfo, suppressed: list[str]) -> str | None:
    roles = info.roles or [info.role or "*"]
    for role in suppressed:
        if role not in roles:
            return f"Suppressed role '{role}' is not contained in the list of roles"
    return None


def constraints_error(constraints: OfferConstraints | None) -> str | None:
    try:
        compile_constraints(constraints)
    except NotValid as error:
        return str(error)
    return None


def unchangeable_error(before: FrameworkInfo, after: FrameworkInfo) -> str | None:
    """UPDATE_FRAMEWORK refuses what SUBSCRIBE ignores in silence."""
    for name in ("principal", "user", "checkpoint"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            return (
                f"Updating 'FrameworkInfo.{name}' is unsupported; "
                f"attempted to update from '{_shown(old)}' to '{_shown(new)}'"
            )
    return None


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value or "")
