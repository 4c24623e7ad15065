"""The dict that headers are in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar, overload

D = TypeVar("D")


class IOrderedDict(dict[str, str]):
    """Finds a key however its letters are cased; it keeps the case, and the place, that it came with first."""

    def __init__(self, items: Mapping[str, str] | Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        self._known: dict[str, str] = {}
        for key, value in items.items() if isinstance(items, Mapping) else items:
            self[key] = value

    def __setitem__(self, key: str, value: str) -> None:
        super().__setitem__(self._known.setdefault(key.lower(), key), value)

    def __getitem__(self, key: str) -> str:
        return super().__getitem__(self._known.get(key.lower(), key))

    def __delitem__(self, key: str) -> None:
        super().__delitem__(self._known.get(key.lower(), key))
        del self._known[key.lower()]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.lower() in self._known

    @overload
    def get(self, key: str, default: None = None, /) -> str | None: ...

    @overload
    def get(self, key: str, default: D, /) -> str | D: ...

    def get(self, key: str, default: D | None = None, /) -> str | D | None:
        return super().get(self._known.get(key.lower(), key), default)

    def copy(self) -> IOrderedDict:
        return IOrderedDict(self)
