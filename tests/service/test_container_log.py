"""Which part of a container's log is an activation's."""

from __future__ import annotations

import pytest

from owmesos.core.container_factory import StreamPart
from owmesos.runtimes.framing import SENTINEL
from owmesos.service.container_log import ContainerLog

PIECE = 64 * 1024  # bytes that an agent gives at a time
END = f"{SENTINEL}\n"


class Written:
    """A container's streams, which are this text."""

    remain = True

    def __init__(self, text: str) -> None:
        self.text = text

    async def read(self, stream: str, offset: int) -> StreamPart:
        data = self.text.encode()
        return StreamPart(len(data), data[offset : offset + PIECE] if offset >= 0 else b"")

    def is_foreign(self, stream: str, line: bytes) -> bool:
        return line.startswith(b"executor: ")


async def of_the_last_run(text: str, tail: int | None = None) -> str:
    log = ContainerLog(Written(text), "stdout", "agent1", lambda: "", lambda: False, last_run=True)
    return b"".join([part async for part in log.parts(tail)]).decode()


@pytest.mark.parametrize("before", [0, 1, PIECE, PIECE + 1])
@pytest.mark.parametrize("after", ["", "mine\n", "mine", *("m" * (PIECE + more) + "\n" for more in range(-50, 2, 10))])
async def test_what_earlier_runs_wrote_is_left_out(before: int, after: str) -> None:
    """The line that ends a run may be in two pieces."""
    assert await of_the_last_run(f"{'x' * before}\n{END}another's\n{END}{after}") == after
    assert await of_the_last_run(f"{'x' * before}\n{after}") == f"{'x' * before}\n{after}"


async def test_the_line_that_ends_the_run_itself_is_left_out() -> None:
    written, running = Written(f"another's\n{END}mine\n"), [True]
    log = ContainerLog(written, "stdout", "agent1", lambda: "", lambda: bool(running), last_run=True)

    async def ends() -> None:
        if running:
            written.text += f"more\n{END}"
        running.clear()

    assert b"".join([part async for part in log.parts(None, ends)]).decode() == "mine\nmore\n"


async def test_what_the_next_run_writes_is_not_followed() -> None:
    """It may begin between two reads."""
    written = Written(f"another's\n{END}mine\n")
    log = ContainerLog(written, "stdout", "agent1", lambda: "", lambda: True, last_run=True)

    async def the_next_begins() -> None:
        written.text += f"more\n{END}the next one's\n"

    assert b"".join([part async for part in log.parts(None, the_next_begins)]).decode() == "mine\nmore\n"


async def test_its_last_lines_are_not_those_of_an_earlier_run() -> None:
    assert await of_the_last_run(f"another's\n{END}executor: starts\nmine\n", tail=5) == "mine\n"
    assert await of_the_last_run(f"another's\n{END}first\nsecond\n", tail=1) == "second\n"
