"""Every error that owmesos raises on purpose, each with one line that says what happened and what to do.

One root, so that a program can catch them all; `exit_code` is what the command line ends with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

NOT_READABLE: tuple[type[Exception], type[UnicodeError], type[RecursionError]]
"""What decoding raises for a document from outside: bytes, or a text that may hold lone surrogates."""

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        """The commands are quicker without msgspec, and most of them decode nothing by it."""
        if name != "NOT_READABLE":
            raise AttributeError(f"module 'owmesos.errors' has no attribute {name!r}")
        import msgspec

        return (msgspec.MsgspecError, UnicodeError, RecursionError)


class OwmesosError(Exception):
    """The root. Its text is one line for a person."""

    exit_code = 1


class InvalidInput(OwmesosError, ValueError):
    """A value from outside that cannot be used: a URL, a constraint, a number, a file. Nothing was done."""

    exit_code = 2


def os_reason(error: OSError) -> str:
    """The reason in words, also of an error without a number of the system, which has no `strerror`."""
    return error.strerror or " ".join(str(error).split()) or type(error).__name__


@contextmanager
def os_errors_as_invalid_input(what: str) -> Iterator[None]:
    """An OSError of the block is an InvalidInput that says `what`, and why."""
    try:
        yield
    except OSError as error:
        raise InvalidInput(f"{what}: {os_reason(error)}") from None


class Ambiguous(InvalidInput):
    """A name, or the beginning of an id, that several have."""

    def __init__(self, name: str, candidates: Sequence[str], most: int = 5) -> None:
        more = f" and {len(candidates) - most} more" if len(candidates) > most else ""
        super().__init__(f"{name} is ambiguous: {', '.join(candidates[:most])}{more}; write more of the ID")


class Interrupted(OwmesosError):
    """Ctrl-C ended a command that waits or shows; the text says what goes on."""

    exit_code = 130  # as shells say: 128 + SIGINT


class InvariantBroken(OwmesosError, AssertionError):
    """`validate()` found the books wrong: a fault of owmesos itself."""
