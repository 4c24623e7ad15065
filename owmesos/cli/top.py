"""`owmesos top`: nodes, queue and containers, live in the terminal.

One thread follows the framework's events, one polls for what they do not contain, and the main thread draws and reads
keys. A framework that is silent, restarting or gone is only reported in the heading.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import click

from owmesos.cli.connection import AdminAccess, admin_client
from owmesos.cli.full_screen import ENDING, can_draw, given_back
from owmesos.cli.options import Option, with_options
from owmesos.cli.status import WIDTH
from owmesos.cli.top_view import NODES, QUEUE, Snapshot, TopView

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

    from owmesos.cli.client import AdminClient, Document

_REDRAW = 1.0  # seconds without a key, after which the ages on the screen are updated
_RETRY = 1.0  # seconds
_TABLE_KEYS = {"nodes": NODES.key, "waiting": QUEUE.key}
_LIVE: dict[str, Any] = {"auto_refresh": False, "screen": True}
_KEYS = {
    **dict.fromkeys((b"\x1b[A", b"\x1bOA", b"k"), "up"),
    **dict.fromkeys((b"\x1b[B", b"\x1bOB", b"j"), "down"),
    **dict.fromkeys((b"\x1b[D", b"\x1bOD"), "left"),
    **dict.fromkeys((b"\x1b[C", b"\x1bOC"), "right"),
    b"\x1b[5~": "pgup",
    b"\x1b[6~": "pgdn",
    **dict.fromkeys((b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"g"), "home"),
    **dict.fromkeys((b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"G"), "end"),
    b"\t": "tab",
}
"""What terminals send for a key; any other key is its letter."""


@click.command()
@with_options
def top(
    *,
    admin: AdminAccess,
    interval: Annotated[
        float, click.FloatRange(min=0.2), Option("Seconds between updates of containers and sums.", "S")
    ] = 2.0,
) -> None:
    """Show nodes, queue and containers live until q or Ctrl-C.

    It shows them once if stdout is not a terminal, or TERM is dumb.

    1, 2, 3 or Tab choose the table; m, c, w, n sort it by memory, CPUs, wait or name, r reverses; the arrow keys move.
    The bars show used, reserved, buffer and available.
    """
    following = Following(admin_client(admin))
    following.begin()
    if not (sys.stdin.isatty() and can_draw()):
        from rich.console import Console

        console = Console(highlight=False, width=WIDTH)
        with console.capture() as captured:
            console.print(TopView(ascii_only=not _unicode()).page(following.snapshot(), WIDTH, time.time()))
        click.echo(captured.get(), nl=False)
        return
    following.start(interval)
    _live(following)


class Following:
    """Keeps the newest documents, with threads of its own."""

    def __init__(self, client: AdminClient) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._wake_read, self._wake_write = os.pipe()
        self._status: Document = {}
        self._containers: list[Document] = []
        self._tables: dict[str, dict[str, Document]] = {"nodes": {}, "waiting": {}}
        self._left_out: dict[str, int] = {}
        self._lost: tuple[float, str] | None = None
        self._events: Iterator[tuple[str, Document]] = iter(())

    def begin(self) -> None:
        """Request everything once. Raises RequestFailed."""
        self._ask()
        self._events = self._client.events()
        for name, document in self._events:
            self._take(name, document)
            if not document["rest"]:
                return

    def start(self, interval: float) -> None:
        """Keep updating in the background; `interval` in seconds."""
        for work in (self._follow, lambda: self._keep_asking(interval)):
            threading.Thread(target=work, daemon=True).start()

    def snapshot(self) -> Snapshot:
        with self._lock:
            tables = {name: list(rows.values()) for name, rows in self._tables.items()}
            return Snapshot(
                self._status, **tables, containers=self._containers, left_out=self._left_out, lost=self._lost
            )

    def changed(self, timeout: float, others: list[int]) -> list[int]:
        """Wait until something changes or one of the descriptors `others` is readable; return those that are."""
        ready, _, _ = select.select([self._wake_read, *others], [], [], timeout)
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        return [each for each in ready if each != self._wake_read]

    def wake(self) -> None:
        os.write(self._wake_write, b".")

    def _follow(self) -> None:
        while True:
            self._guarded(self._follow_once)
            time.sleep(_RETRY)
            self._events = self._client.events()

    def _follow_once(self) -> None:
        for name, document in self._events:
            self._take(name, document)
            self.wake()

    def _keep_asking(self, interval: float) -> None:
        while True:
            time.sleep(interval)
            if self._lost is None:
                self._guarded(self._ask)
                self.wake()

    def _guarded(self, work: Callable[[], None]) -> None:
        from owmesos.cli.client import RequestFailed

        try:
            work()
        except RequestFailed as error:
            with self._lock:
                self._lost = (self._lost[0] if self._lost is not None else time.time(), str(error))
            self.wake()

    def _ask(self) -> None:
        status = self._client.get("status")
        containers = self._client.get("containers") if status["runs"] is not None else []
        with self._lock:
            self._status, self._containers = status, containers

    def _take(self, name: str, document: Document) -> None:
        """A snapshot may come in several events, the first of which replaces everything before it."""
        from owmesos.cli.client import MayPass

        if name == "end":
            raise MayPass(str(document.get("error")))
        with self._lock:
            if name == "snapshot" and "health" in document:
                self._tables = {table: {} for table in self._tables}
            self._lost = None
            self._left_out = document.get("left_out", self._left_out)
            for table, rows in self._tables.items():
                for key in document.get("gone", {}).get(table, ()):
                    rows.pop(key, None)
                rows |= {_TABLE_KEYS[table](row): row for row in document.get(table, ())}


def _live(following: Following) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    view = TopView(ascii_only=not _unicode())
    signal.signal(signal.SIGWINCH, lambda number, frame: following.wake())  # draws anew
    suspended = True
    while suspended:
        suspended = False
        try:
            with given_back(_screen(console), {**ENDING, signal.SIGTSTP: _Suspended}) as (live, stdin):
                _draw(following, view, console, live, stdin)
        except _Suspended:  # the terminal is restored by now; SIGCONT continues here
            os.kill(os.getpid(), signal.SIGSTOP)
            suspended = True


@contextmanager
def _screen(console: Console) -> Iterator[tuple[Live, int]]:
    """What is drawn on, and the descriptor from which keys come."""
    from rich.live import Live

    with _unbuffered(sys.stdin.fileno()) as stdin, Live(console=console, **_LIVE) as live:
        yield live, stdin


def _draw(following: Following, view: TopView, console: Console, live: Live, stdin: int) -> None:
    """Returns when a key quits."""
    while True:
        width, height = console.size
        live.update(view.screen(following.snapshot(), width, height, time.time()), refresh=True)
        for _ in following.changed(_REDRAW, [stdin]):
            typed = os.read(stdin, 256)
            if not typed or not all(view.press(key) for key in keys_in(typed)):
                return


def keys_in(typed: bytes) -> Iterator[str]:
    """The typed keys, by the names in `_KEYS`."""
    while typed:
        found = next((each for each in _KEYS if typed.startswith(each)), None)
        if found is None and typed.startswith(b"\x1b"):  # an unknown sequence: no part of it is a key
            return
        length = len(found) if found is not None else 1
        yield _KEYS[found] if found is not None else typed[:1].decode(errors="replace")
        typed = typed[length:]


class _Suspended(Exception):
    """Ctrl-Z."""


@contextmanager
def _unbuffered(descriptor: int) -> Iterator[int]:
    """Deliver keys as they are typed, without echo."""
    import termios
    import tty

    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _unicode() -> bool:
    return "utf" in (sys.stdout.encoding or "").lower()
