"""State in a real ZooKeeper: who owns it, and what a lost connection, session or server costs."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kazoo.client import KazooClient
from kazoo.exceptions import NoAuthError
from kazoo.security import READ_ACL_UNSAFE, make_digest_acl

from owmesos.mesos.wire.address import Credentials, ZooKeeperPath
from owmesos.storage import (
    ForgetFramework,
    SaveFramework,
    StateDamaged,
    StateInUse,
    StateTooNew,
    StoreFailed,
    Write,
    zookeeper_session,
)
from owmesos.storage.owned_nodes import FORMAT
from owmesos.storage.zookeeper import ZooKeeperStore
from owmesos.storage.zookeeper_session import Lost
from tests.servers.zookeeper import ZooKeeper
from tests.storage.records import a_record, save
from tests.waiting import eventually

pytestmark = [pytest.mark.zookeeper, pytest.mark.cluster]

ROOT = Path(__file__).parent.parent.parent
_numbers = count()


@pytest.fixture
def address(zookeeper: ZooKeeper) -> ZooKeeperPath:
    return ZooKeeperPath(zookeeper.address, f"/owmesos/{next(_numbers)}")


@pytest.fixture
def kazoo(zookeeper: ZooKeeper) -> Iterator[Any]:
    client: Any = KazooClient(zookeeper.address)
    client.start()
    yield client
    client.stop()
    client.close()


@contextmanager
def opened(address: ZooKeeperPath, **more: Any) -> Iterator[ZooKeeperStore]:
    store = ZooKeeperStore(address, **{"session": 1.0, "wait": 0.0, **more})
    try:
        yield store
    finally:
        store.close()


@contextmanager
def committing(address: ZooKeeperPath, *size: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.storage.committer", str(address), *size]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], lines: int) -> list[int]:
    assert process.stdout is not None
    return [int(process.stdout.readline()) for _ in range(lines)]


def end_session(store: ZooKeeperStore, server: ZooKeeper) -> None:
    """As ZooKeeper does when it has not heard of it for its timeout."""
    twin: Any = KazooClient(server.address, client_id=client_of(store).client_id)
    twin.start()
    twin.stop()
    twin.close()


def client_of(store: ZooKeeperStore) -> Any:
    return store._nodes._session._client


# -- the process ends


@pytest.mark.parametrize("size", ["0", "600000"])
def test_a_commit_is_whole_or_not_there_after_a_kill(address: ZooKeeperPath, size: str) -> None:
    """kill -9 in the middle of commits, small ones and those that take several transactions."""
    for _ in range(2):
        with committing(address, size) as process:
            numbers = said(process, 5)
            process.kill()
            assert process.stdout is not None
            numbers += [int(line) for line in process.stdout if line.endswith("\n")]
        with opened(address, wait=30.0) as store:
            saved = store.load()
            store.commit([ForgetFramework()])
        there = {record.id for record in saved.records}
        assert saved.framework_id == "framework-1"
        assert not saved.unreadable
        assert there >= {f"launch-{number}{half}" for number in numbers for half in "ab"}
        assert {name[:-1] + half for name in there for half in "ab"} == there


def test_the_next_start_waits_for_the_lock_of_a_process_that_was_killed(address: ZooKeeperPath) -> None:
    with committing(address) as process:
        said(process, 1)
        process.kill()
        with pytest.raises(StateInUse, match=rf"^process {process.pid} on .+ uses the state in {address}: stop it"):
            ZooKeeperStore(address, wait=0.0)
    with opened(address, wait=30.0) as store:
        assert store.load().framework_id == "framework-1"


def test_what_was_marked_as_committed_is_carried_out_by_the_next_start(address: ZooKeeperPath) -> None:
    records = [a_record(f"launch-{number}", place=number) for number in range(1200)]
    with opened(address) as store:
        store.commit([SaveFramework("framework-1"), save(a_record("before", place=5000))])
        store._carry_out = lambda: None  # type: ignore[method-assign]
        store.commit([ForgetFramework(), SaveFramework("framework-2"), *map(save, records)])
    for _ in range(2):
        with opened(address) as store:
            assert store.load()[:3] == ("framework-2", records, [])
            assert store._nodes.children("redo") == []


def test_a_commit_that_was_not_marked_is_not_carried_out(address: ZooKeeperPath) -> None:
    records = [a_record(f"launch-{number}", place=number) for number in range(1200)]
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
        commit = store._nodes.commit

        def until_marked(operations: Sequence[Any] = (), **more: Any) -> None:
            if "redo" in more:
                raise StoreFailed("killed")
            commit(operations, **more)

        store._nodes.commit = until_marked  # type: ignore[method-assign]
        with pytest.raises(StoreFailed, match="killed"):
            store.commit([*map(save, records)])
    with opened(address) as store:
        assert store.load()[:3] == ("framework-1", [], [])
        store.commit([*map(save, records)])  # the rest of the other is overwritten
        assert store.load().records == records


# -- one owner


def test_a_process_that_was_frozen_cannot_write(address: ZooKeeperPath) -> None:
    with committing(address) as process:
        said(process, 1)
        process.send_signal(signal.SIGSTOP)
        with opened(address, wait=30.0) as store:
            before = store.load()
            process.send_signal(signal.SIGCONT)
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 1
            assert f"state in {address}" in errors.splitlines()[-1]
            store.commit([save(a_record("mine", place=9999999))])
            assert [*before.records, a_record("mine", place=9999999)] == store.load().records


def test_a_former_owner_can_neither_commit_nor_send(address: ZooKeeperPath, zookeeper: ZooKeeper) -> None:
    with opened(address) as former:
        former.load()
        former.about_to_send(5.0)
        former._nodes._restored = lambda: None  # type: ignore[method-assign]
        former._nodes._open = False  # it does not notice
        end_session(former, zookeeper)
        with opened(address, wait=10.0) as owner:
            owner.commit([SaveFramework("framework-2")])
            former._nodes._proven -= 10.0  # the process stood still
            with pytest.raises(StateInUse, match=r"^process \d+ on .+ took over the state in .+, while this process"):
                former.sending(5.0)
            with pytest.raises(StateInUse):
                former.commit([SaveFramework("framework-1")])
            assert owner.load().framework_id == "framework-2"


def test_a_lost_session_is_replaced_if_nobody_took_over(address: ZooKeeperPath, zookeeper: ZooKeeper) -> None:
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
        end_session(store, zookeeper)
        store.commit([save(a_record())])
        assert store.load()[:3] == ("framework-1", [a_record()], [])
        with pytest.raises(StateInUse):
            ZooKeeperStore(address, wait=0.0)


def test_an_idle_owner_takes_its_lock_again(address: ZooKeeperPath, zookeeper: ZooKeeper, kazoo: Any) -> None:
    with opened(address) as store:
        before = client_of(store).client_id[0]
        end_session(store, zookeeper)

        def locked_anew() -> bool:
            found = kazoo.exists(f"{address.path}/lock")
            return found is not None and found.ephemeralOwner != before

        eventually(locked_anew, what="the lock belongs to the new session")


def test_of_many_that_start_at_once_one_gets_it(address: ZooKeeperPath) -> None:
    stores: list[ZooKeeperStore] = []
    refused: list[StateInUse] = []

    def start() -> None:
        try:
            stores.append(ZooKeeperStore(address, session=2.0, wait=1.0))
        except StateInUse as error:
            refused.append(error)

    threads = [threading.Thread(target=start) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.close()
    assert (len(stores), len(refused)) == (1, 4)


# -- the connection


def test_commits_wait_for_a_server_that_was_killed(address: ZooKeeperPath, zookeeper: ZooKeeper) -> None:
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
        zookeeper.stop()
        back = threading.Timer(1.0, zookeeper.start)
        back.start()
        store.commit([save(a_record())])
        back.join()
        assert store.load()[:3] == ("framework-1", [a_record()], [])


def test_a_start_waits_for_a_server_and_says_so(
    address: ZooKeeperPath, zookeeper: ZooKeeper, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(zookeeper_session, "_SAY_AFTER", 0.2)
    zookeeper.stop()
    back = threading.Timer(1.0, zookeeper.start)
    back.start()
    with opened(address) as store:
        back.join()
        assert store.load().framework_id is None
    assert f"ZooKeeper at {address.hosts} does not answer: waiting up to 60 s" in caplog.messages


def test_a_server_that_stays_away(address: ZooKeeperPath, zookeeper: ZooKeeper) -> None:
    with opened(address, patience=1.0) as store:
        zookeeper.stop()
        for _ in range(2):
            with pytest.raises(StoreFailed, match=rf"^ZooKeeper at {address.hosts} does not answer: is it running"):
                store.commit([SaveFramework("framework-1")])
    zookeeper.start()
    with opened(address, wait=30.0) as store:
        assert store.load().framework_id is None


@pytest.mark.parametrize("done", [True, False])
def test_a_commit_whose_answer_was_lost_is_done_once(address: ZooKeeperPath, done: bool) -> None:
    with opened(address) as store:
        session = store._nodes._session
        answered = session.transaction

        def lost(operations: Sequence[Any]) -> Any:
            session.transaction = answered  # type: ignore[method-assign]
            if done:
                assert answered(operations) is None
            raise Lost("the connection broke")

        session.transaction = lost  # type: ignore[method-assign]
        store.commit([SaveFramework("framework-1"), save(a_record())])
        store.commit([save(a_record("two", place=1))])
        assert store.load()[:3] == ("framework-1", [a_record(), a_record("two", place=1)], [])


def test_nodes_that_another_program_removed(address: ZooKeeperPath, kazoo: Any) -> None:
    with opened(address) as store:
        store.commit([save(a_record())])
        kazoo.delete(f"{address.path}/launches/launch-1")
        with pytest.raises(StoreFailed, match=r"was changed by another program \(NoNodeError\): start again"):
            store.commit([save(a_record())])
    with opened(address) as store:
        store.commit([save(a_record())])
        assert store.load().records == [a_record()]


# -- who may read it


def test_only_its_user_may_read_it(zookeeper: ZooKeeper, kazoo: Any) -> None:
    path = f"/private/{next(_numbers)}"
    mine = ZooKeeperPath(zookeeper.address, path, Credentials("me", "my secret"))
    with opened(mine) as store:
        store.commit([SaveFramework("framework-1"), save(a_record())])
        for node in (path, f"{path}/framework", f"{path}/launches", f"{path}/launches/launch-1", f"{path}/lock"):
            for ask in (kazoo.get, kazoo.get_children):
                with pytest.raises(NoAuthError):
                    ask(node)
    with opened(mine) as store:
        assert store.load().framework_id == "framework-1"
    for other in (None, Credentials("me", "another secret")):
        with pytest.raises(StoreFailed, match="these credentials are not allowed") as caught:
            ZooKeeperStore(ZooKeeperPath(zookeeper.address, path, other), session=1.0)
        assert "secret" not in str(caught.value)


def test_what_everybody_may_change_is_not_used_with_credentials(zookeeper: ZooKeeper, kazoo: Any) -> None:
    """Another user may have made the nodes first, to put launches there."""
    path = f"/open/{next(_numbers)}"
    kazoo.ensure_path(f"{path}/launches")
    mine = ZooKeeperPath(zookeeper.address, path, Credentials("me", "my secret"))
    with pytest.raises(StoreFailed, match="everybody may change its node, which was made without these credentials"):
        ZooKeeperStore(mine, session=1.0)
    kazoo.set_acls(path, [*READ_ACL_UNSAFE, make_digest_acl("me", "my secret", all=True)])
    with opened(mine) as store:
        assert store.load().records == []


# -- formats


def write_owner(kazoo: Any, address: ZooKeeperPath, data: bytes) -> None:
    kazoo.set(f"{address.path}/owner", data)


@pytest.fixture
def older(address: ZooKeeperPath, kazoo: Any) -> ZooKeeperPath:
    """A state of an earlier format, where the framework's id had another form."""
    with opened(address) as store:
        store.commit([SaveFramework("old-1"), *(save(a_record(f"launch-{n}", place=n)) for n in range(3))])
    write_owner(kazoo, address, msgspec.json.encode({"format": 0, "holder": "an earlier one", "token": "t"}))
    return address


def renamed(writes: list[Write]) -> list[Write]:
    return [
        SaveFramework(each.framework_id.replace("old", "new")) if isinstance(each, SaveFramework) else each
        for each in writes
    ]


def test_an_earlier_format_is_migrated_once_with_a_copy(older: ZooKeeperPath, kazoo: Any) -> None:
    seen: list[list[Write]] = []

    def migration(writes: list[Write]) -> list[Write]:
        seen.append(writes)
        return renamed(writes)

    for _ in range(2):
        with opened(older, migrations={0: migration}) as store:
            saved = store.load()
            assert (saved.framework_id, len(saved.records)) == ("new-1", 3)
            assert store._nodes.format == FORMAT
    assert len(seen) == 1
    lines, _ = kazoo.get(f"{older.path}/format-0/lines")
    assert b'"old-1"' in lines
    assert lines.count(b"\n") == 3


def test_a_migration_that_was_interrupted_is_done_again(older: ZooKeeperPath) -> None:
    def broken(writes: list[Write]) -> list[Write]:
        raise StoreFailed("killed")

    with pytest.raises(StoreFailed, match="killed"):
        ZooKeeperStore(older, session=1.0, migrations={0: broken})
    with opened(older, migrations={0: renamed}) as store:
        assert store.load().framework_id == "new-1"


def test_an_earlier_format_that_nothing_migrates(older: ZooKeeperPath) -> None:
    with pytest.raises(StoreFailed, match="has format 0, which this owmesos cannot read"):
        ZooKeeperStore(older, session=1.0, migrations={})


def test_the_state_of_a_later_version(address: ZooKeeperPath, kazoo: Any) -> None:
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
    write_owner(kazoo, address, b'{"format": 99, "anything": [1]}')
    with pytest.raises(StateTooNew, match=rf"^the state in {address} was written by a later owmesos \(format 99, not"):
        ZooKeeperStore(address, session=1.0)
    assert kazoo.get(f"{address.path}/framework")[0] == b"framework-1"


@pytest.mark.parametrize("data", [b"", b"{}", b'{"format": 1}', b"\xff", b'{"format": "1"}'])
def test_an_owner_that_cannot_be_read(address: ZooKeeperPath, kazoo: Any, data: bytes) -> None:
    opened(address).__enter__().close()
    write_owner(kazoo, address, data)
    with pytest.raises(StateDamaged, match=rf"^the state in {address} is damaged: {address.path}/owner cannot be read"):
        ZooKeeperStore(address, session=1.0)


@pytest.mark.parametrize("data", [b"", b"\xff"])
def test_a_framework_id_that_is_no_text(address: ZooKeeperPath, kazoo: Any, data: bytes) -> None:
    with opened(address) as store:
        store.commit([SaveFramework("framework-1")])
        kazoo.set(f"{address.path}/framework", data)
        with pytest.raises(StateDamaged, match="the framework id is"):
            store.load()


def test_a_node_that_belongs_to_nobody_is_set_aside(address: ZooKeeperPath, kazoo: Any) -> None:
    with opened(address) as store:
        store.commit([save(a_record())])
    kazoo.create(f"{address.path}/launches/foreign", b"\xff\0")
    kazoo.create(f"{address.path}/answers/foreign", b"[]")
    with opened(address) as store:
        saved = store.load()
        assert (saved.records, [each.launch_id for each in saved.unreadable]) == ([a_record()], ["foreign"])
        assert store.answers() == []


def test_a_new_state_is_begun_with_a_word(address: ZooKeeperPath, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "owmesos.storage")
    said = f"there was no state in {address}: a new one begins"
    for expected in ([said], []):
        caplog.clear()
        with opened(address):
            assert [each for each in caplog.messages if "a new one" in each] == expected
