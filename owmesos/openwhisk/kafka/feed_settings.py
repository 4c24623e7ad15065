"""How much of the invoker's topic is held at once, and what a crash does to it. Imports nothing of Kafka."""

from __future__ import annotations

from enum import Enum

import msgspec

from owmesos.errors import InvalidInput


class Delivery(str, Enum):
    AT_MOST_ONCE = "at-most-once"
    AT_LEAST_ONCE = "at-least-once"


class FeedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One activation is admitted whatever its weight, because it would block the feed otherwise."""

    max_count: int = 1024  # activations in progress
    max_weight: int = 64 * 1024**2  # bytes: of the messages, and what `Feed.add_bytes` adds
    delivery: Delivery = Delivery.AT_MOST_ONCE
    commit_every: float = 1.0  # seconds

    def __post_init__(self) -> None:
        if self.max_count < 1 or self.max_weight < 1:
            raise InvalidInput("the feed must be allowed to hold at least one activation and one byte")
