"""How a Controller gives memory away (ShardingContainerPoolBalancer.scala, NestedSemaphore.scala): no I/O."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import gcd

MIN_MEMORY = 128  # MB


class Slots:
    """One invoker's memory in MB. An action that runs several at once in one container takes memory for each container.

    Below zero, it was forced: the Controller is overloaded.
    """

    def __init__(self, memory: int, controllers: int = 1) -> None:
        share = memory // controllers
        self.all = max(share, MIN_MEMORY)
        self.free = self.all
        self._shared: dict[str, int] = {}  # runs that fit into containers which are paid for

    def acquire(self, action: str, memory: int, concurrency: int, *, force: bool = False) -> bool:
        if concurrency > 1 and self._shared.get(action, 0) > 0:
            self._shared[action] -= 1
            return True
        if self.free < memory and not force:
            return False
        self.free -= memory
        if concurrency > 1:
            self._shared[action] = self._shared.get(action, 0) + concurrency - 1
        return True

    def release(self, action: str, memory: int, concurrency: int) -> None:
        if concurrency > 1:
            self._shared[action] = self._shared.get(action, 0) + 1
            if self._shared[action] % concurrency:
                return
            self._shared[action] -= concurrency
        self.free += memory
        assert self.free <= self.all, "more was given back than was taken"


def home(namespace: str, action: str) -> int:
    """Where the search begins."""
    return abs(_java_hash(namespace) ^ _java_hash(action))


def _java_hash(text: str) -> int:
    value = 0
    for character in text:
        value = (value * 31 + ord(character)) & 0xFFFFFFFF
    return value - 2**32 if value >= 2**31 else value


def steps(count: int) -> list[int]:
    """The numbers up to `count` that have no divisor in common with it, nor with each other."""
    found: list[int] = []
    for number in range(1, count + 1):
        if gcd(number, count) == 1 and all(gcd(each, number) == 1 for each in found):
            found.append(number)
    return found


def choose(start: int, usable: Sequence[bool], acquire: Callable[[int, bool], bool]) -> int | None:
    """The invoker that takes it: the first that is usable and has room, from its home on; else any usable one."""
    count = len(usable)
    if not count:
        return None
    pace = steps(count)
    index, step = start % count, pace[start % len(pace)]
    for _ in range(count + 2):
        if usable[index] and acquire(index, False):
            return index
        index = (index + step) % count
    healthy = [number for number, good in enumerate(usable) if good]
    if not healthy:
        return None
    chosen = random.choice(healthy)
    acquire(chosen, True)
    return chosen
