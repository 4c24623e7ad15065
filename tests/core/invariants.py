"""What must hold between two changes of the placement's indices: they equal ones made anew."""

from __future__ import annotations

from itertools import chain, pairwise

from owmesos.core.placement import Placement, _ConstraintView
from owmesos.core.room_index import Entry, RoomIndex, Slot, _most


def check_placement(placement: Placement) -> None:
    agents, entries = placement._agents, placement._entries
    assert {Slot(agent_id, role) for agent_id, agent in agents.items() for role in agent.roles} == entries.keys()
    hosts = {(agent_id, host) for host, agent_ids in placement._hosts.items() for agent_id in agent_ids}
    assert hosts == {(agent_id, agent.hostname) for agent_id, agent in agents.items() if agent.hostname is not None}
    for view in placement._views.values():
        for agent_id, agent in agents.items():
            assert bool(agent.views & view.bit) == agent.meets(view.constraints), f"{agent_id} in {view.constraints}"
        _check_view(view, {slot: entry for slot, entry in entries.items() if placement._belongs(slot, view)})


def _check_view(view: _ConstraintView, entries: dict[Slot, Entry]) -> None:
    """`rows` hold `entries` but for the changes."""
    if view.stale:
        entries = {}
    for slot, held in view.changes.items():
        entries.pop(slot, None)
        if held is not None:
            entries[slot] = held
    for row in view.rows.values():
        check_room_index(row)
    assert sorted(entry for row in view.rows.values() for entry in entries_of(row)) == sorted(entries.values())
    assert view.stale or view.size == len(entries)


def entries_of(index: RoomIndex) -> list[Entry]:
    return list(chain.from_iterable(index._chunks))


def check_room_index(index: RoomIndex) -> None:
    """The order and every bound agree with the entries."""
    entries = entries_of(index)
    assert all(before < after for before, after in pairwise(entries)), "out of order"
    assert index._lasts == [chunk[-1] for chunk in index._chunks]
    for number, chunk in enumerate(index._chunks):
        bounds, most = tuple(bound[number] for bound in index._bounds), _most(chunk)
        loose = index._loose[number] and all(b >= m for b, m in zip(bounds, most, strict=True))
        assert bounds == most or loose, f"a chunk has the bounds {bounds}, and holds {most}"
