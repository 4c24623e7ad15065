"""The claim to an invoker's name: when it is free, when another process has it, and what cannot be told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from owmesos.kubernetes import leases
from owmesos.service.kubernetes.name_claim import DURATION, ClaimedWatch, NameClaim, NameTaken, token_of
from tests.fakes.api_server import FakeApiServer, answer, failure
from tests.service.kubernetes.scene import access_to
from tests.waiting import eventually_async

WHERE = ("default", "owmesos-invoker0")
OTHER = "00000000 process 1 on elsewhere"


class Claims:
    """One claim on a fake API server, at times of its own."""

    def __init__(self, server: FakeApiServer) -> None:
        self.server = server
        self.now = 0.0
        self.claim = NameClaim(access_to(server), "default", "invoker0", "11111111", now=lambda: self.now)

    def held(self, holder: str = OTHER, renewed: int = 0, duration: int = DURATION) -> None:
        """Another process has the Lease, and renewed it then."""
        found = self.server.leases.get_lease(*WHERE)
        document = found.body if found.done else leases.new_lease("default", "invoker0")
        stamp = f"2026-01-01T00:00:{renewed:02}.000000Z"
        taken = leases.taken(document, holder, "", duration, stamp)
        api = self.server.leases
        assert (api.put_lease(*WHERE, taken) if found.done else api.post_lease(WHERE[0], taken)).done

    @property
    def holder(self) -> str:
        return str(self.server.leases.get_lease(*WHERE).body["spec"]["holderIdentity"])

    async def after(self, seconds: float) -> str:
        self.now += seconds
        return await self.claim.attempt()


@pytest.fixture
async def claims() -> AsyncIterator[Claims]:
    server = await FakeApiServer(None).start()
    found = Claims(server)
    yield found
    await found.claim.release()
    await server.stop()


async def test_a_free_name_is_taken_and_renewed_and_released(claims: Claims) -> None:
    assert await claims.after(0) == "ours"
    assert claims.holder.startswith("11111111 process ")
    before = claims.server.leases.get_lease(*WHERE).body["spec"]["renewTime"]
    assert await claims.after(4) == "ours"
    assert claims.server.leases.get_lease(*WHERE).body["spec"]["renewTime"] > before
    await claims.claim.release()
    assert claims.holder == ""


async def test_a_holder_that_does_not_renew_is_dead_after_its_time(claims: Claims) -> None:
    claims.held()
    assert await claims.after(0) == "held"
    assert await claims.after(DURATION - 1) == "held"
    assert await claims.after(1) == "ours"


async def test_a_holder_that_renews_lives(claims: Claims) -> None:
    claims.held()
    assert await claims.after(0) == "held"
    claims.held(renewed=4)
    with pytest.raises(NameTaken, match="process 1 on elsewhere is invoker invoker0 in namespace default already"):
        await claims.after(5)


async def test_the_time_in_which_nobody_answers_does_not_count(claims: Claims) -> None:
    """The holder could not renew either."""
    claims.held()
    assert await claims.after(0) == "held"
    claims.server.unavailable = lambda _: True
    assert await claims.after(DURATION) == "away"
    claims.server.unavailable = lambda _: False
    assert await claims.after(1) == "held"
    assert await claims.after(DURATION - 1) == "held"
    assert await claims.after(1) == "ours"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_server_that_may_answer_soon_is_waited_for(claims: Claims, status: int) -> None:
    claims.server.answers.append(("/leases/", answer(status, failure(status, "InternalError", "not now"))))
    assert await claims.after(0) == "away"


@pytest.mark.parametrize(("status", "body"), [(403, "Forbidden"), (401, "Unauthorized"), (200, None)])
async def test_what_would_be_answered_again_hinders_nobody(claims: Claims, status: int, body: str | None) -> None:
    told = answer(status, failure(status, body, "no") if body is not None else {"spec": "what?"})
    claims.server.answers.append(("/leases/", told))
    assert await claims.after(0) == "unknown"


async def test_a_lease_for_years_is_waited_for_for_a_minute(claims: Claims) -> None:
    claims.held(duration=10**9)
    assert await claims.after(0) == "held"
    assert await claims.after(59) == "held"
    assert await claims.after(1) == "ours"


async def test_who_had_the_same_state_folder_is_followed_at_once(claims: Claims) -> None:
    claims.held("11111111 process 1 on elsewhere")
    assert await claims.after(0) == "ours"


async def test_a_name_that_is_lost_is_not_taken_back(claims: Claims) -> None:
    assert await claims.after(0) == "ours"
    claims.held("11111111 process 1 on elsewhere")  # a copy of the state folder
    with pytest.raises(NameTaken):
        await claims.after(4)


async def test_a_fault_of_ours_ends_the_process(claims: Claims) -> None:
    class Watch:
        def start(self) -> None:
            raise LookupError("a fault")

        def relist(self, reason: str) -> None: ...

        async def close(self) -> None: ...

    stopped: list[str] = []
    watch = ClaimedWatch(claims.claim, Watch(), stopped.append)
    watch.start()
    await eventually_async(lambda: stopped)
    await watch.close()
    assert stopped == ["internal error in the claim to its name: a fault"]


@pytest.mark.parametrize("content", [None, "", "nonsense", "1234"])
def test_a_token_stays_the_same_and_one_that_cannot_be_used_is_made_anew(tmp_path: Any, content: str | None) -> None:
    if content is not None:
        (tmp_path / "lease.token").write_text(content)
        (tmp_path / "lease.token").chmod(0o600)
    made = token_of(tmp_path)
    assert len(bytes.fromhex(made)) == 4
    assert token_of(tmp_path) == made
    assert (tmp_path / "lease.token").stat().st_mode & 0o777 == 0o600
