"""How a demo shows what happens: one picture that is redrawn on a terminal, lines where there is none."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from owmesos.cli.output import console_of_stdout

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


class View(Protocol[S_contra]):
    """A context manager that shows scenes until its end."""

    def __enter__(self) -> View[S_contra]: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def update(self, scene: S_contra) -> None: ...


class LiveView(Generic[S]):
    """Redraws what `picture` makes of a scene."""

    def __init__(self, picture: Callable[[S, Console], RenderableType]) -> None:
        from rich.live import Live

        self._picture = picture
        self._console = console_of_stdout()
        self._live = Live(console=self._console, refresh_per_second=10)

    def __enter__(self) -> LiveView[S]:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, scene: S) -> None:
        self._live.update(self._picture(scene, self._console))


class PlainView(Generic[S]):
    """Says of each scene what `say` wants said."""

    def __init__(self, say: Callable[[S], None]) -> None:
        self._say = say

    def __enter__(self) -> PlainView[S]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def update(self, scene: S) -> None:
        self._say(scene)


def view_for(terminal: bool, picture: Callable[[S, Console], RenderableType], say: Callable[[S], None]) -> View[S]:
    """The one that suits standard output."""
    return LiveView(picture) if terminal else PlainView(say)
