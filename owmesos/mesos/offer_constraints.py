"""What the master is asked to filter for us, where it provably means the same as what we would judge.

Mesos 1.11 filters offers by attribute, but an attribute that is no text passes any text predicate, and of a repeated
attribute only the first value counts (measured). A host name is one text, always: so agents are named by theirs, and a
launch's own constraints are judged here, on the agents that come (include/mesos/v1/scheduler/scheduler.proto).
"""

from __future__ import annotations

from collections.abc import Iterable

from owmesos.mesos.messages import (
    AttributeConstraint,
    Group,
    OfferConstraints,
    Predicate,
    RoleConstraints,
    Selector,
    TextEquals,
)


def only_hosts(roles: Iterable[str], hostnames: Iterable[str]) -> OfferConstraints:
    """Offers of these hosts only, in every role. A group is an alternative."""
    selector = Selector(pseudoattribute_type="HOSTNAME")
    groups = [
        Group([AttributeConstraint(selector, Predicate(text_equals=TextEquals(hostname)))])
        for hostname in dict.fromkeys(hostnames)
    ]
    return OfferConstraints({role: RoleConstraints(groups) for role in roles})
