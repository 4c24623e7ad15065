"""Every error that owmesos raises on purpose, each with one line that says what happened and what to do.

One root, so that a program can catch them all; `exit_code` is what the command line ends with.
"""

from __future__ import annotations


class OwmesosError(Exception):
    """The root. Its text is one line for a person."""

    exit_code = 1


class InvalidInput(OwmesosError, ValueError):
    """A value from outside that cannot be used: a URL, a constraint, a number, a file. Nothing was done."""

    exit_code = 2


class InvariantBroken(OwmesosError, AssertionError):
    """`validate()` found the books wrong: a fault of owmesos itself."""
