"""What each process writes into the Lease."""

from __future__ import annotations

from typing import Any

import pytest

from owmesos.errors import InvalidInput
from owmesos.kubernetes import leases

T0, T1 = "2026-01-02T03:04:05.000001Z", "2026-01-02T03:04:06.000001Z"
A, B = leases.holder_name("0123abcd", 7, "pod-a"), leases.holder_name("4567cdef", 7, "pod-b")


def stored(**annotations: str) -> dict[str, Any]:
    """As the API server has one of ours, with what others wrote into it."""
    made = leases.taken(leases.new_lease("ns", "invoker0"), A, "http://a:1", 4, T0)
    metadata = {
        **made["metadata"],
        "uid": "u",
        "resourceVersion": "7",
        "annotations": {**made["metadata"]["annotations"], "example/note": "n", **annotations},
    }
    return {**made, "metadata": metadata, "spec": {**made["spec"], "strategy": "OldestEmulationVersion"}}


def test_a_new_one_is_the_first_holder_s() -> None:
    made = leases.taken(leases.new_lease("ns", "invoker0"), A, "http://a:1", 4, T0)
    assert made["metadata"]["name"] == "owmesos-invoker0"
    assert made["metadata"]["labels"] == {"app": "owmesos", "owmesos/invoker": "invoker0"}
    assert made["metadata"]["annotations"] == {"owmesos/admin": "http://a:1"}
    assert made["spec"] == {
        "holderIdentity": "0123abcd process 7 on pod-a",
        "leaseDurationSeconds": 4,
        "acquireTime": T0,
        "renewTime": T0,
        "leaseTransitions": 0,
    }


def test_whoever_takes_one_keeps_what_others_wrote() -> None:
    taken = leases.taken(stored(**{leases.WAITING: "b"}), B, "http://b:1", 4, T1)
    assert taken["metadata"] == {
        **stored()["metadata"],
        "annotations": {"owmesos/admin": "http://b:1", "example/note": "n"},
    }
    assert taken["spec"] == {
        "holderIdentity": B,
        "leaseDurationSeconds": 4,
        "acquireTime": T1,
        "renewTime": T1,
        "leaseTransitions": 1,
        "strategy": "OldestEmulationVersion",
    }


def test_one_that_somebody_made_empty_can_be_taken() -> None:
    empty = {"metadata": {"name": "owmesos-i", "resourceVersion": "3", "annotations": None}}
    taken = leases.taken(empty, A, "http://a:1", 4, T0)
    assert (taken["spec"]["holderIdentity"], taken["spec"]["leaseTransitions"]) == (A, 1)
    assert leases.waiting_of(empty) == ""


def test_its_holder_changes_only_the_time() -> None:
    assert leases.kept(stored(), T1) == {**stored(), "spec": {**stored()["spec"], "renewTime": T1}}


def test_whoever_ends_gives_it_away() -> None:
    spec = leases.released(stored(), T1)["spec"]
    assert (spec["holderIdentity"], spec["leaseDurationSeconds"], spec["leaseTransitions"]) == ("", 1, 0)


def test_whoever_waits_says_so_and_ends_it() -> None:
    waits = leases.announced(stored(), f"{B} at {T1}")
    assert leases.waiting_of(waits) == f"{B} at {T1}"
    assert waits["spec"] == stored()["spec"]
    assert leases.announced(waits, None) == stored()


def test_a_holder_is_named_for_people_if_it_is_one_of_ours() -> None:
    assert leases.holder_for_people(A) == "process 7 on pod-a"
    for other in ("", "postgres-0", "xyz process 7 on pod-a", "node_5fa2c1b2-0000-4000-8000-000000000000"):
        assert leases.holder_for_people(other) is None


@pytest.mark.parametrize("name", ["My_Invoker", "Invoker0", "a_b"])
def test_a_label_that_cannot_be_in_a_name_is_rejected(name: str) -> None:
    with pytest.raises(InvalidInput, match="choose one with --invoker-name"):
        leases.lease_name(name)
