"""What every process's part in an election has, whatever holds the election: a thread, and what the decisions ask of
this process (`Renew`, `Lead`, `Follow`, `Depose`)."""

from __future__ import annotations

import logging
import threading

from owmesos.storage import election
from owmesos.storage.election import CandidateListener, Leader
from owmesos.system.lease import Lease

_log = logging.getLogger("owmesos.election")


class ElectionThread:
    """The one who inherits says in `_take_part` what the thread does. `lease` is renewed while this process leads."""

    def __init__(self, lease: Lease, listener: CandidateListener) -> None:
        self._lease = lease
        self._listener = listener
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="owmesos-election", daemon=True)

    def _take_part(self) -> None:
        """Until `_ended`."""
        raise NotImplementedError

    def _named(self, leader: Leader | None) -> Leader | None:
        """As people are told of it."""
        return leader

    def _run(self) -> None:
        try:
            self._take_part()
        except Exception as error:  # noqa: BLE001  (an internal error: a leader that nobody renews would wait for ever)
            _log.exception("the election broke")
            self._end(f"internal error in the election: {error}")

    def _tell(self, effect: election.Renew | election.Lead | election.Follow | election.Depose) -> None:
        if isinstance(effect, election.Renew):
            self._lease.renew(effect.until)
        elif isinstance(effect, election.Lead):
            self._listener.lead()
        elif isinstance(effect, election.Follow):
            self._lease.taken_over = True  # once this one leads
            self._listener.follow(self._named(effect.leader))
        else:
            self._end(effect.reason)

    def _end(self, reason: str) -> None:
        self._lease.end()
        if not self._ended:
            self._ended = True
            self._listener.end(reason)

    def _join(self, timeout: float) -> None:
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(timeout)
