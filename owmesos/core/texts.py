"""What every text must be that goes to a master, an agent or a process: valid Unicode without NUL, and of bounded size;
what a part of an id stands for, and how texts are shown and kept.

A NUL ends a text in C, so Mesos and the kernel would take another one than was written; half of a surrogate pair cannot
be written as UTF-8 at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from owmesos.errors import Ambiguous, InvalidInput

MAX_NAME = 4096
"""Bytes of an image, a network, a user, a role, a URI, and of a label's name."""


def check_text(what: str, text: object, most: int) -> int:
    """Return the size in bytes of UTF-8, at most `most`. Raises InvalidInput, which names `what`."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} must be a text, not {shortened(repr(text))}")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is not valid Unicode: {shortened(ascii(text))}") from None
    if size > most:
        raise InvalidInput(f"{what} has {size} bytes, at most {most} are allowed: {shortened(repr(text))}")
    if "\0" in text:
        raise InvalidInput(f"{what} must not contain a NUL character: {shortened(repr(text))}")
    return size


def the_one_that_begins(name: str, ids: Iterable[str]) -> str | None:
    """The only one of `ids` that begins with `name`, or None. Raises Ambiguous."""
    found = sorted(each for each in ids if each.startswith(name)) if name else []
    if len(found) > 1:
        raise Ambiguous(name, found)
    return found[0] if found else None


def shortened(text: str) -> str:
    """For an error of one line."""
    return text if len(text) <= 80 else text[:77] + "..."


@lru_cache(maxsize=1024)
def shared(text: str) -> str:
    """The first of equal texts, so that as many nodes as have the same role keep it once."""
    return text
