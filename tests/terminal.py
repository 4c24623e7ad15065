"""A command in a terminal of its own, as a process: what it shows there, and how it leaves it."""

from __future__ import annotations

import os
import pty
import signal
import struct
import subprocess
import termios
import threading
from collections.abc import Mapping
from fcntl import ioctl
from types import TracebackType

import pyte

from tests.cli.running import COMMAND, ROOT, environment
from tests.waiting import eventually

_IN_TIME = 60.0  # seconds


class Terminal:
    """`written` is all that the command wrote, with its escape sequences; `lines` what the terminal shows now."""

    def __init__(
        self, *arguments: str, columns: int = 80, rows: int = 24, variables: Mapping[str, str] | None = None
    ) -> None:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._mode = termios.tcgetattr(theirs)
        self._ours, self._theirs = ours, theirs
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.Stream(self._screen)
        self._lock = threading.Lock()
        self.written = ""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *COMMAND, *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env=environment(**{"TERM": "xterm-256color", **(variables or {})}),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._theirs)
        self._reader.join()
        os.close(self._ours)

    def _read(self) -> None:
        """Until nobody has the other end open any more."""
        while True:
            try:
                text = os.read(self._ours, 65536).decode(errors="replace")
            except OSError:
                return
            with self._lock:
                self.written += text
                self._stream.feed(text)

    @property
    def lines(self) -> list[str]:
        with self._lock:
            return [line.rstrip() for line in self._screen.display]

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def resize(self, columns: int, rows: int) -> None:
        """As a window that is drawn larger or smaller."""
        with self._lock:
            self._screen.resize(rows, columns)
        ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def shows(self, text: str) -> None:
        """Returns once `text` is on the screen."""
        eventually(lambda: any(text in line for line in self.lines), _IN_TIME, what=f"{text!r} on the screen")

    def shows_no(self, text: str) -> None:
        """Returns once `text` is not on the screen."""
        eventually(lambda: not any(text in line for line in self.lines), _IN_TIME, what=f"{text!r} gone")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Its exit code."""
        return self.process.wait(_IN_TIME)

    @property
    def restored(self) -> bool:
        """Whether keys are echoed again and lines edited as before, on the screen of before, with a cursor."""
        return (
            termios.tcgetattr(self._theirs) == self._mode
            and self.written.count("\x1b[?1049h") == self.written.count("\x1b[?1049l")
            and self.written.rfind("\x1b[?25h") >= self.written.rfind("\x1b[?25l")
        )
