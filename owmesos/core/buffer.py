"""The safety buffer: what stays free on every agent, on top of what offers and reservations say.

The proposal's authors saw launches fail because a cluster manager's numbers are always a little old; none of their
code ever kept a margin when launching. Ours is absolute (cpus, MB) and a share of the agent's memory.
"""

from __future__ import annotations

import msgspec

from owmesos.errors import InvalidInput
from owmesos.resources import milli


class Buffer(msgspec.Struct, frozen=True, gc=False):
    """`milli_mem` and `milli_cpus` are kept free on every agent; `share` (0 to 1) of its memory at least."""

    milli_mem: int = 0
    milli_cpus: int = 0
    share: float = 0.05

    @classmethod
    def of(cls, *, mem: float = 0, cpus: float = 0, share: float = 0.05) -> Buffer:
        """From MB, cpus and a share. Raises InvalidInput."""
        if not 0 <= share < 1:
            raise InvalidInput(f"the buffer's share must be at least 0 and below 1, not {share!r}")
        return cls(milli("buffer-mem", mem), milli("buffer-cpus", cpus), share)

    def on(self, milli_mem: int) -> tuple[int, int]:
        """(cpus, mem) to keep free, in thousandths, on an agent with `milli_mem` of memory: the sum of both kinds."""
        return self.milli_cpus, self.milli_mem + int(milli_mem * self.share)
