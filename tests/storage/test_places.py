"""A state's way from one place to another, and a look at it."""

from __future__ import annotations

import math
from itertools import count, product
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.mesos.wire.address import ZooKeeperPath
from owmesos.storage import Answer, SaveFramework, SaveLaunch, StateInUse, Write
from owmesos.storage.places import Place, exported, imported, look_at, open_store, place_of
from tests.servers.zookeeper import ZooKeeper
from tests.storage.records import a_record, save

_numbers = count()
LATER = 4_000_000_000.0  # than this test runs
CONTENT: list[Write] = [
    SaveFramework("framework-1"),
    *(save(a_record(f"launch-{number}", place=number)) for number in range(3)),
    SaveLaunch("damaged", b"\xff\n"),
    Answer("key-2", b"digest", 1.0, b"\0body"),
    Answer("key-1", b"digest", 1.0, b"body"),
]
ZOOKEEPER = [pytest.mark.zookeeper, pytest.mark.cluster]
BOTH = ["folder", pytest.param("zookeeper", marks=ZOOKEEPER)]
WAYS = [
    pytest.param(*way, marks=ZOOKEEPER if "zookeeper" in way else [])
    for way in product(["folder", "zookeeper"], repeat=2)
]


def a_place(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    number = next(_numbers)
    if kind == "folder":
        return folder / str(number)
    server: ZooKeeper = request.getfixturevalue("zookeeper")
    return ZooKeeperPath(server.address, f"/places/{number}")


@pytest.fixture(params=BOTH)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return a_place(request.param, request, tmp_path)


def fill(place: Place, *, sent_until: float | None = None) -> None:
    store = open_store(place)
    store.load()
    store.commit(CONTENT)
    if sent_until is not None:
        store.about_to_send(sent_until)
        store.sending(sent_until)
    store.close()


def text(place: Place) -> bytes:
    return b"\n".join(exported(place))


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_a_state_moves(source: str, target: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """From one place to another, with what cannot be read and with which ACCEPTs were sent."""
    one, other = a_place(source, request, tmp_path), a_place(target, request, tmp_path)
    fill(one, sent_until=LATER)
    counts = imported(other, text(one))
    assert (counts.framework_id, counts.launches, counts.answers) == ("framework-1", 3, 2)
    assert [each.launch_id for each in counts.unreadable] == ["damaged"]
    store = open_store(other)
    assert sorted(map(repr, store.raw()[0])) == sorted(map(repr, CONTENT))
    assert [each.key for each in store.answers()] == ["key-2", "key-1"]
    assert store.load().sent_until == LATER
    store.close()
    assert sorted(exported(one))[:-1] == sorted(exported(other))[:-1]  # the other line names the place


def test_where_it_is_unknown_which_accepts_were_sent_it_stays_so(place: Place, tmp_path: Path) -> None:
    fill(tmp_path / "source")
    (tmp_path / "source" / "accepts-sent").unlink()
    imported(place, text(tmp_path / "source"))
    store = open_store(place)
    assert store.load().sent_until == math.inf
    store.close()


def test_nothing_is_imported_over_a_state(place: Place, tmp_path: Path) -> None:
    fill(tmp_path / "source")
    data = text(tmp_path / "source")
    imported(place, data)
    with pytest.raises(InvalidInput, match=r"there is a state in .+ already"):
        imported(place, data)


@pytest.mark.parametrize(
    "data", [b"", b"nothing of ours", b'{"type":"state","format":1,"source":"","sent_until":null}']
)
def test_what_is_not_an_export_leaves_no_trace(place: Place, data: bytes) -> None:
    with pytest.raises(InvalidInput):
        imported(place, data)
    assert look_at(place) is None


def test_a_state_in_use_is_neither_exported_nor_imported(place: Place, tmp_path: Path) -> None:
    store = open_store(place)
    store.commit([SaveFramework("framework-1")])
    with pytest.raises(StateInUse):
        text(place)
    fill(tmp_path / "source")
    with pytest.raises(StateInUse):
        imported(place, text(tmp_path / "source"))
    assert store.load().framework_id == "framework-1"
    store.close()


def test_a_look_needs_no_lock_and_changes_nothing(place: Place) -> None:
    assert look_at(place) is None
    with pytest.raises(InvalidInput, match="there is no state in"):
        text(place)
    fill(place)
    store = open_store(place)
    for _ in range(2):
        seen = look_at(place)
        assert seen is not None
        assert seen.counts.framework_id == "framework-1"
        assert (seen.counts.launches, seen.counts.answers) == (3, 2)
        assert [each.launch_id for each in seen.counts.unreadable] == ["damaged"]
    store.commit([save(a_record("one more", place=9))])
    store.close()


def test_how_a_place_is_written(tmp_path: Path) -> None:
    assert place_of(str(tmp_path)) == tmp_path
    assert place_of("zk://one,two:2182/a/b/") == ZooKeeperPath("one:2181,two:2182", "/a/b")
    with pytest.raises(InvalidInput, match="is not a place for the state: write zk://"):
        place_of("http://host/path")


@pytest.mark.parametrize("text", ["zk:/127.0.0.1:2181/owmesos", "zk:127.0.0.1:2181/owmesos", "ZK:/h/p"])
def test_a_misspelt_url_is_not_taken_for_a_folder(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a place for the state: write zk://host:2181/path, or a folder"):
        place_of(text)
    assert place_of(f"./{text}") == Path(text)
