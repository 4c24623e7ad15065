# ruff: noqa: RUF012  (msgspec gives each instance a copy of its own)
"""What a framework subscribes with: its FrameworkInfo, offer filters and offer constraints.

Sources: include/mesos/v1/mesos.proto (FrameworkInfo, OfferFilters), docs/app-framework-development-guide.md,
include/mesos/v1/scheduler/scheduler.proto (OfferConstraints, AttributeConstraint).
"""

from __future__ import annotations

from owmesos.mesos.messages.values import ID, Capability, Labels, Scalar, Value


class ResourceQuantities(Value, frozen=True):
    """An agent passes when it has at least all of these, by resource name."""

    quantities: dict[str, Scalar] = {}


class MinAllocatableResources(Value, frozen=True):
    """Any one of `quantities` is enough."""

    quantities: list[ResourceQuantities] = []


class OfferFilters(Value, frozen=True):
    min_allocatable_resources: MinAllocatableResources | None = None


class FrameworkInfo(Value, frozen=True):
    """`id` is assigned by a master. `failover_timeout` is in seconds. `role` is for frameworks without MULTI_ROLE,
    `roles` for those with it. `offer_filters` is by role.
    """

    user: str
    name: str
    id: ID | None = None
    failover_timeout: float = 0.0
    checkpoint: bool = False
    role: str | None = None
    roles: list[str] = []
    hostname: str | None = None
    principal: str | None = None
    webui_url: str | None = None
    capabilities: list[Capability] = []
    labels: Labels | None = None
    offer_filters: dict[str, OfferFilters] = {}


class Selector(Value, frozen=True):
    """Either an attribute's name, or one of HOSTNAME, REGION, ZONE."""

    attribute_name: str | None = None
    pseudoattribute_type: str | None = None


class Exists(Value, frozen=True):
    pass


class NotExists(Value, frozen=True):
    pass


class TextEquals(Value, frozen=True):
    value: str


class TextNotEquals(Value, frozen=True):
    value: str


class TextMatches(Value, frozen=True):
    """`regex` is in RE2's syntax, and must match the whole text."""

    regex: str


class TextNotMatches(Value, frozen=True):
    regex: str


class Predicate(Value, frozen=True):
    """Exactly one field is set. A value that is not text passes each of the text predicates."""

    exists: Exists | None = None
    not_exists: NotExists | None = None
    text_equals: TextEquals | None = None
    text_not_equals: TextNotEquals | None = None
    text_matches: TextMatches | None = None
    text_not_matches: TextNotMatches | None = None


class AttributeConstraint(Value, frozen=True):
    selector: Selector
    predicate: Predicate


class Group(Value, frozen=True):
    """All must hold. Must not be empty."""

    attribute_constraints: list[AttributeConstraint]


class RoleConstraints(Value, frozen=True):
    """Any one group is enough. Must not be empty."""

    groups: list[Group]


class OfferConstraints(Value, frozen=True):
    """By role; an absent role is unconstrained."""

    role_constraints: dict[str, RoleConstraints] = {}
