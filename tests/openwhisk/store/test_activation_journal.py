"""The journal of activations: what was written is there at the next start, in groups, and a failure is told."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from owmesos.openwhisk.store.activation_journal import CHECKPOINT_AFTER, ActivationJournal
from owmesos.openwhisk.store.journal_batch import OVER, JournalBatch, JournalEntry, JournalFailed, TakenKey
from tests.waiting import eventually_async, in_time

SYNCED = pytest.mark.parametrize("synced", [True], indirect=True)
"""For what is so where a commit waits for the disk only."""
_mode = {"synced": True}


@pytest.fixture(params=[True, False], ids=["synced", "not synced"], autouse=True)
def synced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setitem(_mode, "synced", request.param)
    return bool(request.param)


def opened(file: Path) -> ActivationJournal:
    return ActivationJournal(file, synced=_mode["synced"])


async def left(file: Path) -> list[JournalEntry]:
    """What the next process finds."""
    journal = opened(file)
    await journal.close()
    return journal.entries


def taken(
    journal: ActivationJournal, activation_id: str, message: bytes = b"{}", key: TakenKey | None = None
) -> asyncio.Future[None]:
    journal.take(activation_id, message, key)
    return journal.taken(activation_id)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}


def commits_of(journal: ActivationJournal) -> list[object]:
    seen: list[object] = []
    commit = journal._commit

    def counted(batch: JournalBatch) -> None:
        commit(batch)
        seen.append(batch)

    journal._commit = counted  # type: ignore[method-assign]
    return seen


def break_the_file(journal: ActivationJournal) -> None:
    journal._db.execute("PRAGMA query_only = ON")


def mend_the_file(journal: ActivationJournal) -> None:
    journal._db.execute("PRAGMA query_only = OFF")


class TestWhatIsLeft:
    async def test_what_was_taken_and_what_was_begun(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        for name in ("b", "a", "c", "d"):
            await taken(journal, name, name.encode())
        await journal.begin("a", 12.5)
        await journal.begin("d", 13.5)
        journal.forget(["d", "never there"])
        assert len(journal) == 3
        await journal.close()
        assert await left(file) == [JournalEntry("b", b"b"), JournalEntry("a", b"a", 12.5), JournalEntry("c", b"c")]

    async def test_one_that_is_taken_and_begun_at_once(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        journal.take("a", b"{}")
        durable = journal.taken("a")
        await journal.begin("a", 1.0)
        assert durable.done()
        await journal.close()
        assert await left(file) == [JournalEntry("a", b"{}", 1.0)]

    async def test_a_result_that_is_about_to_be_told(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        journal.take("a", b"{}")
        await journal.begin("a", 1.0)
        await journal.end("a", b"result")
        journal.forget(["a"])
        await journal.end("a", b"late")
        journal.take("b", b"{}")
        await journal.begin("b", 2.0)
        await journal.end("b", b"result")
        await journal.close()
        assert await left(file) == [JournalEntry("b", b"{}", 2.0, b"result")]

    async def test_one_that_is_over_before_it_is_written(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        journal.take("a", b"{}")
        durable = journal.taken("a")
        journal.forget(["a"])
        await durable
        await journal.close()
        assert await left(file) == []

    async def test_a_row_that_cannot_be_read_harms_no_other(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        for each in "abcd":
            await taken(journal, each, key=TakenKey(f"key-{each}", b"request", each, 1.0))
        await journal.close()
        with closing(sqlite3.connect(file)) as other, other:
            other.execute("UPDATE activations SET begun_at = 'long ago' WHERE activation_id = 'a'")
            other.execute("UPDATE activations SET begun_at = 1e300 WHERE activation_id = 'b'")
            other.execute("UPDATE activations SET activation_id = CAST(X'ff' AS TEXT), message = 5 WHERE number = 3")
            other.execute("UPDATE keys SET taken_at = 'long ago' WHERE activation_id = 'a'")
            other.execute("UPDATE keys SET key = X'00' WHERE activation_id = 'b'")
        journal = opened(file)
        assert [each.activation_id for each in journal.entries] == ["d"]
        assert [each.key for each in journal.keys] == ["key-c", "key-d"]
        assert caplog.text.count("cannot be read") == 5
        await taken(journal, "e")
        await journal.close()
        with closing(sqlite3.connect(file)) as other, other:
            assert other.execute("SELECT count(*) FROM activations").fetchone() == (5,)

    async def test_it_is_durable_before_it_is_said_to_be(self, tmp_path: Path, synced: bool) -> None:
        journal = opened(tmp_path / "journal")
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2 if synced else 1,)
        await taken(journal, "a")
        with closing(sqlite3.connect(tmp_path / "journal")) as other, other:
            assert other.execute("SELECT activation_id FROM activations").fetchall() == [("a",)]
        await journal.close()

    async def test_nobody_else_may_read_it(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        await taken(journal, "a")
        assert modes(tmp_path) == {0o600}
        await journal.close()

    async def test_keys_come_with_their_activations(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        keys = [TakenKey(f"key-{number}", b"digest", f"a{number}", float(number)) for number in range(3)]
        for key in keys:
            await taken(journal, key.activation_id, key=key)
        journal.forget_keys(["key-1"])
        await journal.close()
        again = opened(file)
        assert again.keys == [keys[0], keys[2]]
        await again.close()


@SYNCED
class TestGroups:
    async def test_what_comes_at_once_is_one_commit(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        commits = commits_of(journal)
        await asyncio.gather(*(taken(journal, str(number)) for number in range(100)))
        assert len(commits) == 1
        await asyncio.gather(*(journal.begin(str(number), 1.0) for number in range(100)))
        assert len(commits) == 2
        await journal.close()

    async def test_what_comes_during_a_commit_is_the_next_one(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        commits = commits_of(journal)
        first = taken(journal, "0")
        await asyncio.sleep(0)
        assert journal._committing is not None
        rest = [taken(journal, str(number)) for number in range(1, 50)]
        await asyncio.gather(first, *rest)
        assert len(commits) == 2
        await journal.close()

    async def test_one_who_no_longer_waits_takes_nothing_from_the_others(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        first, second = taken(journal, "a"), taken(journal, "b")
        begun = asyncio.ensure_future(journal.begin("a", 1.0))
        await asyncio.sleep(0)
        first.cancel()
        begun.cancel()
        await second
        await journal.close()


async def test_one_that_is_durable_already_need_not_be_waited_for(tmp_path: Path) -> None:
    journal = opened(tmp_path / "journal")
    await taken(journal, "a")
    await in_time(journal.taken("a"))
    await journal.close()


class TestFailures:
    async def test_one_that_could_not_be_taken_is_told_later_too(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        break_the_file(journal)
        with pytest.raises(JournalFailed):
            await taken(journal, "a")
        with pytest.raises(JournalFailed):
            await in_time(journal.taken("a"))
        await journal.close()

    async def test_what_could_not_be_written_is_told_and_not_written_later(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        await taken(journal, "a")
        break_the_file(journal)
        with pytest.raises(JournalFailed, match="journal cannot be used"):
            await taken(journal, "b")
        with pytest.raises(JournalFailed, match="journal cannot be used"):
            await journal.begin("a", 1.0)
        mend_the_file(journal)
        with pytest.raises(JournalFailed, match="activation b is not in"):
            await journal.begin("b", 1.0)
        await taken(journal, "c")
        await journal.close()
        assert await left(file) == [JournalEntry("a", b"{}"), JournalEntry("c", b"{}")]

    @SYNCED
    async def test_one_whose_taking_fails_while_it_begins_does_not_begin(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        break_the_file(journal)
        durable = taken(journal, "a")
        await asyncio.sleep(0)
        assert journal._committing is not None
        begun = asyncio.ensure_future(journal.begin("a", 1.0))
        await asyncio.sleep(0)
        with pytest.raises(JournalFailed):
            await durable
        mend_the_file(journal)
        with pytest.raises(JournalFailed):
            await begun
        await journal.close()

    async def test_what_is_over_is_forgotten_once_that_is_possible(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        await taken(journal, "a")
        break_the_file(journal)
        journal.forget(["a"])
        with pytest.raises(JournalFailed):
            await taken(journal, "b")
        mend_the_file(journal)
        await journal.close()
        assert await left(file) == []

    async def test_a_file_that_cannot_be_used(self, tmp_path: Path) -> None:
        (tmp_path / "journal").write_text("not a database, and long enough to be seen as none" * 20)
        with pytest.raises(JournalFailed, match="journal cannot be used: file is not a database"):
            opened(tmp_path / "journal")
        with pytest.raises(JournalFailed, match="cannot be used: No such file or directory"):
            opened(tmp_path / "none" / "journal")


class TestOver:
    async def test_one_that_had_begun(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        for name in ("a", "b"):
            journal.take(name, b"")
            await journal.begin(name, 1.0)
        journal.over("a", 2.0)
        await journal.close()
        assert await left(file) == [JournalEntry("a", b"", 1.0, OVER), JournalEntry("b", b"", 1.0)]

    async def test_one_that_never_began_or_was_taken_in_the_same_commit(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        journal.over("a", 2.0)
        journal.take("b", b"")
        journal.over("b", 3.0)
        await journal.close()
        assert await left(file) == [JournalEntry("a", b"", 2.0, OVER), JournalEntry("b", b"", None, OVER)]

    async def test_waits_for_the_commit_of_another_and_not_for_ever(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        commits = commits_of(journal)
        for name in ("a", "b", "c"):
            journal.over(name, 1.0)
        await taken(journal, "d")
        assert len(commits) == 1
        journal.over("d", 1.0)
        await eventually_async(lambda: len(commits) == 2)
        await journal.close()

    async def test_one_that_is_forgotten_at_once_is_not_written(self, tmp_path: Path) -> None:
        file = tmp_path / "journal"
        journal = opened(file)
        journal.over("a", 1.0)
        journal.forget(["a"])
        await journal.close()
        assert await left(file) == []


async def test_what_comes_during_a_commit_is_written_at_a_close_too(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = opened(file)
    for each in ("over", "forgotten"):
        await taken(journal, each)
    commits = commits_of(journal)
    journal.take("under way", b"{}")
    await asyncio.sleep(0)  # its commit begins
    journal.over("over", 1.0)
    journal.forget(["forgotten"])
    await journal.close()
    assert len(commits) == 2
    assert await left(file) == [JournalEntry("over", b"{}", None, OVER), JournalEntry("under way", b"{}")]


async def test_what_a_commit_could_not_forget_is_forgotten_at_a_close(tmp_path: Path) -> None:
    file = tmp_path / "journal"
    journal = opened(file)
    await taken(journal, "a")
    break_the_file(journal)
    journal.take("b", b"{}")
    journal.forget(["a"])
    failed = journal.taken("b")
    failed.add_done_callback(lambda _: mend_the_file(journal))
    await asyncio.sleep(0)  # its commit begins
    await journal.close()
    assert isinstance(failed.exception(), JournalFailed)
    assert await left(file) == []


async def test_its_name_and_when_it_was_written_outlive_the_process(tmp_path: Path) -> None:
    first = opened(tmp_path / "journal")
    other = opened(tmp_path / "other")
    assert first.written_at is None
    assert first.name != other.name
    before = time.time()
    await taken(first, "a")
    await other.close()
    os.utime(tmp_path / "journal", (1.0, 1.0))  # what was written last is in the log beside it
    again = opened(tmp_path / "journal")
    assert again.name == first.name
    assert again.written_at is not None
    assert again.written_at >= before - 1.0
    await again.close()
    await first.close()


@pytest.mark.parametrize("synced", [False], indirect=True)
class TestNotSynced:
    async def test_it_is_written_before_anything_else_happens(self, tmp_path: Path) -> None:
        journal = opened(tmp_path / "journal")
        turns: list[int] = []
        asyncio.get_running_loop().call_soon(turns.append, 1)
        journal.take("a", b"", begun_at=1.0)
        await journal.taken("a")
        await journal.begin("a", 2.0)
        assert turns == []
        with closing(sqlite3.connect(tmp_path / "journal")) as other, other:
            assert other.execute("SELECT activation_id, begun_at FROM activations").fetchall() == [("a", 2.0)]
        await journal.close()

    async def test_it_moves_from_the_log_into_the_file_in_time(self, tmp_path: Path) -> None:
        """And what comes meanwhile is written too."""
        file = tmp_path / "journal"
        journal = opened(file)
        log = file.with_name("journal-wal")
        names = [str(number) for number in range(CHECKPOINT_AFTER)]
        for name in names:
            journal.take(name, b"")
            await journal.taken(name)
        size = log.stat().st_size
        journal._sync()
        await asyncio.gather(*(taken(journal, f"during {number}") for number in range(10)))
        for name in names:
            journal.take(f"after {name}", b"")
            await journal.taken(f"after {name}")
        assert log.stat().st_size < 1.5 * size
        await journal.close()
        assert len(await left(file)) == 2 * len(names) + 10

    async def test_a_disk_that_cannot_sync_is_named_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        journal = opened(tmp_path / "journal")
        reading, writing = os.pipe()  # nothing that can be synced
        os.dup2(reading, journal._log_file)
        for name in ("a", "b"):
            await taken(journal, name)
            await eventually_async(lambda: not journal._unsynced and journal._syncing is None)
        (record,) = caplog.records
        assert "survives kill -9, and no power cut" in record.message
        await journal.close()
        os.close(reading)
        os.close(writing)


async def test_it_says_whether_the_process_before_closed_it(tmp_path: Path) -> None:
    file = tmp_path / "activations.sqlite"
    first = ActivationJournal(file)
    assert first.closed_at is None
    before = time.time()
    await first.close()
    second = ActivationJournal(file)
    assert second.closed_at is not None
    assert before <= second.closed_at <= time.time()
    third = ActivationJournal(file)  # as after a kill -9 of the second
    assert third.closed_at is None
    await second.close()
    await third.close()
