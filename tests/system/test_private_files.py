"""Files and folders that only their owner may read, whatever the umask and whoever made them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.system.private_files import make_private, make_private_folder, open_private, read_private, write_private


@pytest.fixture(autouse=True)
def _a_careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class TestFolders:
    def test_a_new_one_with_its_parents(self, tmp_path: Path) -> None:
        make_private_folder(tmp_path / "a" / "b")
        assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o700, 0o700)

    @pytest.mark.parametrize("before", [0o755, 0o777, 0o750])
    def test_one_that_is_empty(self, tmp_path: Path, before: int) -> None:
        tmp_path.chmod(before)
        make_private_folder(tmp_path)
        assert mode(tmp_path) == 0o700

    def test_one_that_is_ours_already(self, tmp_path: Path) -> None:
        (tmp_path / "ours").touch()
        tmp_path.chmod(0o777)
        make_private_folder(tmp_path, ("ours",))
        assert mode(tmp_path) == 0o700

    def test_one_with_other_uses_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        tmp_path.chmod(0o755)
        make_private_folder(tmp_path, ("ours",))
        assert mode(tmp_path) == 0o755

    def test_one_with_other_uses_where_everybody_may_write(self, tmp_path: Path) -> None:
        (tmp_path / "other").touch()
        tmp_path.chmod(0o1777)
        with pytest.raises(InvalidInput, match="every user may write in the folder"):
            make_private_folder(tmp_path, ("ours",))
        assert mode(tmp_path) == 0o1777

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
    def test_one_of_another_user(self, tmp_path: Path) -> None:
        os.chown(tmp_path, 65534, 65534)
        with pytest.raises(InvalidInput, match="belongs to another user"):
            make_private_folder(tmp_path)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    @pytest.mark.parametrize("below", [".", "state", "a/b"])
    def test_a_link_of_another_user_on_the_way(self, tmp_path: Path, below: str) -> None:
        (tmp_path / "target").mkdir()
        link = tmp_path / "link"
        link.symlink_to(tmp_path / "target")
        make_private_folder(link / below)
        os.chown(link, 65534, 65534, follow_symlinks=False)
        with pytest.raises(InvalidInput, match=f"{link} is a link of another user .*: give a folder whose path"):
            make_private_folder(link / below)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    def test_a_link_of_another_user_behind_one_of_our_own(self, tmp_path: Path) -> None:
        (tmp_path / "target").mkdir()
        (tmp_path / "theirs").symlink_to("target")
        (tmp_path / "below").mkdir()
        (tmp_path / "ours").symlink_to("below/../theirs/state")
        make_private_folder(tmp_path / "target" / "state")
        make_private_folder(tmp_path / "ours")
        os.chown(tmp_path / "theirs", 65534, 65534, follow_symlinks=False)
        with pytest.raises(InvalidInput, match=f"{tmp_path / 'theirs'} is a link of another user"):
            make_private_folder(tmp_path / "ours")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    def test_a_loop_of_another_user(self, tmp_path: Path) -> None:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
        os.chown(tmp_path / "loop", 65534, 65534, follow_symlinks=False)
        with pytest.raises(InvalidInput, match=f"{tmp_path / 'loop'} is a link of another user"):
            make_private_folder(tmp_path / "loop" / "state")

    def test_a_loop_of_our_own(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to("b")
        (tmp_path / "b").symlink_to("a")
        with pytest.raises(InvalidInput, match=f"the path of the folder {tmp_path / 'a'} has a loop of links"):
            make_private_folder(tmp_path / "a")

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link away")
    def test_dots_lead_above_the_target_of_a_link(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "target" / "deep").mkdir(parents=True)
        (tmp_path / "target" / "theirs").symlink_to(tmp_path)
        (tmp_path / "ours").symlink_to("target/deep")
        monkeypatch.chdir(tmp_path)
        make_private_folder(Path("ours/../theirs/state"))
        os.chown(tmp_path / "target" / "theirs", 65534, 65534, follow_symlinks=False)
        with pytest.raises(InvalidInput, match="theirs is a link of another user"):
            make_private_folder(Path("ours/../theirs/state"))


class TestFiles:
    def test_a_new_one(self, tmp_path: Path) -> None:
        os.close(open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT))
        assert mode(tmp_path / "file") == 0o600

    def test_one_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch(0o666)
        os.close(open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT))
        assert mode(tmp_path / "file") == 0o600

    def test_a_link_is_not_followed(self, tmp_path: Path) -> None:
        (tmp_path / "target").touch(0o644)
        (tmp_path / "file").symlink_to(tmp_path / "target")
        with pytest.raises(OSError, match="symbolic links"):
            open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT)
        assert mode(tmp_path / "target") == 0o644

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_one_of_another_user(self, tmp_path: Path) -> None:
        """Who made it may have it open already, whatever its mode becomes."""
        (tmp_path / "file").touch(0o666)
        os.chown(tmp_path / "file", 65534, 65534)
        with pytest.raises(PermissionError, match="it belongs to another user"):
            open_private(tmp_path / "file", os.O_RDWR | os.O_CREAT)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
    def test_several_with_one_of_another_user(self, tmp_path: Path) -> None:
        (tmp_path / "db-wal").touch(0o666)
        os.chown(tmp_path / "db-wal", 65534, 65534)
        with pytest.raises(InvalidInput, match=r"db-wal belongs to another user \(uid 65534\), who .*: remove it"):
            make_private(tmp_path, ("*-wal",))

    def test_one_that_is_written_is_never_readable_by_others(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch(0o666)
        write_private(tmp_path / "file", "secret\n")
        write_private(tmp_path / "program", "#!/bin/sh\n", executable=True)
        assert (mode(tmp_path / "file"), mode(tmp_path / "program")) == (0o600, 0o700)
        assert read_private(tmp_path / "file") == "secret"
        assert {each.name for each in tmp_path.iterdir()} == {"file", "program"}

    def test_those_that_are_there_by_pattern(self, tmp_path: Path) -> None:
        for name in ("a.sqlite", "a.sqlite-wal", "other"):
            (tmp_path / name).touch(0o644)
        (tmp_path / "b.sqlite").symlink_to(tmp_path / "other")
        make_private(tmp_path, ("*.sqlite", "*.sqlite-*"))
        assert [mode(tmp_path / name) for name in ("a.sqlite", "a.sqlite-wal", "other")] == [0o600, 0o600, 0o644]
