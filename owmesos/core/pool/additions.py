"""What the cluster has each container take beside what its shape asks for, learned from the last one like it."""

from __future__ import annotations

from owmesos.core.pool.containers import ContainerShape
from owmesos.resources import Ask

_MOST_SHAPES = 1000  # users' images have names without end
_NOTHING = Ask()


class Additions:
    """By shape. A shape of which nothing was learned is taken to be like the last one of any."""

    def __init__(self) -> None:
        self._by_shape: dict[ContainerShape, Ask] = {}  # the one that was learned last comes last
        self._told: dict[ContainerShape, Ask] = {}  # the same before it was forgotten
        self._last = _NOTHING
        self._without: dict[ContainerShape, float] = {}  # since when no container of the shape was made for its runs

    def __bool__(self) -> bool:
        """Whether there is anything to add."""
        return self._last != _NOTHING or any(each != _NOTHING for each in self._by_shape.values())

    def of(self, shape: ContainerShape) -> Ask:
        return self._by_shape.get(shape, self._last)

    def learn(self, shape: ContainerShape, added: Ask) -> bool:
        """From a container that was made. Whether it differs from what was known."""
        known = self._told.pop(shape, self.of(shape))
        self._without.pop(shape, None)
        self._put(shape, added)
        self._last = added
        return added != known

    def waiting(self, shape: ContainerShape, now: float, most: float) -> bool:
        """Runs wait for a container of the shape. After `most` seconds without one what was learned is forgotten: the
        cluster may have been mended, and only a container tells. Returns whether it was."""
        since = self._without.setdefault(shape, now)
        if len(self._without) > _MOST_SHAPES:
            del self._without[next(iter(self._without))]
        known = self.of(shape)
        if now < since + most or known == _NOTHING:
            return False
        del self._without[shape]
        self._put(shape, _NOTHING)
        self._told[shape] = known
        return True

    def none_waits(self) -> None:
        """No container can be made, whatever it takes."""
        self._without.clear()

    def _put(self, shape: ContainerShape, added: Ask) -> None:
        self._by_shape.pop(shape, None)
        self._by_shape[shape] = added
        if len(self._by_shape) > _MOST_SHAPES:
            oldest = next(iter(self._by_shape))
            del self._by_shape[oldest]
            self._told.pop(oldest, None)
