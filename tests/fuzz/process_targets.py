"""Files of settings, requests to our runtimes' proxies, and what the command line reads of an admin API."""

from __future__ import annotations

import gzip
import io
import socket
import stat
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from owmesos.cli import http1
from owmesos.cli.main import _command
from owmesos.cli.settings import _settings
from owmesos.runtimes import action, loading
from owmesos.runtimes.access import Gate, proof_of, verifier_of
from owmesos.runtimes.client import BadRequest, Client
from tests.fuzz.target import file_of, folder_of_files, target

_TOML = """
master = "zk://h:2181/mesos"
role = ["web", "batch"]
buffer-mem = 64
name = "f"
state = "/tmp/state"
[launch]
mem = 128
[action.create]
kind = "python:3"
"""


def _read_settings(data: bytes, name: str) -> None:
    file = file_of(data, name)
    for command in ("run", "launch", "action create", "doctor"):
        found = _command(command.split()[0])
        assert found is not None
        settings = _settings(file, command, _subcommand(command, found), _command)
        assert all(isinstance(key, str) for key in settings)


def _subcommand(command: str, found: Any) -> Any:
    for part in command.split()[1:]:
        found = found.commands[part]
    return found


@target("settings-toml", _TOML, 'master = "http://u:p@h:5050"', "a = 2026-11-29", "[[run]]\na = 1", "a.b.c = 1")
def settings_toml(data: bytes) -> None:
    _read_settings(data, "settings.toml")


@target(
    "settings-json",
    {"master": "h:5050", "role": ["web"], "buffer-mem": 64, "launch": {"mem": 1}, "action": {"create": {}}},
)
def settings_json(data: bytes) -> None:
    _read_settings(data, "settings.json")


# -- the runtimes


_SECRET = "0" * 64
_REQUESTS = [
    b'POST /init HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n{"value":{}}',
    b"POST /run HTTP/1.1\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}GET / HTTP/1.0\r\n\r\n",
    b"POST /prove HTTP/1.1\r\nContent-Length: 64\r\n\r\n" + b"0" * 64,
    b"POST /run HTTP/1.1\r\nAuthorization: " + _SECRET.encode() + b"\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /run HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
]


@target("proxy-requests", *_REQUESTS, b"".join(_REQUESTS), expected=(BadRequest,))
def proxy_requests(data: bytes) -> None:
    """With and without a secret; however it is cut, it is the same requests."""
    for gate in (None, Gate(verifier_of(_SECRET))):
        found = [_requests(data, gate, step) for step in (len(data) or 1, 1 + len(data) // 50)]
        assert found[0] == found[1]
        if gate is not None:
            gate.prove(data.decode("latin-1"))
            proof_of(verifier_of(_SECRET), data.decode("latin-1"))


def _requests(data: bytes, gate: Gate | None, step: int) -> list[object]:
    unused: Any = socket
    client = Client(unused, gate)
    found: list[object] = []
    try:
        for start in range(0, len(data), step):
            client.incoming += data[start : start + step]
            while (request := client.request()) is not None:
                found.append((request, client.keep))
    except BadRequest as error:
        found.append(error.status)
    return found


@target(
    "proxy-bodies",
    {"value": {"code": "def main(args): return args", "main": "main", "binary": False, "env": {"A": "b"}}},
    {"value": {"a": 1}, "namespace": "n", "deadline": "5"},
    expected=(loading.Unusable,),
)
def proxy_bodies(data: bytes) -> None:
    """What the process of the user's code does before it reaches that code."""
    request = action._request(data)
    action._written(request)


_FILES = {"__main__.py": b"def main(args): return args", "virtualenv/bin/activate_this.py": b"a = 1\n" * 9}
_BLOCK, _SUM = 512, slice(148, 156)  # bytes of a tar's header, and where its own checksum is


def _zip(method: int) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", method) as archive:
        for name, content in _FILES.items():
            archive.writestr(name, content)
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "__main__.py")
    return written.getvalue()


def _tar(form: int) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form, pax_headers={"comment": "c"}) as archive:
        for name, content in _FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        for name, kind in (("folder/", tarfile.DIRTYPE), ("link", tarfile.SYMTYPE), ("n" * 120, tarfile.LNKTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "__main__.py"
            archive.addfile(entry)
    return written.getvalue()[: archive.offset]  # without what fills its last record


def _zipped(data: bytes) -> bytes:
    """A tar as the proxy gets it; with the checksums of its headers right, or a changed one would not be read."""
    tar = bytearray(data)
    for at in range(0, len(tar) - _BLOCK + 1, _BLOCK):
        header = tar[at : at + _BLOCK]
        if header[257:262] == b"ustar":
            header[_SUM] = b" " * 8
            header[_SUM] = b"%06o\0 " % sum(header)
            tar[at : at + _BLOCK] = header
    return gzip.compress(tar, 0)


@target(
    "proxy-archives",
    *(_zip(method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
    *(_tar(form) for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)),
    *(gzip.compress(_tar(tarfile.GNU_FORMAT), mtime=0), b"def main(args): return args"),
    expected=(Exception,),
)
def proxy_archives(data: bytes) -> None:
    """Any error is told as the user's. It must end, and may write only into its folder."""
    if data[257:262] == b"ustar":
        data = _zipped(data)
    with tempfile.TemporaryDirectory(dir=folder_of_files()) as around:
        folder = Path(around, "code")
        folder.mkdir()
        try:
            loading.unpack(data, str(folder))
        finally:
            assert list(Path(around).iterdir()) == [folder]


# -- what the command line reads


_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@target(
    "admin-answers",
    _ANSWER + b"Content-Length: 2\r\n\r\n[]",
    _ANSWER + b"Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" + _ANSWER + b"\r\n[]\n{}",
)
def admin_answers(data: bytes) -> None:
    http1.HttpAnswer(io.BytesIO(data)).read()
    list(http1.HttpAnswer(io.BytesIO(data)).lines())
