"""What becomes of the activations that an earlier process left unfinished.

Those whose record is stored have ended. Those whose result was answered get a record with the same result. Those
that had not begun run now. The others may have run wholly or in part: they do not run again, and their record is an
internal error that says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import msgspec

from owmesos.core.listings import instant
from owmesos.errors import NOT_READABLE
from owmesos.openwhisk.activation import Activation, not_run, whisk_error
from owmesos.openwhisk.container.log_lines import LOGS_MISSING
from owmesos.openwhisk.container.run_state import Interval, Order, activation_of
from owmesos.openwhisk.entities import ActionStore, ActionUnavailable
from owmesos.openwhisk.messages import ActivationMessage, MalformedMessage, decode_activation
from owmesos.openwhisk.store.activation_journal import ActivationJournal
from owmesos.openwhisk.store.sqlite import EmbeddedStore, KeptResponse
from owmesos.system.lone_surrogates import Decoder
from owmesos.system.tasks import within

_log = logging.getLogger("owmesos.standalone")
ACTION_WAIT = 2.0  # seconds; for details that the record can do without


class _AnsweredActivation(Activation, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    response: KeptResponse


_activation = Decoder(_AnsweredActivation).decode


def answered_activation(answer: bytes) -> Activation:
    """The activation as it was answered, before its log was collected. Raises NOT_READABLE."""
    activation = _activation(answer)
    limits = activation.annotation("limits")
    has_log = not isinstance(limits, dict) or limits.get("logs") != 0
    return msgspec.structs.replace(activation, logs=[LOGS_MISSING]) if has_log else activation


async def interrupted_activation(
    message: ActivationMessage, begun_at: float | None, actions: ActionStore, now: float
) -> Activation:
    """The time of its end is unknown, so it has no duration, and its end is the time when this was found out.

    Times in seconds since the epoch. `begun_at` is None if another journal has it.
    """
    if begun_at is None:
        why = "Another process of this invoker took the activation, and its journal is not available here"
    else:
        why = f"The invoker ended while the activation was running since {instant(begun_at)}"
    response = whisk_error(f"{why}: the activation may have run wholly or in part and is not repeated.")
    begun = now if begun_at is None else begun_at
    try:
        executable = await within(actions.action(message.action, message.revision), ACTION_WAIT)
    except (ActionUnavailable, asyncio.TimeoutError):
        activation = not_run(message, response, now)
    else:
        activation = activation_of(Order(message, executable), response, None, Interval(begun, now))
    return msgspec.structs.replace(activation, start=int(begun * 1000), end=int(now * 1000), duration=None)


async def resume(
    journal: ActivationJournal, store: EmbeddedStore, run: Callable[[ActivationMessage], object], now: float
) -> None:
    """From the journal of standalone mode. `run` runs an activation that had not begun; one that cannot be read stays
    in the journal. Raises EmbeddedStoreFailed."""
    entries, journal.entries = journal.entries, []
    recorded = await store.recorded([entry.activation_id for entry in entries])
    journal.forget(recorded)
    again = interrupted = 0
    for entry in entries:
        if entry.activation_id in recorded:
            continue
        try:
            if entry.result is not None:
                store.store(answered_activation(entry.result))
                continue
            message = decode_activation(entry.message)
        except (*NOT_READABLE, MalformedMessage) as error:
            _log.error("activation %s stays in the journal, and cannot be read: %s", entry.activation_id, error)
            continue
        if entry.begun_at is None:
            run(message)
            again += 1
        else:
            store.store(await interrupted_activation(message, entry.begun_at, store, now))
            interrupted += 1
    if again or interrupted:
        _log.warning(
            "the previous process %s: %d activations that had not begun run now, %d"
            " that were running are recorded as an internal error",
            "crashed or was killed" if journal.closed_at is None else f"was stopped at {instant(journal.closed_at)}",
            again,
            interrupted,
        )
