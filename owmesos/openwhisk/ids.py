"""Who speaks: transactions, invokers and Controllers, as they stand in every message between them.

Optional fields are None where they were absent and are left out again when written; what a Controller requires has no
default, so it always is. That way one type serves OpenWhisk 1.0 and 2.0 (common/…/core/entity/InstanceId.scala).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec

from owmesos.openwhisk.sizes import MAX_USER_MEMORY, megabytes

TransactionId: TypeAlias = list[Any]
"""`[id, start in ms, true?, [parent…]?]`. Kept as it came, for it is only sent back and shown."""

HEALTH_TRANSACTION = "sid_invokerHealth"


def transaction_name(transid: TransactionId) -> str:
    """Its id; `unknown`, as OpenWhisk says, where it has none."""
    return transid[0] if transid and isinstance(transid[0], str) else "unknown"


def transaction_start(transid: TransactionId) -> int | None:
    """When it began, in ms since the epoch."""
    start = transid[1] if len(transid) > 1 else None
    return int(start) if isinstance(start, (int, float)) and not isinstance(start, bool) else None


class ControllerId(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Whom to answer: its name is part of a topic's."""

    as_string: str
    instance_type: str | None = None


class InvokerId(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An invoker in pings and acknowledgements. `user_memory` and `busy_memory` are sizes such as `1024 MB`.

    2.0 requires `instanceType`, `tags` and `dedicatedNamespaces`; 1.0 knows none of them.
    """

    instance: int
    user_memory: str
    busy_memory: str | None = None
    instance_type: str | None = None
    tags: tuple[str, ...] | None = None
    dedicated_namespaces: tuple[str, ...] | None = None
    unique_name: str | None = None
    displayed_name: str | None = None

    def __str__(self) -> str:
        """As OpenWhisk shows it."""
        names = (f"invoker{self.instance}", self.unique_name, self.displayed_name)
        return "/".join(name for name in names if name is not None)


def invoker_id(
    instance: int,
    *,
    user_memory: int = MAX_USER_MEMORY,
    tags: Sequence[str] = (),
    dedicated_namespaces: Sequence[str] = (),
    unique_name: str | None = None,
    displayed_name: str | None = None,
) -> InvokerId:
    """This invoker, in the form that every Controller takes. `user_memory` in MB.

    The cluster's size is not known and changes, so by default it is as large as a Controller can count.
    """
    return InvokerId(
        instance=instance,
        user_memory=megabytes(user_memory),
        instance_type="invoker",
        tags=tuple(tags),
        dedicated_namespaces=tuple(dedicated_namespaces),
        unique_name=unique_name,
        displayed_name=displayed_name,
    )
