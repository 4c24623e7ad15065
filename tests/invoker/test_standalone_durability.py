"""An activation that was answered with an id has one record and runs at most once, whatever happens to the process."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from owmesos.invoker.action_rules import WantedAction, WantedCode, WantedLimits
from owmesos.invoker.standalone import Standalone
from owmesos.openwhisk.activation import SUCCESS, WHISK_ERROR, Activation
from owmesos.openwhisk.container.log_lines import LOGS_MISSING
from owmesos.openwhisk.results import decode_result
from owmesos.openwhisk.store.activation_journal import FILE, ActivationJournal
from owmesos.openwhisk.store.journal_batch import JournalFailed
from owmesos.openwhisk.store.sqlite import FILE as RECORDS
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from owmesos.service.admin_tokens import ADMIN_FILE, read_token
from owmesos.service.framework import Framework
from owmesos.service.idempotency import KeyReused
from owmesos.simulator.cluster import SimulatedCluster
from tests.cli.running import Running, running
from tests.fixtures.task_ports import TaskPorts
from tests.waiting import eventually_async

KILLS = 4
WORKERS = 12
INTERRUPTED = "The invoker ended while the activation was running since "

RUNS = """\
import os, time
def main(args):
    with open({file!r}, "a") as file:
        file.write(os.environ["__OW_ACTIVATION_ID"] + "\\n")
    time.sleep(args.get("sleep", 0))
    return {{"n": args.get("n")}}
"""


@pytest.fixture
def cluster(task_ports: TaskPorts) -> Iterator[SimulatedCluster]:
    with SimulatedCluster(agents=2, resources=task_ports.resources(2, "cpus:4;mem:1024;disk:1024")) as cluster:
        yield cluster


class Ran:
    """The activations that ran, as their action wrote them down."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.code = RUNS.format(file=str(file))

    @property
    def ids(self) -> list[str]:
        return self._file.read_text().splitlines() if self._file.exists() else []


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    return Ran(tmp_path / "ran")


@asynccontextmanager
async def standalone_on(cluster: SimulatedCluster, folder: Path, *, drain: float = 0.0) -> AsyncIterator[Standalone]:
    """Leaving the block stops it in order."""
    standalone = Standalone(folder, drain=drain)
    async with Framework(master=cluster.master, name="durable", state=folder, pool=standalone.pool) as framework:
        await standalone.start(framework)
        try:
            yield standalone
        finally:
            await standalone.close()


class Forgetful:
    """An ActivationStore that writes nothing down."""

    def store(self, activation: Activation) -> None: ...


def wanted(code: str, **limits: int) -> WantedAction:
    return WantedAction(WantedCode("python:3", code), WantedLimits(**{"memory": 256, "logs": 0, **limits}))


async def record_of(folder: Path, standalone: Standalone, activation_id: str) -> Activation:
    store = EmbeddedStore(folder, standalone.manifest)
    record = await store.activation(activation_id)
    await store.close()
    assert record is not None
    return record


class TestOrderlyStop:
    async def test_the_record_of_what_was_running_says_when_and_what(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            invoked = await standalone.invoke("hello", {"sleep": 60}, blocking=False)
            await eventually_async(lambda: ran.ids)
            await asyncio.sleep(0.2)  # so that a duration of 0 would be seen
        record = await record_of(tmp_path, standalone, invoked.activation_id)
        assert decode_result(record.response.result) == {
            "error": "The invoker was stopped before the activation ended."
        }
        assert (record.response.status_code, record.annotation("kind")) == (WHISK_ERROR, "python:3")
        assert record.annotation("path") == "guest/hello"
        assert record.annotation("limits")["memory"] == 256
        assert record.duration is not None
        assert 200 <= record.duration < 30_000
        assert record.end - record.start == record.duration

    async def test_what_runs_has_its_time_to_end(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with standalone_on(cluster, tmp_path, drain=60.0) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            invoked = await standalone.invoke("hello", {"sleep": 0.5, "n": 7}, blocking=False)
            await eventually_async(lambda: ran.ids)
        record = await record_of(tmp_path, standalone, invoked.activation_id)
        assert decode_result(record.response.result) == {"n": 7}

    @pytest.mark.parametrize("hurried", [False, True], ids=["late", "hurried"])
    async def test_but_no_longer_than_that_or_than_a_second_signal_allows(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran, caplog: pytest.LogCaptureFixture, hurried: bool
    ) -> None:
        async with standalone_on(cluster, tmp_path, drain=3600.0 if hurried else 0.2) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            invoked = await standalone.invoke("hello", {"sleep": 60}, blocking=False)
            await eventually_async(lambda: ran.ids)
            if hurried:
                asyncio.get_running_loop().call_later(0.2, standalone.hurry)
        record = await record_of(tmp_path, standalone, invoked.activation_id)
        assert record.response.status_code == WHISK_ERROR
        assert "activations that have not ended, and are recorded as an internal error: 1" in caplog.text

    async def test_what_had_not_begun_runs_at_the_next_start(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("large", wanted(ran.code, memory=900))
            running = [await standalone.invoke("large", {"sleep": 60}, blocking=False) for _ in range(2)]
            await eventually_async(lambda: len(ran.ids) == 2)
            waiting = [await standalone.invoke("large", {"n": number}, blocking=False) for number in range(3)]
        async with standalone_on(cluster, tmp_path) as standalone:
            records = [await standalone.ended(each.activation_id) for each in waiting]
            assert [decode_result(record.response.result) for record in records] == [
                {"n": number} for number in range(3)
            ]
            assert len(await standalone.activations()) == 5
        assert re.search(
            r"the previous process was stopped at 2\S+Z: 3 activations that had not begun run now, 0 that", caplog.text
        )
        assert Counter(ran.ids) == Counter(each.activation_id for each in running + waiting)

    async def test_what_waits_does_not_begin_while_what_runs_has_its_time_to_end(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It would be cut off by the end of that time."""
        async with standalone_on(cluster, tmp_path, drain=5.0) as standalone:
            await standalone.put_action("large", wanted(ran.code, memory=900))
            for _ in range(2):
                await standalone.invoke("large", {"sleep": 1}, blocking=False)
            await eventually_async(lambda: len(ran.ids) == 2)
            waiting = await standalone.invoke("large", {"sleep": 8, "n": 7}, blocking=False)
        assert waiting.activation_id not in ran.ids
        async with standalone_on(cluster, tmp_path) as standalone:
            record = await standalone.ended(waiting.activation_id)
            assert decode_result(record.response.result) == {"n": 7}
        assert "have not ended" not in caplog.text

    async def test_without_a_folder_all_end_with_the_process(self, cluster: SimulatedCluster, ran: Ran) -> None:
        standalone = Standalone()
        async with Framework(master=cluster.master, name="durable", pool=standalone.pool) as framework:
            await standalone.start(framework)
            await standalone.put_action("large", wanted(ran.code, memory=900))
            calls = [asyncio.ensure_future(standalone.invoke("large", {"sleep": 60})) for _ in range(4)]
            await eventually_async(lambda: len(ran.ids) == 2)
            await standalone.close()
            results = [(await call).result for call in calls]
        assert results == [{"error": "The invoker was stopped before the activation ended."}] * 4


class TestJournal:
    async def test_it_is_empty_once_all_is_recorded(self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            await asyncio.gather(*(standalone.invoke("hello") for _ in range(20)))
        journal = ActivationJournal(tmp_path / FILE)
        await journal.close()
        assert journal.entries == []

    async def test_what_cannot_be_written_down_does_not_run(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            await standalone.invoke("hello")
            journal = standalone._journal
            assert journal is not None
            journal._db.execute("PRAGMA query_only = ON")
            for blocking in (True, False):
                with pytest.raises(JournalFailed, match="cannot be used"):
                    await standalone.invoke("hello", blocking=blocking)
            journal._db.execute("PRAGMA query_only = OFF")
            assert (await standalone.invoke("hello", {"n": 1})).result == {"n": 1}
            assert standalone.counts().warm == 3  # the container is kept
        assert len(ran.ids) == 2

    async def test_a_record_that_is_kept_already_is_not_written_again(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        """The process ended after the record was durable, and before the journal forgot the activation."""
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            standalone._journal.forget = lambda activation_ids: None  # type: ignore[method-assign, union-attr]
            standalone._store._tell_settled = lambda activation_ids: None  # type: ignore[union-attr]
            invoked = await standalone.invoke("hello", {"n": 1})
        async with standalone_on(cluster, tmp_path) as standalone:
            (record,) = await standalone.activations()
            assert (record.activation_id, record.response.status_code) == (invoked.activation_id, SUCCESS)
        journal = ActivationJournal(tmp_path / FILE)
        await journal.close()
        assert journal.entries == []


class TestResults:
    async def test_a_result_that_was_told_is_the_record_at_the_next_start(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        """The process ended before the record was written."""
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code, logs=1))
            assert standalone._invoker is not None
            standalone._invoker._activations = Forgetful()
            invoked = await standalone.invoke("hello", {"n": 1})
            assert invoked.result == {"n": 1}
        async with standalone_on(cluster, tmp_path) as standalone:
            record = await standalone.activation(invoked.activation_id)
            assert decode_result(record.response.result) == {"n": 1}
            assert (record.response.status_code, record.logs) == (SUCCESS, [LOGS_MISSING])
            assert invoked.activation is not None
            assert (record.start, record.duration) == (invoked.activation.start, invoked.activation.duration)
        assert ran.ids == [invoked.activation_id]

    async def test_a_stored_result_that_cannot_be_read_harms_no_other(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        journal = ActivationJournal(tmp_path / FILE)
        for activation_id, each in (("a" * 32, b""), ("b" * 32, b"\xff"), ("c" * 32, b"[" * 100_000)):
            journal.take(activation_id, b"{}")
            await journal.begin(activation_id, 1.0)
            await journal.end(activation_id, each)
        await journal.close()
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            assert (await standalone.invoke("hello", {}, blocking=True)).activation is not None
        journal = ActivationJournal(tmp_path / FILE)
        assert len(journal) == 3
        await journal.close()

    async def test_a_result_without_a_log_is_told_once_its_record_is_written(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code, logs=0))
            for number in range(5):
                invoked = await standalone.invoke("hello", {"n": number})
                with closing(sqlite3.connect(tmp_path / RECORDS)) as other, other:
                    rows = other.execute("SELECT activation_id FROM activations ORDER BY number DESC LIMIT 1")
                    assert rows.fetchall() == [(invoked.activation_id,)]

    async def test_a_result_that_cannot_be_written_is_not_told(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code, logs=1))
            assert standalone._invoker is not None
            assert standalone._journal is not None
            standalone._invoker._activations = Forgetful()
            call = asyncio.ensure_future(standalone.invoke("hello", {"n": 1, "sleep": 1}, key="k"))
            await eventually_async(lambda: ran.ids)
            standalone._journal._db.execute("PRAGMA query_only = ON")
            with pytest.raises(JournalFailed):
                await call
            standalone._journal._db.execute("PRAGMA query_only = OFF")
            await standalone.invoke("hello", {"n": 1, "sleep": 1}, key="k")
        assert len(ran.ids) == 1


class TestKeys:
    async def test_an_invocation_with_a_key_runs_once(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            first = await standalone.invoke("hello", {"n": 1}, key="k")
            again = await standalone.invoke("hello", {"n": 1}, key="k")
            assert (again.activation_id, again.result) == (first.activation_id, {"n": 1})
            waiting = [await standalone.invoke("hello", {"n": 2}, blocking=False, key="l") for _ in range(2)]
            assert waiting[0] == waiting[1]
            assert waiting[0].activation is None
            await standalone.ended(waiting[0].activation_id)
        async with standalone_on(cluster, tmp_path) as standalone:
            again = await standalone.invoke("hello", {"n": 1}, key="k")
            assert (again.activation_id, again.result) == (first.activation_id, {"n": 1})
            assert (await standalone.invoke("hello", {"n": 2}, blocking=False, key="l")) == waiting[0]
        assert ran.ids == [first.activation_id, waiting[0].activation_id]

    async def test_a_repetition_waits_for_the_first(self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            calls = [standalone.invoke("hello", {"n": 1, "sleep": 0.5}, key="k") for _ in range(5)]
            invoked = await asyncio.gather(*calls)
            assert [each.result for each in invoked] == [{"n": 1}] * 5
        assert ran.ids == [invoked[0].activation_id]

    async def test_a_repetition_needs_no_action_that_is_gone(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            first = await standalone.invoke("hello", {"n": 1}, key="k")
            await standalone.delete_action("hello")
            assert (await standalone.invoke("hello", {"n": 1}, key="k")).activation_id == first.activation_id

    async def test_a_key_with_another_invocation_is_an_error(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            for name in ("hello", "other"):
                await standalone.put_action(name, wanted(ran.code))
            await standalone.invoke("hello", {"n": 1}, key="k")
            for name, parameters, blocking in (
                ("hello", {"n": 2}, True),
                ("other", {"n": 1}, True),
                ("hello", {"n": 1}, False),
            ):
                with pytest.raises(KeyReused):
                    await standalone.invoke(name, parameters, blocking=blocking, key="k")
        assert len(ran.ids) == 1

    async def test_what_could_not_be_written_down_may_be_asked_for_again(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        async with standalone_on(cluster, tmp_path) as standalone:
            await standalone.put_action("hello", wanted(ran.code))
            journal = standalone._journal
            assert journal is not None
            journal._db.execute("PRAGMA query_only = ON")
            with pytest.raises(JournalFailed):
                await standalone.invoke("hello", {"n": 1}, key="k")
            journal._db.execute("PRAGMA query_only = OFF")
            assert (await standalone.invoke("hello", {"n": 1}, key="k")).result == {"n": 1}
        assert len(ran.ids) == 1


# -- kill -9


class Load:
    """Invocations over HTTP, from as many workers as there are; each goes on with whatever process is there."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self.url = ""
        self.asked = 0
        self.answered: list[str] = []
        self.told: dict[str, int] = {}  # the status codes of results
        self.interrupted: list[str] = []
        self.stop = False
        self._session = aiohttp.ClientSession()

    @property
    def _headers(self) -> dict[str, str]:
        """Each process has a token of its own."""
        return {"Authorization": f"Bearer {read_token(self._state / ADMIN_FILE)}"}

    async def worker(self, number: int) -> None:
        chance = random.Random(number)
        while not self.stop:
            self.asked += 1
            params = {"n": number, "sleep": chance.choice([0, 0, 0.05, 0.3])}
            body = {"params": params, "blocking": chance.random() < 0.5, "timeout": chance.choice([0.1, 60])}
            self.answered.append(await self._answer(body, f"{number}-{self.asked}"))

    async def _answer(self, body: dict[str, Any], key: str) -> str:
        """Asked for with one key until it is answered."""
        return str(await eventually_async(lambda: self._attempt(body, key), interval=0.05))

    async def _attempt(self, body: dict[str, Any], key: str) -> str | None:
        url, headers = f"{self.url}/api/v1/actions/hello/invoke", {**self._headers, "Idempotency-Key": key}
        try:
            async with self._session.post(url, json=body, headers=headers) as response:
                answer = await response.json()
        except (aiohttp.ClientError, OSError):
            return None
        assert response.status in (200, 202, 401, 503), answer  # the next process has another token
        if response.status == 200:
            self.told[answer["activationId"]] = answer["response"]["statusCode"]
        return str(answer["activationId"]) if response.status < 300 else None

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(f"{self.url}/api/v1/{path}", headers=self._headers) as response:
            return response.status, await response.json()

    async def count_of_records(self) -> int:
        count = 0
        while page := (await self.get(f"activations?limit=200&skip={count}"))[1]:
            count += len(page)
        return count

    async def put(self, code: str) -> None:
        body = {"exec": {"kind": "python:3", "code": code}, "limits": {"memory": 128, "logs": 0}}
        url = f"{self.url}/api/v1/actions/hello"
        async with self._session.put(url, json=body, headers=self._headers) as response:
            assert response.status == 200

    async def close(self) -> None:
        await self._session.close()


async def recorded(load: Load) -> Counter[int]:
    """Waits until all that were answered have a record; by the status code of their results."""
    codes: Counter[int] = Counter()
    for activation_id in load.answered:

        async def has_record(activation_id: str = activation_id) -> Any:
            status, answer = await load.get(f"activations/{activation_id}")
            return answer if status == 200 else None

        record = await eventually_async(has_record, what=f"a record of {activation_id}")
        codes[record["response"]["statusCode"]] += 1
        assert load.told.get(activation_id, record["response"]["statusCode"]) == record["response"]["statusCode"]
        if record["response"]["statusCode"] == WHISK_ERROR:
            load.interrupted.append(activation_id)
            assert record["response"]["result"]["error"].startswith(INTERRUPTED), record
            assert record["duration"] is None
    return codes


class TestKill9:
    async def test_every_answered_id_has_one_record_and_none_runs_twice(
        self, cluster: SimulatedCluster, tmp_path: Path, ran: Ran
    ) -> None:
        arguments = ("--standalone", "--master", cluster.master, "--state", str(tmp_path / "state"))
        chance = random.Random(7)
        load = Load(tmp_path / "state")
        workers: list[asyncio.Task[None]] = []
        try:
            for kill in range(KILLS):
                async with running(*arguments) as process:
                    load.url = process.url
                    if kill == 0:
                        await load.put(ran.code)
                        workers = [asyncio.create_task(load.worker(number)) for number in range(WORKERS)]
                    before = len(load.answered)
                    await eventually_async(lambda least=before + 30: len(load.answered) >= least)
                    await asyncio.sleep(chance.random() * 0.3)
                    await process.end(signal.SIGKILL)
            async with running(*arguments) as process:
                load.url, load.stop = process.url, True
                await asyncio.gather(*workers)
                codes = await recorded(load)
                await self._check(load, ran, codes, process)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            await load.close()

    @staticmethod
    async def _check(load: Load, ran: Ran, codes: Counter[int], process: Running) -> None:
        runs = Counter(ran.ids)
        assert [activation_id for activation_id, count in runs.items() if count > 1] == []
        assert len(set(load.answered)) == len(load.answered) == load.asked >= KILLS * 30
        assert await load.count_of_records() == load.asked
        assert set(runs) <= set(load.answered)
        assert set(codes) <= {SUCCESS, WHISK_ERROR}
        assert codes[SUCCESS] == len(runs) - sum(runs[each] for each in load.interrupted)
        assert "Traceback" not in process.log
        assert "the previous process crashed or was killed: " in process.log
