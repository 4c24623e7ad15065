"""Code, arguments and keys go to the container only, and what another process answers is nobody's result."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from owmesos.core.pool.events import StopCause
from owmesos.mesos.container_factory import is_mapped
from owmesos.mesos.scheduler.launch import Launch
from owmesos.openwhisk.activation import DEVELOPER_ERROR, SUCCESS, WHISK_ERROR
from owmesos.openwhisk.container import runner
from owmesos.openwhisk.container.access import ContainerAccess, access_to, secret_of, variables_of
from owmesos.openwhisk.container.client import ContainerClient
from owmesos.openwhisk.container.protocol import ContainerAnswer, NoAnswer, was_lost
from owmesos.runtimes.access import verifier_of
from owmesos.runtimes.framing import PROVE, VERIFIER
from tests.openwhisk.container.fake_container import HANG, Answering, FakeContainer, answer, http, proving
from tests.openwhisk.container.real_invoker import RealInvoker, RunEnded
from tests.openwhisk.runs import action
from tests.runtimes.container import free_port
from tests.waiting import eventually_async, in_time

SECRET = "a secret"
OK = answer({"ok": True})
UNSURE = ContainerAccess(mapped=False)
Start = Callable[[Answering], Awaitable[FakeContainer]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    made: list[FakeContainer] = []

    async def one(answering: Answering) -> FakeContainer:
        made.append(await FakeContainer(answering).start())
        return made[-1]

    yield one
    for container in made:
        await container.stop()


@pytest.fixture
async def invoker(tmp_path: Path) -> AsyncIterator[RealInvoker]:
    async with RealInvoker(tmp_path) as invoker:
        yield invoker


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "SETTLE", 0.2)
    monkeypatch.setattr(runner, "SETTLE_AFTER_REFUSAL", 0.1)


class TestSecrets:
    def test_each_container_has_its_own_and_always_the_same(self) -> None:
        assert secret_of("c1") == secret_of("c1") != secret_of("c2")

    def test_the_task_gets_only_what_verifies_it(self) -> None:
        assert variables_of("c1") == {VERIFIER: verifier_of(secret_of("c1"))}

    def test_one_that_proves_what_it_is_needs_no_mapping(self) -> None:
        assert access_to("c1", proves=True, mapped=False) == ContainerAccess(secret_of("c1"))

    @pytest.mark.parametrize(
        ("launch", "access"),
        [
            (Launch(command="x"), UNSURE),
            (Launch(image="i", network="host"), UNSURE),
            (Launch(image="i"), UNSURE),
            (Launch(image="i", network="bridge"), ContainerAccess()),
            (Launch(image="i", network="mine"), ContainerAccess()),
        ],
    )
    def test_what_is_known_of_a_container_follows_from_its_launch(
        self, launch: Launch, access: ContainerAccess
    ) -> None:
        assert access_to("c1", proves=False, mapped=is_mapped(launch)) == access


class TestAClientWithASecret:
    async def test_each_connection_proves_itself_once(self, start: Start) -> None:
        container = await start(proving(SECRET, lambda path, body: OK))
        client = ContainerClient(container.address, secret=SECRET)
        for _ in range(3):
            assert isinstance(await client.post("/run", [b"{}"], 10.0), ContainerAnswer)
        assert [path for path, _ in container.asked] == [PROVE, "/run", "/run", "/run"]
        assert [f"Authorization: Bearer {SECRET}" in head for head in container.heads] == [False, True, True, True]
        assert container.connections == 1
        await client.close()

    @pytest.mark.parametrize(
        "said",
        [
            answer({"proof": "0" * 64}),
            answer({"proof": "ü"}),
            answer({}),
            answer({"proof": 1}),
            http(200, b"\xff"),
            http(200, b"[" * 100_000),
            answer({"error": "not here"}, 404),
            http(501, b"not for you"),
            http(204, b""),
            b"SSH-2.0-OpenSSH\r\n",
            None,
        ],
    )
    async def test_a_stranger_gets_neither_code_nor_secret(self, said: bytes | None, start: Start) -> None:
        stranger = await start(lambda path, body: said)
        client = ContainerClient(stranger.address, secret=SECRET)
        assert await client.post("/init", [b"code"], 10.0, retry=True) is NoAnswer.UNPROVEN
        assert [path for path, _ in stranger.asked] == [PROVE]
        assert SECRET not in "".join(stranger.heads)
        await client.close()

    async def test_a_stranger_that_repeats_an_old_proof_is_one(self, start: Start) -> None:
        old: list[bytes] = []
        real = proving(SECRET, lambda path, body: OK)

        def repeat(path: str, body: bytes) -> bytes | None:
            old.append(real(path, body) or b"")
            return old[0]

        stranger = await start(repeat)
        first, second = (ContainerClient(stranger.address, secret=SECRET) for _ in range(2))
        assert isinstance(await first.post("/init", [b"code"], 10.0), ContainerAnswer)
        assert await second.post("/init", [b"code"], 10.0) is NoAnswer.UNPROVEN
        await first.close()
        await second.close()

    async def test_one_that_answers_no_challenge_in_time_is_a_stranger(self, start: Start) -> None:
        stranger = await start(lambda path, body: HANG)
        client = ContainerClient(stranger.address, secret=SECRET)
        assert await client.post("/init", [b"code"], 0.2, retry=True) is NoAnswer.UNPROVEN
        await client.close()

    @pytest.mark.parametrize("timeout", [0.0, 0.01, 0.06])
    async def test_one_to_whom_there_is_no_connection_in_time_is_no_stranger(self, timeout: float) -> None:
        client = ContainerClient(f"127.0.0.1:{free_port()}", secret=SECRET)
        assert await client.post("/init", [b"code"], timeout, retry=True) is NoAnswer.TIMED_OUT
        await client.close()

    async def test_who_takes_the_port_of_a_container_that_is_gone_gets_nothing(self, start: Start) -> None:
        container = await start(proving(SECRET, lambda path, body: OK))
        client = ContainerClient(container.address, secret=SECRET)
        await client.post("/init", [b"{}"], 10.0)
        await container.stop()
        await eventually_async(lambda: not container.serves)
        stranger = await FakeContainer(lambda path, body: OK).start(container.port)
        outcomes = [await client.post("/run", [b"arguments"], 10.0) for _ in range(3)]
        assert outcomes[-1] is NoAnswer.UNPROVEN
        assert {path for path, _ in stranger.asked} == {PROVE}
        await client.close()
        await stranger.stop()

    async def test_connections_of_runs_at_once_each_prove_themselves(self, start: Start) -> None:
        container = await start(proving(SECRET, lambda path, body: OK))
        client = ContainerClient(container.address, secret=SECRET)
        outcomes = await asyncio.gather(*(client.post("/run", [b"{}"], 10.0) for _ in range(10)))
        assert all(isinstance(outcome, ContainerAnswer) for outcome in outcomes)
        proofs = sum(path == PROVE for path, _ in container.asked)
        assert 1 < proofs == container.connections
        await client.close()

    async def test_closing_before_the_proof_means_that_nothing_was_sent(self, start: Start) -> None:
        stranger = await start(lambda path, body: HANG)
        client = ContainerClient(stranger.address, secret=SECRET)
        call = asyncio.create_task(client.post("/init", [b"code"], 60.0))
        await eventually_async(lambda: stranger.asked)
        await client.close()
        assert await call is NoAnswer.UNREACHABLE


class TestAContainerThatProves:
    async def test_a_stranger_at_its_port_makes_the_run_go_elsewhere(self, invoker: RealInvoker, start: Start) -> None:
        def steal(path: str, body: bytes) -> bytes:
            invoker.unreachable = None
            return answer({"stolen": True})

        stranger = await start(steal)
        invoker.unreachable = stranger.address
        run = invoker.submit(action(code="def main(a): return {'real': True}"), {"key": "k"})
        record = await in_time(run)
        assert record.response.status_code == SUCCESS
        assert {path for path, _ in stranger.asked} == {PROVE}
        assert len(invoker.given[record.activation_id]) == 2
        await eventually_async(invoker.quiet)

    async def test_strangers_everywhere_end_the_run_without_a_byte_of_it(
        self, invoker: RealInvoker, start: Start
    ) -> None:
        stranger = await start(lambda path, body: answer({"error": "yours"}, 502))
        invoker.unreachable = stranger.address
        with pytest.raises(RunEnded, match="did not start 3 times, last error: the process at its port did not prove"):
            await in_time(invoker.submit(action()))
        assert {path for path, _ in stranger.asked} == {PROVE}
        assert invoker.records == {}
        await eventually_async(invoker.quiet)

    async def test_a_task_that_ends_before_it_listens_makes_the_run_go_elsewhere(self, invoker: RealInvoker) -> None:
        invoker.unreachable = f"127.0.0.1:{free_port()}"
        run = invoker.submit(action(timeout=60_000))
        await eventually_async(lambda: invoker.given)
        invoker.unreachable = None
        (first,) = invoker.processes
        await asyncio.sleep(0)
        invoker.ended(first, "Command exited with status 1")
        record = await in_time(run)
        assert record.response.status_code == SUCCESS
        assert invoker.given[record.activation_id] == [first, *list(invoker.processes)[1:]]
        await eventually_async(invoker.quiet)

    async def test_one_that_is_lost_during_a_run_ends_it_and_charges_nobody(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: OK if path == "/init" else HANG)
        run = invoker.submit(action())
        await eventually_async(lambda: any(len(fake.asked) == 2 for fake in invoker.fakes.values()))
        invoker.ended(next(iter(invoker.fakes)), "agent S1 is unreachable", StopCause.LOST)
        record = await in_time(run)
        assert was_lost(record.response)

    async def test_one_that_is_lost_in_init_makes_the_run_go_elsewhere(self, invoker: RealInvoker) -> None:
        invoker.fake = lambda: FakeContainer(lambda path, body: HANG)
        run = invoker.submit(action())
        await eventually_async(lambda: any(fake.asked for fake in invoker.fakes.values()))
        (lost,) = invoker.fakes
        invoker.fake = lambda: FakeContainer(lambda path, body: OK)
        invoker.ended(lost, "agent S1 is unreachable", StopCause.LOST)
        record = await in_time(run)
        assert record.response.status_code == SUCCESS


@pytest.mark.usefixtures("quick")
class TestAContainerThatCannotProve:
    """An image in the host's network, or a command of somebody else's."""

    async def test_its_code_waits_until_the_task_would_have_ended(self, invoker: RealInvoker) -> None:
        invoker.access = UNSURE
        begun: list[float] = []

        def note(path: str, body: bytes) -> bytes:
            begun.append(time.monotonic())
            return OK

        invoker.fake = lambda: FakeContainer(note)
        before = time.monotonic()
        record = await invoker.invoke(action())
        assert begun[0] - before >= 0.2
        assert record.response.status_code == SUCCESS
        assert (record.annotation("initTime") or 0) < 200  # nor is the wait the action's

    async def test_one_that_has_run_for_long_is_asked_at_once(
        self, invoker: RealInvoker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "SETTLE", -1e9)
        monkeypatch.setattr(runner, "SETTLE_AFTER_REFUSAL", 1e9)
        invoker.access = UNSURE
        invoker.fake = lambda: FakeContainer(lambda path, body: OK)
        record = await in_time(invoker.invoke(action()))
        assert record.response.status_code == SUCCESS

    async def test_a_task_that_ends_meanwhile_makes_the_run_go_elsewhere(
        self, invoker: RealInvoker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(runner, "SETTLE", 60.0)
        invoker.access = UNSURE
        invoker.fake = lambda: FakeContainer(lambda path, body: OK)
        run = invoker.submit(action())
        await eventually_async(lambda: any(fake.connections for fake in invoker.fakes.values()))
        (stranger,) = invoker.fakes
        monkeypatch.setattr(runner, "SETTLE", 0.0)
        invoker.ended(stranger, "cannot listen on 127.0.0.1:31000: Address already in use")
        record = await in_time(run)
        assert record.response.status_code == SUCCESS
        assert invoker.fakes[stranger].asked == []
        assert len(invoker.given[record.activation_id]) == 2

    async def test_a_refusal_of_init_is_not_judged_when_the_task_has_ended(self, invoker: RealInvoker) -> None:
        invoker.access = UNSURE
        invoker.fake = lambda: FakeContainer(lambda path, body: http(501, b"not for you"))
        run = invoker.submit(action())
        await eventually_async(lambda: any(fake.asked for fake in invoker.fakes.values()))
        (stranger,) = invoker.fakes
        invoker.fake = lambda: FakeContainer(lambda path, body: OK)
        invoker.ended(stranger, "Command exited with status 1")
        record = await in_time(run)
        assert record.response.status_code == SUCCESS

    async def test_a_result_is_not_judged_when_the_task_has_ended(self, invoker: RealInvoker) -> None:
        invoker.access = UNSURE
        invoker.fake = lambda: FakeContainer(lambda path, body: OK if path == "/init" else http(501, b"not for you"))
        run = invoker.submit(action())
        await eventually_async(lambda: any(len(fake.asked) == 2 for fake in invoker.fakes.values()))
        invoker.ended(next(iter(invoker.fakes)), "Command exited with status 1")
        record = await in_time(run)
        assert record.response.status_code == WHISK_ERROR
        assert len(invoker.given[record.activation_id]) == 1  # it may have run

    async def test_a_refusal_of_one_that_runs_is_the_actions(self, invoker: RealInvoker) -> None:
        invoker.access = UNSURE
        invoker.fake = lambda: FakeContainer(lambda path, body: answer({"error": "bad code"}, 502))
        record = await invoker.invoke(action())
        assert record.response.status_code == DEVELOPER_ERROR
