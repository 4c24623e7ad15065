"""What no scheduler may ever send, judged before the master sees it."""

from __future__ import annotations

from owmesos.mesos.messages import (
    Accept,
    AcceptInverseOffers,
    Acknowledge,
    Call,
    Decline,
    DeclineInverseOffers,
    Kill,
    Reconcile,
    Revive,
    Shutdown,
    Suppress,
    UpdateFramework,
)
from tests.model.cluster import Cluster
from tests.model.shadow import tasks_of

_WITHOUT_A_RULE = (Acknowledge, Kill, Reconcile, Revive, Shutdown, Suppress)


class CallChecks:
    """The calls of all incarnations of the scheduler."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._spent: set[str] = set()  # ids that stood in an ACCEPT or DECLINE

    def check(self, call: Call, framework_id: str) -> None:
        if isinstance(call, (Accept, Decline)):
            assert call.offer_ids, f"{call.wire_type} without offers"
            assert call.filters is not None, f"{call.wire_type} without a filter"
            assert call.filters.refuse_seconds is not None, f"{call.wire_type} without a filter"
            spent = self._spent.intersection(each.value for each in call.offer_ids)
            assert not spent, f"offers {spent} stand in two calls"
            if isinstance(call, Accept):
                assert tasks_of(call), "an ACCEPT without tasks"
                out = [
                    self._cluster.offers[each.value] for each in call.offer_ids if each.value in self._cluster.offers
                ]
                assert len({(offer.agent.id, offer.role) for offer in out}) <= 1, "offers that do not go together"
        elif isinstance(call, UpdateFramework):
            assert call.framework_info.id is not None
            assert call.framework_info.id.value == framework_id
        elif isinstance(call, (AcceptInverseOffers, DeclineInverseOffers)):
            assert call.filters is not None
        else:
            assert isinstance(call, _WITHOUT_A_RULE), f"the scheduler sent {call.wire_type}"

    def spend(self, call: Call) -> None:
        """The master takes it."""
        if isinstance(call, (Accept, Decline)):
            self._spent.update(each.value for each in call.offer_ids)
