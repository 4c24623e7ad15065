"""Building Mesos: what is checked first, what is told, and that a half-made build never counts."""

from __future__ import annotations

import base64
import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from owmesos.local.archive import FILE, LIBRARY, fetch_from_index, unpack
from owmesos.local.build import Build, build, cache_folder, expected_build
from owmesos.local.mesos.stubs import stub_libraries
from owmesos.local.toolchain import BuildError, Host, toolchain
from tests.waiting import eventually

LINUX = Host("Linux", "x86_64", glibc=True, which=lambda name: f"/usr/bin/{name}")


def no_fetch(_target: Path) -> None:
    raise AssertionError("something was fetched")


class TestPlatform:
    @pytest.mark.parametrize(("system", "machine"), [("Darwin", "arm64"), ("Linux", "aarch64"), ("Windows", "AMD64")])
    def test_another_platform_is_refused(self, system: str, machine: str, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=f"Linux on x86_64; this machine is {system} {machine}"):
            build(tmp_path, host=replace(LINUX, system=system, machine=machine), fetch=no_fetch)

    def test_another_c_library_is_refused(self) -> None:
        with pytest.raises(BuildError, match="needs a Linux with the GNU C library"):
            toolchain(replace(LINUX, glibc=False))

    @pytest.mark.parametrize("missing", ["gcc", "g++", "nm"])
    def test_a_missing_program_is_named(self, missing: str) -> None:
        host = replace(LINUX, which=lambda name: None if name == missing else name)
        with pytest.raises(BuildError, match=rf"needs {missing.replace('+', '[+]')}: install"):
            toolchain(host)

    def test_no_compiler_on_the_path(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(BuildError, match=r"needs gcc, g\+\+, nm: install"):
            build(tmp_path, host=replace(Host.here(), system="Linux", machine="x86_64", glibc=True), fetch=no_fetch)


class TestArchive:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        content = tmp_path / LIBRARY
        content.write_bytes(b"library")
        path = tmp_path / FILE
        with tarfile.open(path, "w:gz") as tar:
            tar.add(content, f"usr/lib/mesos/scheduler/{LIBRARY}")
        return path

    def test_another_file_is_refused(self, archive: Path, tmp_path: Path) -> None:
        with pytest.raises(BuildError, match=r"has the digest .* it is not the expected file"):
            unpack(archive, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_the_library_is_taken_out(self, archive: Path, tmp_path: Path) -> None:
        unpack(archive, tmp_path / "out", hashlib.sha256(archive.read_bytes()).hexdigest())
        assert (tmp_path / "out").read_bytes() == b"library"

    def test_a_bad_digest_leaves_no_build(self, archive: Path, tmp_path: Path) -> None:
        cache = tmp_path / "cache"

        def fetch(target: Path) -> None:
            target.write_bytes(archive.read_bytes())

        with pytest.raises(BuildError, match="it is not the expected file"):
            build(cache, host=LINUX, fetch=fetch)
        assert not expected_build(cache).exists
        assert [path.name for path in (cache / "mesos-1.11.0").iterdir()] == ["lock"]


class PrivateIndex(ThreadingHTTPServer):
    """An index that asks for a password, and leads to another host for the file."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), PrivateIndexPage)
        self.seen: dict[str, str | None] = {}  # the Authorization header of the last request for each path


class PrivateIndexPage(BaseHTTPRequestHandler):
    server: PrivateIndex

    def do_GET(self) -> None:
        authorization = self.headers["Authorization"]
        self.server.seen[self.path] = authorization
        self.close_connection = True
        if self.path == "/elsewhere":
            self.answer(200, b"archive")
        elif authorization != "Basic " + base64.b64encode(b"me:p@ss").decode():
            self.answer(401, b"", ("WWW-Authenticate", 'Basic realm="index"'))
        elif self.path.startswith("/files/"):
            self.answer(302, b"", ("Location", f"http://localhost:{self.server.server_port}/elsewhere"))
        else:
            self.answer(200, f'<!DOCTYPE html><a href="/files/{FILE}">{FILE}</a>'.encode())

    def answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Type", "text/html"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index_with_password() -> Iterator[PrivateIndex]:
    with PrivateIndex() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class TestFetch:
    """From an index that is a folder: pip reads it as it reads any other."""

    @staticmethod
    def index(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        project = folder / "index" / "mesos-scheduler"
        project.mkdir(parents=True)
        (project / "index.html").write_text(f'<a href="{name}">{name}</a>', encoding="ascii")
        (project / name).write_bytes(b"archive")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("PIP_INDEX_URL", project.parent.as_uri())

    def test_the_file_comes_from_the_index_of_pip(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.index(tmp_path, FILE, monkeypatch)
        fetch_from_index(tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"archive"

    def test_modules_in_the_working_folder_are_not_run(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """It may be /tmp, where every user can put them."""
        self.index(tmp_path, FILE, monkeypatch)
        for name in ("pip", "runpy"):
            (tmp_path / f"{name}.py").write_text("open('ran', 'w')", encoding="ascii")
        monkeypatch.chdir(tmp_path)
        fetch_from_index(tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"archive"
        assert not (tmp_path / "ran").exists()

    def test_an_index_without_the_file_is_told_in_one_line(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        self.index(tmp_path, "mesos.scheduler-1.10.0.linux-x86_64.tar.gz", monkeypatch)
        with pytest.raises(BuildError, match=rf"^pip does not find {FILE} .*does pip's package index hold it\?$"):
            fetch_from_index(tmp_path / "target")

    @pytest.mark.parametrize("where", ["URL of the index", "netrc"])
    def test_the_credentials_are_sent_to_their_own_host_only(
        self, where: str, index_with_password: PrivateIndex, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        userinfo = "me:p%40ss@" if where != "netrc" else ""
        monkeypatch.setenv("PIP_INDEX_URL", f"http://{userinfo}127.0.0.1:{index_with_password.server_port}/simple")
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password p@ss\n" if where == "netrc" else "")
        fetch_from_index(tmp_path / "target")
        assert (tmp_path / "target").read_bytes() == b"archive"
        assert index_with_password.seen[f"/files/{FILE}"] == index_with_password.seen["/simple/mesos-scheduler/"]
        assert index_with_password.seen["/elsewhere"] is None

    def test_an_environment_without_pip_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text('#!/bin/sh\necho "$0: No module named pip" >&2; exit 1\n', encoding="ascii")
        python.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(python))
        with pytest.raises(BuildError, match=rf"needs pip: run `{python} -m ensurepip`"):
            fetch_from_index(tmp_path / "target")


class TestStubs:
    def test_symbols_go_to_the_libraries_that_had_them(self) -> None:
        wanted = (
            "U SSL_new@OPENSSL_1.0.0\n U BIO_new@OPENSSL_1.0.1\n U sasl_dispose@SASL2\n U PyExc_IOError\n U malloc\n"
        )
        libraries = {each.soname: each for each in stub_libraries(wanted)}
        assert set(libraries) == {"libssl.so.1.0.0", "libcrypto.so.1.0.0", "libsasl2.so.2", "libpython-stub.so"}
        assert "SASL2 { global: sasl_dispose; local: *; };" in libraries["libsasl2.so.2"].version_script
        assert "long PyExc_IOError[64];" in libraries["libpython-stub.so"].source

    def test_later_versions_inherit_from_earlier_ones(self) -> None:
        (library,) = stub_libraries("U BIO_new@OPENSSL_1.0.1\n")
        lines = library.version_script.splitlines()
        assert lines[1] == "OPENSSL_1.0.1 { global: BIO_new; } OPENSSL_1.0.0;"


def test_the_cache_folder_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OWMESOS_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_cache_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BuildError, match=r"cannot build Apache Mesos in .*OWMESOS_CACHE names another folder"):
        build(tmp_path / "file", host=LINUX, fetch=no_fetch)


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("prepared", ["folder of another user", "folder that every user may write to", "link"])
def test_a_cache_that_another_user_can_change_is_not_run(prepared: str, exists: bool, tmp_path: Path) -> None:
    if prepared != "folder that every user may write to" and os.geteuid() != 0:
        pytest.skip("only root can give files away")
    made, home = expected_build(tmp_path), expected_build(tmp_path).folder.parent
    (made.folder if exists else home).mkdir(parents=True)
    if exists:
        made.mesosd.touch()
    if prepared == "link":
        home.rename(tmp_path / "target")
        home.symlink_to(tmp_path / "target")
    if prepared == "folder that every user may write to":
        home.chmod(0o777)
    else:
        os.chown(home, 65534, 65534, follow_symlinks=False)
    with pytest.raises(
        BuildError,
        match=rf"^the build in {home} is not used: .*\. Remove it, or set OWMESOS_CACHE to a folder of your own$",
    ):
        build(tmp_path, host=LINUX, fetch=no_fetch)


@pytest.mark.real_mesos
class TestCompile:
    PROGRAM = (
        "import logging, pathlib, sys; from owmesos.local.build import build\n"
        "logging.basicConfig(level=logging.INFO); print(build(pathlib.Path(sys.argv[1])).mesosd)\n"
    )

    @pytest.fixture
    def cache(self, mesos_build: Build, tmp_path: Path) -> Path:
        """A cache that has the library but no build."""
        home = tmp_path / "mesos-1.11.0"
        home.mkdir()
        (home / LIBRARY).symlink_to((mesos_build.lib / LIBRARY).resolve())
        return tmp_path

    def start(self, cache: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", self.PROGRAM, str(cache)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_of_two_builds_at_once_one_compiles(self, cache: Path) -> None:
        with self.start(cache) as first, self.start(cache) as second:
            answers = [first.communicate(timeout=60), second.communicate(timeout=60)]
        assert [output.strip() for output, _ in answers] == [str(expected_build(cache).mesosd)] * 2
        assert sorted(errors.count("compiling") for _, errors in answers) == [0, 1]

    def test_an_interrupted_build_is_made_again(self, cache: Path) -> None:
        home = expected_build(cache).folder.parent
        with self.start(cache) as process:
            eventually(lambda: list(home.glob("unfinished-*/lib")), interval=0.005, what="the build has begun")
            os.kill(process.pid, signal.SIGKILL)
        assert not expected_build(cache).exists
        made = build(cache, fetch=no_fetch)
        environment = {**os.environ, "MESOSD_LIB": str(made.lib)}
        assert subprocess.run([made.mesosd, "check"], env=environment, check=False).returncode == 0
        assert not list(home.glob("unfinished-*"))

    def test_a_compiler_that_fails_is_quoted_in_one_line(self, cache: Path, tmp_path: Path) -> None:
        broken = tmp_path / "g++"
        broken.write_text("#!/bin/sh\necho 'fatal error: dlfcn.h: no such file' >&2; exit 1\n", encoding="ascii")
        broken.chmod(0o755)
        real = Host.here()
        host = replace(real, which=lambda name: str(broken) if name == "g++" else real.which(name))
        with pytest.raises(BuildError, match=r"^g\+\+ failed \(1\) while building .*dlfcn.h: no such file$"):
            build(cache, host=host, fetch=no_fetch)
        assert not expected_build(cache).exists
