"""Code that is encoded while it comes is what it would be if it were encoded as a whole."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.pool.events import PoolEvent, RunDone
from owmesos.openwhisk.activation import Activation, whisk_error
from owmesos.openwhisk.container.protocol import ABNORMAL_RUN
from owmesos.openwhisk.container.run_state import AckKind, Order
from owmesos.openwhisk.container.runner import ActionContainers
from owmesos.openwhisk.entities import ACTION_NOT_FETCHED, ActionNotFetched, ActionUnreadable
from owmesos.openwhisk.executable import ActionLimits, Encoding, StoredCode
from owmesos.openwhisk.messages import ActivationMessage, EntityName
from owmesos.openwhisk.store.code_cache import CodeCache
from owmesos.system import sliced_body
from owmesos.system.large_text import SLICE
from tests.openwhisk.container.fake_container import FakeContainer, answer
from tests.openwhisk.runs import executable, order
from tests.waiting import eventually_async

CUTS = st.lists(st.integers(0, 200), max_size=8)


def stored(*, binary: bool, length: int | None = None, attachment: str = "a") -> StoredCode:
    place = StoredCode(document_id="guest/hello", revision="1-a", attachment=attachment, length=length)
    made = initializer(place, binary=binary)
    assert isinstance(made, StoredCode)
    return made


def initializer(code: str | StoredCode, *, binary: bool = False) -> bytes | StoredCode:
    name = EntityName("guest", "hello")
    return executable(name, code, main="entry", binary=binary).initializer


def encoded(code: StoredCode, data: bytes, cuts: list[int]) -> bytes:
    encoding, begin = Encoding(code), 0
    for end in [*sorted(cuts), len(data)]:
        encoding.extend(data[begin:end])
        begin = min(end, len(data))
    return bytes(encoding.finish())


@given(st.binary(max_size=200), CUTS)
def test_binary_code(data: bytes, cuts: list[int]) -> None:
    whole = initializer(base64.b64encode(data).decode(), binary=True)
    code = stored(binary=True, length=len(data))
    assert encoded(code, data, cuts) == whole
    assert isinstance(whole, bytes)
    assert code.encoded_length == len(whole)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60), CUTS)
def test_text(text: str, cuts: list[int]) -> None:
    whole = initializer(text)
    assert encoded(stored(binary=False), text.encode(), cuts) == whole


class Watched(str):
    """Code that counts how much of it is taken at once."""

    __slots__ = ("most",)

    def __getitem__(self, part: Any) -> str:
        found = super().__getitem__(part)
        self.most = max(getattr(self, "most", 0), len(found))
        return found


def test_large_code_in_a_document_is_encoded_in_slices() -> None:
    text = 'aä\\"\n' * SLICE
    code = Watched(text)
    whole = initializer(code)
    assert json.loads(b'{"env":{},' + whole[:-1])["code"] == text
    assert code.most == SLICE


@pytest.mark.parametrize("data", [b"\xff", "ä".encode()[:1]])
def test_what_is_not_text_is_told(data: bytes) -> None:
    with pytest.raises(UnicodeDecodeError):
        encoded(stored(binary=False), data, [])


class Buffer(bytearray):
    """One that can be referred to weakly."""


class Heard:
    """What became of the runs."""

    def __init__(self) -> None:
        self.told: list[PoolEvent] = []
        self.ended: dict[str, Activation] = {}

    def notify_pool(self, event: PoolEvent) -> None:
        self.told.append(event)

    async def begin(self, run_id: str) -> None: ...

    def acknowledge(self, kind: AckKind, message: ActivationMessage, activation: Activation) -> None:
        self.ended[activation.activation_id] = activation

    def record(self, message: ActivationMessage, activation: Activation) -> None: ...


class LendsOnce:
    """Code that is there once only. `lent`: who has it."""

    def __init__(self, *, shorter: bool) -> None:
        self.lent = 0
        self.loans = 0
        self._shorter = shorter

    @asynccontextmanager
    async def use(self, code: StoredCode) -> AsyncIterator[bytes]:
        self.loans += 1
        if self.loans > 1 and not self._shorter:
            raise ActionNotFetched(code.document_id, "the database is down")
        self.lent += 1
        yield b"x" * (20_000_000 if self.loans == 1 else 1000)
        self.lent -= 1


class TestContainers:
    def of(self, *, attachment: str = "a") -> Order:
        place = StoredCode(document_id="guest/hello", revision="1-a", attachment=attachment)
        entity = EntityName("guest", "hello")
        made = executable(entity, place, binary=True, limits=ActionLimits(logs=0))
        return order(of=made)

    async def test_they_are_initialized_with_it(self) -> None:
        data, fetched = bytes(range(256)) * 8192, list[StoredCode]()

        async def fetch(code: StoredCode) -> bytearray:
            fetched.append(code)
            encoding = Encoding(code)
            encoding.extend(data)
            return encoding.finish()

        heard, cache = Heard(), CodeCache(fetch)
        containers = ActionContainers(heard, time.time, codes=cache)
        both = [await FakeContainer(lambda path, body: answer({})).start() for _ in range(2)]
        for container in both:
            containers.started(container.address, container.address)
            containers.run(container.address, self.of(), initialize=True)
        await eventually_async(lambda: len(heard.ended) == 2)
        for container in both:
            assert [path for path, _ in container.asked] == ["/init", "/run"]
            value = json.loads(container.asked[0][1])["value"]
            assert (base64.b64decode(value["code"]), value["main"], value["binary"]) == (data, "main", True)
        assert len(fetched) == 1
        await containers.close()
        for container in both:
            await container.stop()

    async def test_one_that_takes_long_over_its_init_holds_no_code(self) -> None:
        """And one that ends its connection without an answer gets all of it again."""
        data, answers = bytes(range(256)) * 8192, [None, b""]  # b"" is none so far
        fetched: list[weakref.ref[Buffer]] = []

        async def fetch(code: StoredCode) -> bytearray:
            encoding = Encoding(code)
            encoding.extend(data)
            made = Buffer(encoding.finish())
            fetched.append(weakref.ref(made))
            return made

        heard, cache = Heard(), CodeCache(fetch, budget=1)  # each code is held alone
        containers = ActionContainers(heard, time.time, codes=cache)
        slow = await FakeContainer(lambda path, body: answers.pop(0)).start()
        containers.started("slow", slow.address)
        containers.run("slow", self.of(), initialize=True)
        await eventually_async(lambda: len(slow.asked) == 2)
        assert slow.asked[0] == slow.asked[1]
        assert base64.b64decode(json.loads(slow.asked[1][1])["value"]["code"]) == data
        other = await FakeContainer(lambda path, body: answer({})).start()
        containers.started("other", other.address)
        containers.run("other", self.of(attachment="b"), initialize=True)
        await eventually_async(lambda: heard.ended)
        await eventually_async(lambda: [each() is None for each in fetched] == [True, False])
        assert [path for path, _ in other.asked] == ["/init", "/run"]
        await containers.close()
        for container in (slow, other):
            await container.stop()

    @pytest.mark.parametrize("codes", [True, False])
    async def test_a_run_whose_code_cannot_be_had_ends_as_if_its_action_could_not(self, codes: bool) -> None:
        async def fetch(code: StoredCode) -> bytearray:
            raise ActionUnreadable(code.document_id, "it is not there")

        heard, run = Heard(), self.of()
        containers = ActionContainers(heard, time.time, codes=CodeCache(fetch) if codes else None)
        container = await FakeContainer(lambda path, body: answer({})).start()
        containers.started("c1", container.address)
        containers.run("c1", run, initialize=True)
        await eventually_async(lambda: heard.ended)
        response = heard.ended[run.run_id].response
        assert response == whisk_error("Action version is not compatible and cannot be invoked.")
        assert (heard.told, container.asked) == ([RunDone("c1", run.run_id, False)], [])
        await containers.close()
        await container.stop()

    @pytest.mark.parametrize(
        ("shorter", "said"),
        [(False, ACTION_NOT_FETCHED), (True, ABNORMAL_RUN)],
    )
    async def test_code_that_is_gone_when_a_slow_container_reads_on_is_not_the_users_fault(
        self, shorter: bool, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sliced_body, "STALLED", 0.05)
        codes, heard, run, left = LendsOnce(shorter=shorter), Heard(), self.of(), asyncio.Event()

        async def read_slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await eventually_async(lambda: codes.loans > 0 and codes.lent == 0)
            while await reader.read(2**20):
                pass
            writer.close()
            await writer.wait_closed()
            left.set()

        server = await asyncio.start_server(read_slowly, "127.0.0.1", 0)
        containers = ActionContainers(heard, time.time, codes=codes)
        containers.started("c1", f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        containers.run("c1", run, initialize=True)
        await eventually_async(lambda: heard.ended)
        assert heard.ended[run.run_id].response == whisk_error(said)
        assert (heard.told, codes.lent) == ([RunDone("c1", run.run_id, False)], 0)
        await containers.close()
        await left.wait()
        server.close()


def test_another_attachment_is_another_action() -> None:
    def digest(attachment: str) -> bytes:
        place = StoredCode(document_id="guest/hello", revision="1-a", attachment=attachment)
        return executable(EntityName("guest", "hello"), place).digest

    assert digest("a") == digest("a") != digest("b")
