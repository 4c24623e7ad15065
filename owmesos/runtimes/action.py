"""The process of the user's code: it loads an action once and runs it as often as it is asked.

The main thread reads requests from a channel, loads the code and runs it: signals, event loops, sqlite3 and
thread-local data need that, and no request has to wait until a thread wakes another. Runs that come while the main
thread has one come through a second channel. They have a thread each, with the context (`contextvars`, and decimal's
with it) that the code had after it was loaded; those for which no thread can be started share one, in turn. Another
thread only reads that channel: so the proxy never waits to write there, and this process also ends when the proxy does,
whatever the user's code is doing. What a run prints is flushed before its answer is given.
"""

from __future__ import annotations

import _thread
import json
import os
import socket
import sys
from _queue import SimpleQueue  # `queue` would import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Any, NoReturn

from owmesos.runtimes.framing import INIT, REPLY, REQUEST, send_all
from owmesos.runtimes.loading import Main, Unusable, decoded, failed, leave_own_packages, load_folder, load_text, unpack

_READ_AHEAD = 64 * 1024  # most requests in one call
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False)


class Action:
    """Serves one action on `channel`, and overlapping runs on `beside`, where they are allowed (`concurrent`)."""

    def __init__(self, channel: socket.socket, beside: socket.socket, *, concurrent: bool) -> None:
        self._channel = channel
        self._beside = beside
        self._concurrent = concurrent
        self._in_turn: SimpleQueue[Callable[[], None]] = SimpleQueue()  # runs without a thread of their own
        self._answering = _thread.allocate_lock()  # through `beside`
        self._leaving = _thread.allocate_lock()
        self._pid = os.getpid()
        self._main: Main | None = None
        self._context: Context | None = None
        self._folder: str | None = None

    def serve(self) -> NoReturn:
        """Until the channels close, or something ends the main thread."""
        for stream in (sys.stdout, sys.stderr):
            # A crash loses no line, and a locale no character.
            stream.reconfigure(encoding="utf-8", line_buffering=True)  # type: ignore[union-attr]
        _thread.start_new_thread(self._read_beside, ())
        if self._concurrent:
            _thread.start_new_thread(self._run_in_turn, ())
        try:
            self._serve()
        except BaseException:  # noqa: BLE001  (of a signal handler between runs, for one)
            _print_traceback(skip=0)
        finally:
            _exit(1)

    def _serve(self) -> NoReturn:
        for kind, number, body in _requests(self._channel):
            status, answer = self._answer(self._initialize if kind == INIT else self._run, body)
            _send(self._channel, number, status, answer)
        self._leave()

    def _read_beside(self) -> None:
        """Runs none of the user's code and writes nothing: either could wait for the proxy, which waits for this."""
        try:
            for _, number, body in _requests(self._beside):
                assert self._context is not None  # the proxy runs nothing before
                run = partial(self._context.copy().run, self._run_beside, number, body)
                try:
                    _thread.start_new_thread(run, ())
                except RuntimeError:  # no more threads can be started
                    self._in_turn.put(run)
            self._leave()
        except BaseException:  # noqa: BLE001  (nobody would read the next request)
            _print_traceback(skip=0)
        finally:
            os._exit(0)

    def _run_in_turn(self) -> NoReturn:
        while True:
            self._in_turn.get()()

    def _run_beside(self, number: int, body: bytes) -> None:
        status, answer = self._answer(self._run, body)
        with self._answering:
            _send(self._beside, number, status, answer)

    def _leave(self) -> NoReturn:
        """The proxy has ended. Both threads see it: the first clears up."""
        with self._leaving:
            if self._folder is not None:
                import shutil

                shutil.rmtree(self._folder, ignore_errors=True)
            os._exit(0)

    def _answer(self, handle: Callable[[bytes], bytes], body: bytes) -> tuple[int, bytes]:
        try:
            status, answer = 200, handle(body)
        except Unusable as error:
            status, answer = error.status, json.dumps({"error": str(error)}).encode()
        except SystemExit as error:  # of a thread too: the user wants the process to end
            if not isinstance(error.code, int) and error.code is not None:
                _log(_text(error))
            _exit(error.code if isinstance(error.code, int) else int(error.code is not None))
        except BaseException:  # noqa: BLE001  (of loading: what ends a program ends the process)
            _print_traceback()
            _exit(1)
        if os.getpid() != self._pid:  # forked by the user's code and back from `main`: locks may be held for ever here
            _exit(0)
        _flush()
        return status, answer

    # -- /init

    def _initialize(self, body: bytes) -> bytes:
        value = _request(body).get("value")
        value = value if isinstance(value, dict) else {}
        code, name = value.get("code"), value.get("main") or "main"
        if not isinstance(code, str) or not code or not isinstance(name, str):
            raise Unusable(403, "Missing main/no code to execute.")
        data = decoded(code) if value.get("binary") else None
        try:
            _set_variables(value.get("env") or {})
            self._main = self._load(code, data, name)
        except Unusable as error:
            _log(str(error))
            raise
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything; it is told)
            _print_traceback()
            raise failed(f"{type(error).__name__}: {_text(error)}") from None
        self._context = copy_context()
        return b'{"ok":true}'

    def _load(self, code: str, data: bytes | None, name: str) -> Main:
        """`data`: of code that is an archive."""
        if data is None:
            leave_own_packages()
            return load_text(code, name)
        import tempfile

        self._folder = tempfile.mkdtemp(prefix="action-", dir=os.environ.get("MESOS_SANDBOX"))
        unpack(data, self._folder)
        leave_own_packages()
        return load_folder(self._folder, name)

    # -- /run

    def _run(self, body: bytes) -> bytes:
        request = _request(body)
        arguments = request.pop("value", None)
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, (dict, list)):
            raise Unusable(403, "Internal system error: the argument must be a dictionary or array.")
        _set_variables({f"__OW_{key.upper()}": text for key, text in request.items() if isinstance(text, str)})
        assert self._main is not None
        try:
            result = self._main(arguments)
        except SystemExit:
            raise
        except Exception as error:  # noqa: BLE001  (the user's code may raise anything; it is the action's result)
            _print_traceback()
            result = {"error": _text(error)}
        except BaseException:  # noqa: BLE001  (CancelledError, say: it costs no run beside this one)
            _print_traceback()
            raise Unusable(400, "command exited") from None  # as where it does end the process
        if not isinstance(result, (dict, list, tuple)):
            raise Unusable(502, "The action did not return a dictionary or array.")
        return _written(result)


def _set_variables(variables: Any) -> None:
    """Raises Unusable."""
    if not isinstance(variables, dict):
        raise Unusable(400, "Error unmarshaling request: the environment must be an object")
    name = ""
    try:
        for name, setting in variables.items():
            os.environ[name] = setting if isinstance(setting, str) else json.dumps(setting)
    except (ValueError, OSError) as error:
        raise Unusable(502, f"The variable {name!r} of the environment cannot be set: {error}") from None


def _written(result: object) -> bytes:
    """As JSON. Raises Unusable."""
    try:
        text = _ENCODER.encode(result)
        try:
            return text.encode()
        except UnicodeEncodeError:  # a lone surrogate, which only an escape can write
            return json.dumps(result, allow_nan=False).encode()
    except Exception as error:  # noqa: BLE001  (objects of the user's own classes may raise anything)
        raise Unusable(502, f"The action did not return what can be written as JSON: {_text(error)}") from None


def _request(body: bytes) -> dict[str, Any]:
    try:
        request = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Unusable(400, f"Error unmarshaling request: {error}") from None
    if not isinstance(request, dict):
        raise Unusable(400, "Error unmarshaling request: it is not an object")
    return request


def _requests(channel: socket.socket) -> Iterator[tuple[bytes, int, bytes]]:
    """What it is, its number and its body, until the channel closes."""
    with open(channel.fileno(), "rb", _READ_AHEAD, closefd=False) as stream:
        while len(head := stream.read(REQUEST.size)) == REQUEST.size:
            kind, number, length = REQUEST.unpack(head)
            if len(body := stream.read(length)) < length:
                return
            yield kind, number, body


def _send(channel: socket.socket, number: int, status: int, answer: bytes) -> None:
    send_all(channel.sendall, REPLY.pack(number, status, len(answer)), answer)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # closed, by the user's code or at the other end, or an object of the user's own
            stream.flush()


def _exit(status: int) -> NoReturn:
    """At once: the user's threads are not waited for."""
    _flush()
    os._exit(status & 0xFF)


def _log(text: str) -> None:
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except Exception:  # noqa: BLE001  (the user's code may have put anything in its place)
        with suppress(OSError):
            os.write(2, text.encode("utf-8", "backslashreplace") + b"\n")


def _text(error: BaseException) -> str:
    """`str` of it, which the user's code may have made fail."""
    try:
        return str(error)
    except BaseException:  # noqa: BLE001
        return f"{type(error).__name__}, which cannot be printed"


def _print_traceback(*, skip: int = 1) -> None:
    """Print the exception being handled, without the `skip` outermost frames, which are ours."""
    import traceback

    kind, error, trace = sys.exc_info()
    while skip and trace is not None:
        skip, trace = skip - 1, trace.tb_next
    try:
        text = "".join(traceback.format_exception(kind, error, trace)).rstrip("\n")
    except BaseException:  # noqa: BLE001
        text = f"{kind.__name__ if kind is not None else 'An exception'}, which cannot be printed"
    _log(text)
