"""The process of the user's code: it loads an action once and runs it as often as it is asked.

Requests come from the proxy through a channel, read by a thread of its own, so that this process also ends when the
proxy does, whatever the user's code is doing. The code runs in the main thread; where runs may overlap, each has a
thread. What it prints is flushed before its answer is given.
"""

from __future__ import annotations

import _thread
import json
import os
import socket
import sys
from _queue import SimpleQueue
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, BinaryIO, NoReturn

from owmesos.runtimes.proxy import INIT, REPLY, REQUEST

Main = Callable[[Any], Any]
_MODULE = "main__"  # as in OpenWhisk's own container: no `if __name__ == "__main__"` runs


class Unusable(Exception):
    """The request is refused with this text and `status`."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Action:
    """Serves one action on `channel`."""

    def __init__(self, channel: socket.socket, *, concurrent: bool) -> None:
        self._channel = channel
        self._requests: SimpleQueue[tuple[bytes, int, bytes]] = SimpleQueue()
        self._concurrent = concurrent
        self._writing = _thread.allocate_lock()
        self._main: Main | None = None
        self._folder: str | None = None

    def serve(self) -> NoReturn:
        """Until the channel closes."""
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a crash loses no line
        _thread.start_new_thread(self._read, ())
        while True:
            kind, number, body = self._requests.get()
            if kind == INIT:
                self._answer(number, self._initialize, body)
            elif self._concurrent:
                _thread.start_new_thread(self._answer, (number, self._run, body))
            else:
                self._answer(number, self._run, body)

    def _read(self) -> None:
        with self._channel.makefile("rb") as requests:
            while head := _exactly(requests, REQUEST.size):
                kind, number, length = REQUEST.unpack(head)
                self._requests.put((kind, number, _exactly(requests, length)))
        if self._folder is not None:
            import shutil

            shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(0)

    def _answer(self, number: int, handle: Callable[[bytes], bytes], body: bytes) -> None:
        try:
            answer, status = handle(body), 200
        except Unusable as error:
            answer, status = json.dumps({"error": str(error)}).encode(), error.status
        except SystemExit as error:  # of a thread too: the user wants the process to end
            _flush()
            os._exit(error.code if isinstance(error.code, int) else 1)
        _flush()
        with self._writing:
            self._channel.sendall(REPLY.pack(number, status, len(answer)))
            self._channel.sendall(answer)

    # -- /init

    def _initialize(self, body: bytes) -> bytes:
        value = _request(body).get("value")
        value = value if isinstance(value, dict) else {}
        code, name = value.get("code"), value.get("main") or "main"
        if not isinstance(code, str) or not code or not isinstance(name, str):
            raise Unusable(403, "Missing main/no code to execute.")
        for key, setting in (value.get("env") or {}).items():
            os.environ[key] = setting if isinstance(setting, str) else json.dumps(setting)
        try:
            self._main = self._loaded(code, name) if not value.get("binary") else self._unpacked(code, name)
        except Unusable:
            raise
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything; it is told)
            _print_traceback()
            raise Unusable(502, f"Initialization has failed due to: {type(error).__name__}: {error}") from None
        return b'{"ok":true}'

    def _loaded(self, code: str, name: str, file: str = f"{_MODULE}.py") -> Main:
        """Run the code in a module of its own, and find its entry point."""
        module = ModuleType(_MODULE)
        module.__file__ = file
        sys.modules[_MODULE] = sys.modules["__main__"] = module
        exec(compile(code, file, "exec"), module.__dict__)
        main = getattr(module, name, None)
        if not callable(main):
            raise Unusable(502, f"Initialization has failed due to: there is no function {name!r} in the action.")
        return main  # type: ignore[no-any-return]

    def _unpacked(self, code: str, name: str) -> Main:
        """A zip archive with `__main__.py` at its root; a `virtualenv` in it is activated."""
        import base64
        import binascii
        import io
        import tempfile
        import zipfile
        from pathlib import Path

        try:
            archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(code, validate=True)))
        except (binascii.Error, zipfile.BadZipFile) as error:
            raise Unusable(502, f"Initialization has failed due to: the code is no zip archive: {error}") from None
        self._folder = tempfile.mkdtemp(prefix="action-", dir=os.environ.get("MESOS_SANDBOX"))
        archive.extractall(self._folder)
        os.chdir(self._folder)
        sys.path.insert(0, self._folder)
        activate = Path(self._folder, "virtualenv", "bin", "activate_this.py")
        if activate.is_file():
            names = {"__file__": str(activate), "__name__": "activate_this"}
            exec(compile(activate.read_text("utf-8"), activate, "exec"), names)
        file = Path(self._folder, "__main__.py")
        if not file.is_file():
            raise Unusable(502, "Initialization has failed due to: Zip file does not include __main__.py.")
        return self._loaded(file.read_text("utf-8"), name, str(file))

    # -- /run

    def _run(self, body: bytes) -> bytes:
        request = _request(body)
        arguments = request.pop("value", None)
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, (dict, list)):
            raise Unusable(403, "Internal system error: the argument must be a dictionary or array.")
        for key, setting in request.items():
            if isinstance(setting, str):
                os.environ[f"__OW_{key.upper()}"] = setting
        assert self._main is not None
        try:
            result = self._main(arguments)
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything; it is the action's result)
            _print_traceback()
            result = {"error": str(error)}
        if not isinstance(result, (dict, list)):
            raise Unusable(502, "The action did not return a dictionary or array.")
        try:
            return json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise Unusable(502, f"The action did not return what can be written as JSON: {error}") from None


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except ValueError as error:
        raise Unusable(400, f"Error unmarshaling request: {error}") from None
    if not isinstance(request, dict):
        raise Unusable(400, "Error unmarshaling request: it is no object")
    return request


def _exactly(stream: BinaryIO, length: int) -> bytes:
    """Empty when the stream ends before."""
    data = stream.read(length)
    return data if len(data) == length else b""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # closed, by the user's code or at the other end
            stream.flush()


def _print_traceback() -> None:
    import traceback

    kind, error, trace = sys.exc_info()
    traceback.print_exception(kind, error, trace.tb_next if trace is not None else None)
