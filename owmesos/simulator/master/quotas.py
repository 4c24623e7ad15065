"""Quotas: what is kept for a role, and what it may not exceed (docs/quota.md)."""

from __future__ import annotations

from owmesos.mesos.messages import Scalar
from owmesos.mesos.messages.operator import QuotaConfig
from owmesos.resources import MILLI, Resources
from owmesos.simulator.master.books import Books
from owmesos.simulator.master.framework_checks import role_error
from owmesos.simulator.master.registry import Quota
from owmesos.simulator.pieces import is_within

NAMES = ("cpus", "mem", "disk", "gpus")


class Headroom:
    """What is free beyond all guarantees that are not met yet."""

    def __init__(self, spare: dict[str, int]) -> None:
        self._spare = spare

    def spare(self) -> dict[str, int]:
        return self._spare

    def use(self, resources: Resources) -> None:
        for name in self._spare:
            self._spare[name] -= getattr(resources, f"milli_{name}")


class Quotas:
    def __init__(self, books: Books) -> None:
        self._books = books

    @property
    def guaranteed(self) -> set[str]:
        return {role for role, quota in self._books.registry.quotas.items() if any(quota.guarantees.values())}

    def consumed(self, role: str) -> dict[str, int]:
        """By the role and those within it: used and offered."""
        result = dict.fromkeys(NAMES, 0)
        for each, amounts in self._books.by_role.items():
            if is_within(each, role):
                for name in NAMES:
                    result[name] += amounts[name]
        return result

    def missing(self, role: str) -> dict[str, int]:
        """Of its guarantee."""
        quota, consumed = self._books.registry.quotas[role], self.consumed(role)
        return {name: max(0, amount - consumed[name]) for name, amount in quota.guarantees.items()}

    def left(self, role: str) -> dict[str, int] | None:
        """Below the limits of the role and those above it; None without any."""
        result: dict[str, int] | None = None
        for limited, quota in self._books.registry.quotas.items():
            if quota.limits and is_within(role, limited):
                consumed = self.consumed(limited)
                result = result if result is not None else {}
                for name, limit in quota.limits.items():
                    result[name] = min(result.get(name, limit), max(0, limit - consumed[name]))
        return result

    def headroom(self) -> Headroom:
        names = {name for role in self.guaranteed for name in self._books.registry.quotas[role].guarantees}
        spare = dict.fromkeys(names, 0)
        for agent in self._books.agents.values():
            if agent.active:
                for name in names:
                    spare[name] += getattr(agent.available.unreserved, f"milli_{name}")
        for role in self.guaranteed:
            for name, amount in self.missing(role).items():
                spare[name] -= amount
        return Headroom(spare)

    def error(self, configs: list[QuotaConfig], *, force: bool) -> str | None:
        """Why these cannot be, in Mesos's words."""
        for config in configs:
            error = role_error(config.role)
            if error is not None:
                return f"Invalid 'QuotaConfig' for role '{config.role}': {error}"
        guarantees = {role: quota.guarantees for role, quota in self._books.registry.quotas.items()}
        guarantees |= {config.role: _thousandths(config.guarantees) for config in configs}
        for name in NAMES:
            wanted = sum(each.get(name, 0) for each in guarantees.values())
            if wanted > self._books.whole[name] and not force:
                return f"Invalid QuotaConfig: total guarantees of {name} exceed cluster capacity"
        return None

    def update(self, configs: list[QuotaConfig]) -> None:
        """Replaces the quotas of the roles that are named, and takes offers back where they stand in the way."""
        for config in configs:
            quota = Quota(_thousandths(config.guarantees), _thousandths(config.limits))
            if quota.guarantees or quota.limits:
                self._books.registry.quotas[config.role] = quota
            else:
                self._books.registry.quotas.pop(config.role, None)
            self._enforce_limit(config.role, quota)
            if quota.guarantees:
                self._make_room(config.role)

    def _enforce_limit(self, role: str, quota: Quota) -> None:
        consumed = self.consumed(role)
        if any(consumed[name] > limit for name, limit in quota.limits.items()):
            for offer in [each for each in self._books.offers.values() if is_within(each.role, role)]:
                self._books.drop_offer(offer, rescind=True)

    def _make_room(self, role: str) -> None:
        """Rescinds offers of others, agent by agent, until the guarantee could be met."""
        spare = self.headroom().spare()
        for offer in [each for each in self._books.offers.values() if not is_within(each.role, role)]:
            if all(amount >= 0 for amount in spare.values()):
                return
            self._books.drop_offer(offer, rescind=True)
            for name in spare:
                spare[name] += getattr(offer.pieces.unreserved, f"milli_{name}")


def _thousandths(amounts: dict[str, Scalar]) -> dict[str, int]:
    return {name: round(scalar.value * MILLI) for name, scalar in amounts.items() if name in NAMES}
