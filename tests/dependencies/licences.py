"""The licences of what owmesos installs, from the installed packages' own metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ACCEPTED = frozenset(
    {
        "0BSD",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "ISC",
        "MIT",
        "MIT-0",
        "PSF-2.0",
        "BSD (clauses not said)",
    }
)
"""Those under which a package may be used, changed and given away by whoever keeps its notice."""

EXCEPTIONS = {
    # Of the extra `openwhisk`; used unchanged, as a package of its own that anybody can replace.
    "crc32c": "LGPL-2.1-or-later",
}
"""Other licences, each for one package."""

_CLASSIFIED = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD (clauses not said)",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.1-or-later",
}
_WRITTEN = {"Apache 2": "Apache-2.0", "Apache 2.0": "Apache-2.0", "BSD": "BSD (clauses not said)"}


class Licensed(NamedTuple):
    """A package, and its licence as an SPDX expression; empty if its metadata say none that is understood."""

    name: str
    version: str
    licence: str

    @property
    def accepted(self) -> bool:
        return EXCEPTIONS.get(self.name) == self.licence or _allows(self.licence)


def of_dependencies(
    packages: Iterable[Distribution], root: str = "owmesos", extras: Iterable[str] = ("openwhisk",)
) -> list[Licensed]:
    """Of all that `root[extras]` needs, directly or not, on this Python. Raises KeyError if one is not installed."""
    installed = {canonicalize_name(package.metadata["Name"]): package for package in packages}
    found: dict[str, Licensed] = {}
    waiting = [(canonicalize_name(root), tuple(extras))]
    seen = set(waiting)
    while waiting:
        name, wanted = waiting.pop()
        package = installed[name]
        found[name] = Licensed(name, package.version, licence_of(package))
        news = {(canonicalize_name(each.name), tuple(sorted(each.extras))) for each in _needed(package, wanted)} - seen
        seen |= news
        waiting += sorted(news)
    return sorted(found.values())


def _needed(package: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    environments = [{"extra": extra} for extra in ("", *extras)]
    for text in package.requires or ():
        requirement = Requirement(text)
        if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
            yield requirement


def licence_of(package: Distribution) -> str:
    """The newest of three places where metadata may say it; a long text in the second is the licence itself."""
    expression, written = (_first(package, name) for name in ("License-Expression", "License"))
    if expression:
        return expression
    classifiers = package.metadata.get_all("Classifier") or []
    ends = [text.rsplit(" :: ", 1)[-1] for text in classifiers if text.startswith("License :: OSI Approved :: ")]
    if ends:
        return " OR ".join(sorted(_CLASSIFIED.get(end, end) for end in ends))
    if "\n" in written or written.upper() == "UNKNOWN":
        return ""
    return _WRITTEN.get(written, written)


def _first(package: Distribution, name: str) -> str:
    return str((package.metadata.get_all(name) or [""])[0]).strip()


def _allows(expression: str) -> bool:
    """AND binds more tightly than OR; what has parentheses is for a human."""
    choices = [choice.split(" AND ") for choice in expression.split(" OR ")]
    return any(all(part.strip() in ACCEPTED for part in choice) for choice in choices)
