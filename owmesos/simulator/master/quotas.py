"""Quotas: what is kept for a role, and what it may not exceed (docs/quota.md)."""

from __future__ import annotations

from owmesos.mesos.messages import Scalar
from owmesos.mesos.messages.operator import QuotaConfig
from owmesos.resources import MILLI, SCALARS, Resources
from owmesos.simulator.master.books import MasterBooks
from owmesos.simulator.master.effects import MasterRefusal
from owmesos.simulator.master.framework_checks import role_error
from owmesos.simulator.master.records import Quota
from owmesos.simulator.pieces import is_within


class Quotas:
    def __init__(self, books: MasterBooks) -> None:
        self._books = books

    @property
    def guaranteed(self) -> set[str]:
        return {role for role, quota in self._books.registry.quotas.items() if any(quota.guarantees.values())}

    def consumed(self, role: str) -> dict[str, int]:
        """By the role and those within it: used and offered."""
        within = [amounts for each, amounts in self._books.by_role.items() if is_within(each, role)]
        return {name: sum(amounts[name] for amounts in within) for name in SCALARS}

    def missing(self, role: str) -> dict[str, int]:
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

    def headroom(self) -> dict[str, int]:
        """What is free beyond all guarantees that are not met yet."""
        names = {name for role in self.guaranteed for name in self._books.registry.quotas[role].guarantees}
        spare = dict.fromkeys(names, 0)
        for agent in self._books.agents.values():
            if agent.active:
                add_to(spare, agent.available.unreserved)
        for role in self.guaranteed:
            for name, amount in self.missing(role).items():
                spare[name] -= amount
        return spare

    def _check(self, configs: list[QuotaConfig], *, force: bool) -> None:
        """Raises MasterRefusal."""
        for config in configs:
            error = role_error(config.role)
            if error is not None:
                raise MasterRefusal(400, f"Invalid 'QuotaConfig' for role '{config.role}': {error}")
        guarantees = {role: quota.guarantees for role, quota in self._books.registry.quotas.items()}
        guarantees |= {config.role: _thousandths(config.guarantees) for config in configs}
        for name in SCALARS:
            wanted = sum(each.get(name, 0) for each in guarantees.values())
            if wanted > self._books.whole[name] and not force:
                raise MasterRefusal(400, f"Invalid QuotaConfig: total guarantees of {name} exceed cluster capacity")

    def update(self, configs: list[QuotaConfig], *, force: bool) -> None:
        """Replaces the quotas of the roles that are named, and takes offers back where they stand in the way. Raises
        MasterRefusal."""
        self._check(configs, force=force)
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
            self._books.drop_offers(each for each in self._books.offers.values() if is_within(each.role, role))

    def _make_room(self, role: str) -> None:
        """Rescinds offers of others, agent by agent, until the guarantee could be met."""
        spare = self.headroom()
        for offer in [each for each in self._books.offers.values() if not is_within(each.role, role)]:
            if all(amount >= 0 for amount in spare.values()):
                return
            self._books.drop_offer(offer)
            add_to(spare, offer.pieces.unreserved)


def add_to(amounts: dict[str, int], resources: Resources, sign: int = 1) -> None:
    """Add what `resources` have of each kind that `amounts` name."""
    for name in amounts:
        amounts[name] += sign * getattr(resources, f"milli_{name}")


def _thousandths(amounts: dict[str, Scalar]) -> dict[str, int]:
    return {name: round(scalar.value * MILLI) for name, scalar in amounts.items() if name in SCALARS}
