"""Offer constraints: what a framework wants its offers' agents to be (Mesos 1.11).

As Mesos judges them: of a repeated attribute only the first value, a value that is not text passes every text
predicate, a regular expression is one of RE2 and matches the whole text. A master limits the memory and size of each
(`--offer_constraints_re2_max_mem`, `--offer_constraints_re2_max_program_size`; docs/configuration/master.md).
"""

from __future__ import annotations

from collections.abc import Callable

import re2

from owmesos.mesos.messages import Attribute, OfferConstraints, Predicate, RoleConstraints, Selector
from owmesos.simulator.protocol import AgentDescription, NotValid

Constraint = Callable[[AgentDescription], bool]
"""Whether an agent may be offered."""

_MAX_PROGRAM = 100  # Mesos's default, as is the memory
_OPTIONS = re2.Options()
_OPTIONS.log_errors = False
_OPTIONS.max_mem = 4096


def compile_constraints(constraints: OfferConstraints | None) -> dict[str, Constraint]:
    """By role. Raises NotValid."""
    if constraints is None:
        return {}
    return {role: _compile_role(role, each) for role, each in constraints.role_constraints.items()}


def _compile_role(role: str, constraints: RoleConstraints) -> Constraint:
    if not constraints.groups:
        raise NotValid(f"'OfferConstraints::role_constraints' has an empty 'RoleConstraints::groups' for role {role}")
    groups: list[list[Constraint]] = []
    for group in constraints.groups:
        if not group.attribute_constraints:
            raise NotValid(
                f"'OfferConstraints::role_constraints' contains an empty RoleConstraints::Group for role {role}"
            )
        groups.append([_compile(each.selector, each.predicate) for each in group.attribute_constraints])
    return lambda agent: any(all(holds(agent) for holds in group) for group in groups)


def _compile(selector: Selector, predicate: Predicate) -> Constraint:
    if selector.attribute_name is None and selector.pseudoattribute_type is None:
        raise NotValid("Exactly one of 'attribute_name' or 'pseudoattribute_type' is expected to be set")
    if predicate.exists is not None:
        return lambda agent: _find(selector, agent) is not None
    if predicate.not_exists is not None:
        return lambda agent: _find(selector, agent) is None
    if predicate.text_equals is not None:
        wanted = predicate.text_equals.value
        return _text(selector, lambda text: text == wanted, absent=False)
    if predicate.text_not_equals is not None:
        unwanted = predicate.text_not_equals.value
        return _text(selector, lambda text: text != unwanted, absent=True)
    if predicate.text_matches is not None:
        pattern = _regex(predicate.text_matches.regex)
        return _text(selector, lambda text: pattern.fullmatch(text) is not None, absent=False)
    if predicate.text_not_matches is not None:
        antipattern = _regex(predicate.text_not_matches.regex)
        return _text(selector, lambda text: antipattern.fullmatch(text) is None, absent=True)
    raise NotValid("Unknown predicate type")


def _text(selector: Selector, holds: Callable[[str], bool], *, absent: bool) -> Constraint:
    def judge(agent: AgentDescription) -> bool:
        value = _find(selector, agent)
        if value is None:
            return absent
        return holds(value) if isinstance(value, str) else True

    return judge


def _find(selector: Selector, agent: AgentDescription) -> str | Attribute | None:
    """The first value: a text, or an attribute that is none."""
    if selector.pseudoattribute_type is not None:
        if selector.pseudoattribute_type == "HOSTNAME":
            return agent.hostname
        domain = agent.domain.fault_domain if agent.domain is not None else None
        if domain is None:
            return None
        return domain.region.name if selector.pseudoattribute_type == "REGION" else domain.zone.name
    for attribute in agent.attributes:
        if attribute.name == selector.attribute_name:
            return attribute.text.value if attribute.text is not None else attribute
    return None


def _regex(pattern: str) -> re2._Regexp:
    try:
        regex = re2.compile(pattern, _OPTIONS)
    except re2.error as error:
        why = error.args[0].decode(errors="replace")
        raise NotValid(f"Failed to construct regex from pattern '{pattern}': {why}") from None
    if regex.programsize > _MAX_PROGRAM:
        raise NotValid(
            f"Regex '{pattern}' is too complex: program size of {regex.programsize} is larger than maximum of"
            f" {_MAX_PROGRAM} allowed"
        )
    return regex
