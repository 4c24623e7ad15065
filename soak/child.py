"""A process of the soak's own that answers questions, one line each."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType


class Child:
    """`python -m module arguments…`, whose first line is its `greeting`. It ends when its standard input does."""

    def __init__(self, module: str, *arguments: object) -> None:
        command = [sys.executable, "-m", module, *map(str, arguments)]
        self._module = module
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.greeting = self._said()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def ask(self, what: str) -> str:
        """The answer. Raises RuntimeError when the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        return self._said()

    def _said(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._module} has ended: see what it wrote")
        return line.strip()


def say(line: str) -> None:
    """In the child."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
