"""How an owmesos that ends under attack is judged: by its own part of the log."""

from __future__ import annotations

import sys
from pathlib import Path

from chaos.process import Owmesos
from tests.waiting import eventually_async

LOST_THE_LEAD = "ERROR owmesos.run: this process has lost the lead, and ends at once: another process leads"


class OnAMaster:
    master = "127.0.0.1:5050"


async def ended(folder: Path, *lines: str) -> Owmesos:
    """One that writes these lines and ends."""
    owmesos = Owmesos(folder, OnAMaster(), "127.0.0.1:8080", standalone=False)  # type: ignore[arg-type]
    ran_before = str(folder / "ran-before")
    writes = f"import os, sys; print(*{lines!r}, sep=chr(10)); sys.exit(1)"
    sleeps = "import time; time.sleep(60)"
    program = f"import os\nif os.path.exists({ran_before!r}):\n {sleeps}\nopen({ran_before!r}, 'w')\n{writes}"
    owmesos._command = [sys.executable, "-c", program]
    await owmesos.start()

    async def judged() -> bool:
        return bool(owmesos.ends or owmesos.replaced)

    await eventually_async(judged)
    return owmesos


async def test_a_leader_that_was_replaced_is_started_again(tmp_path: Path) -> None:
    owmesos = await ended(tmp_path, LOST_THE_LEAD, "WARNING owmesos.election: the connection to ZooKeeper is lost")
    assert (owmesos.ends, owmesos.replaced) == ([], 1)

    async def again() -> bool:
        return owmesos.alive

    await eventually_async(again)
    await owmesos.kill()


async def test_an_earlier_process_of_the_same_log_does_not_excuse_it(tmp_path: Path) -> None:
    (tmp_path / "owmesos.log").write_text(LOST_THE_LEAD + "\n")
    owmesos = await ended(tmp_path, "Traceback (most recent call last):")
    assert (owmesos.ends, owmesos.replaced) == ([1], 0)
