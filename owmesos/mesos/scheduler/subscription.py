"""The subscription at the master: what is known when it begins, what is void after it, and what ends the process."""

from __future__ import annotations

import msgspec

from owmesos.mesos import messages as v1
from owmesos.mesos.scheduler.effects import AskAgents, Note, Resubscribe, Stop, StoreFramework
from owmesos.mesos.scheduler.heartbeats import Heartbeats
from owmesos.mesos.scheduler.kills import Kills
from owmesos.mesos.scheduler.lifecycle import State
from owmesos.mesos.scheduler.matching import Matching
from owmesos.mesos.scheduler.reconciliation import Reconciliation
from owmesos.mesos.scheduler.revive import SuppressReviveHandler
from owmesos.mesos.scheduler.state import MasterConnection, SchedulerState, SchedulerTimer
from owmesos.mesos.wire.driver import Disconnected, SubscribeRefused, SubscribeUnanswered


class Subscription:
    """Writes into the state what the stream's begin and end mean."""

    def __init__(
        self,
        state: SchedulerState,
        heartbeats: Heartbeats,
        revive: SuppressReviveHandler,
        reconciliation: Reconciliation,
        kills: Kills,
        matching: Matching,
    ) -> None:
        self._state = state
        self._heartbeats = heartbeats
        self._revive = revive
        self._reconciliation = reconciliation
        self._kills = kills
        self._matching = matching
        self._ever_subscribed = False
        self._unexpected = ""  # what was last answered to SUBSCRIBE in place of a master's answer

    def subscribed(self, event: v1.Subscribed, now: float) -> None:
        state = self._state
        self._forget_offers(now)
        state.connected, self._ever_subscribed = True, True
        state.connection = MasterConnection(now, None)
        self._heartbeats.subscribed(event)
        state.timers.cancel(SchedulerTimer.CONNECT_TIMEOUT)
        state.capacity.known = False
        state.timers.set(SchedulerTimer.SETTLED, now + state.settings.settle)
        if state.info.id != event.framework_id:
            state.info = msgspec.structs.replace(state.info, id=event.framework_id)
            state.emit(StoreFramework(event.framework_id.value))
        self._revive.subscribed(now)
        self._reconciliation.subscribed(now)
        self._kills.subscribed(now)
        state.emit(AskAgents())

    def settled(self, now: float) -> None:
        self._state.capacity.known = True

    def disconnected(self, event: Disconnected, now: float) -> None:
        self._cut_off(event.reason, now)
        self._state.note("warning", f"disconnected: {event.reason}")

    def resubscribe(self, reason: str, now: float) -> None:
        """That voids all offers and whatever the old stream still says, so nothing of it is counted on from now."""
        self._cut_off(reason, now)
        self._state.emit(Resubscribe(reason))

    def _cut_off(self, reason: str, now: float) -> None:
        state = self._state
        state.connection = MasterConnection(now if state.connected else state.connection.since, reason)
        state.connected = state.capacity.known = False
        state.timers.cancel(SchedulerTimer.SETTLED)
        self._heartbeats.disconnected()
        self._forget_offers(now)

    def _forget_offers(self, now: float) -> None:
        state = self._state
        state.offers.void_all(now)
        for record in state.queue:
            if record.state is State.RESERVED:
                state.refuse_start(record, now, "the connection to the master was lost")
        self._matching.end_aside(now)

    def subscribe_refused(self, event: SubscribeRefused, now: float) -> None:
        text = f"the master refuses to subscribe us ({event.status}): {event.reason}"
        if event.status == 401:
            text += " (give the principal and the secret that the master expects)"
        self._state.connection.reason = text
        self._state.emit(Note("error", text) if self._ever_subscribed else Stop(text))

    def subscribe_unanswered(self, event: SubscribeUnanswered, now: float) -> None:
        """At the start only unexpected answers are counted on to end: a master that is away is waited for."""
        state = self._state
        state.connection.reason = event.reason
        if self._ever_subscribed or not event.unexpected:
            state.timers.cancel(SchedulerTimer.CONNECT_TIMEOUT)
            return
        self._unexpected = event.reason
        if state.timers.get(SchedulerTimer.CONNECT_TIMEOUT) is None:
            state.timers.set(SchedulerTimer.CONNECT_TIMEOUT, now + state.settings.connect_timeout)

    def not_a_master(self, now: float) -> None:
        waited = self._state.settings.connect_timeout
        self._state.emit(Stop(f"no Mesos master has answered for {waited:g} s: {self._unexpected}"))

    def error(self, event: v1.Error, now: float) -> None:
        state, message = self._state, event.message
        if "Framework failed over" in message and state.connected:
            state.emit(Stop("another process has subscribed with our framework id: this one stops"))
        elif "Framework has been removed" in message:
            framework_id = state.info.id.value if state.info.id is not None else "?"
            text = f"the master has removed framework {framework_id} and its tasks: start with --new-framework"
            state.emit(Stop(text))
        elif not self._ever_subscribed:
            state.emit(Stop(f"the master refuses the framework: {message}"))
        else:
            state.note("error", f"the master ends the subscription: {message}")
            self.resubscribe(message, now)
