"""A disk that fills and empties: a record waits for room, an activation is not taken without it, and nothing is lost.

SQLite says the same of a file that may have no more pages as of a disk without room.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from owmesos.openwhisk.activation import Activation, not_run, success
from owmesos.openwhisk.messages import decode_activation
from owmesos.openwhisk.store.activation_journal import FILE, ActivationJournal
from owmesos.openwhisk.store.activation_writer import WriterSettings
from owmesos.openwhisk.store.journal_batch import JournalFailed
from owmesos.openwhisk.store.sqlite import EmbeddedStore
from tests.openwhisk import samples
from tests.openwhisk.documents import MANIFEST
from tests.waiting import eventually_async

PLENTY = 1_000_000  # pages


def limit(database: sqlite3.Connection, pages: int) -> None:
    database.execute(f"PRAGMA max_page_count = {pages}")


def activation() -> Activation:
    """Of half a megabyte."""
    return not_run(decode_activation(samples.ACTIVATION_1_0), success({"a": "x" * 500_000}), 1573724401.0)


async def test_a_record_waits_for_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = EmbeddedStore(tmp_path, MANIFEST)
    store.records._settings = WriterSettings(first_wait=0.01, longest_wait=0.01)
    limit(store._db, 1)
    store.records.store(activation())
    await eventually_async(lambda: "1 records cannot be stored, retrying" in caplog.text)
    assert "disk is full" in caplog.text
    limit(store._db, PLENTY)
    await eventually_async(lambda: len(store.records) == 0)
    assert (store.records.written, store.records.dropped) == (1, 0)
    assert [each.activation_id for each in await store.activations()] == [samples.ACTIVATION_ID]
    await store.close()


@pytest.mark.parametrize("synced", [True, False])
async def test_an_activation_is_taken_once_there_is_room(tmp_path: Path, synced: bool) -> None:
    """Without room its sender is told; what was taken before stays."""
    journal = ActivationJournal(tmp_path / FILE, synced=synced)
    journal.take("before", b"m")
    await journal.taken("before")
    limit(journal._db, 1)
    journal.take("a", bytes(500_000))
    with pytest.raises(JournalFailed, match=r"activations\.sqlite cannot be used: database or disk is full"):
        await journal.taken("a")
    assert "a" not in journal
    limit(journal._db, PLENTY)
    journal.take("a", bytes(500_000))
    await journal.taken("a")
    await journal.begin("before", 5.0)
    await journal.close()
    again = ActivationJournal(tmp_path / FILE, synced=synced)
    assert {each.activation_id: each.begun_at for each in again.entries} == {"before": 5.0, "a": None}
    await again.close()
