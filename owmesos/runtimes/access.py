"""Who may use an action container, and how the container shows that it is the one.

The invoker makes a random secret for each container and keeps it. The task gets only its *verifier*, the secret's
SHA-256, in its environment. Mesos has no better place without a secrets module, and that one is not secret: an agent's
GET_EXECUTORS shows it to all authorized readers (measured on 1.11.0; the master's API does not), and `/proc` to the
user's code. The verifier lets none of them run code there.

- A request carries the secret as a bearer token; the container compares its SHA-256 with the verifier.
- Before the invoker sends it, or any code, over a connection, the listener proves that it is this container: it answers
  POST `/prove`, which needs no secret, with an HMAC of the nonce in it, keyed by the verifier. A process that took the
  port does not know that. Where agents let anybody in, it could read the verifier within the moment before the task,
  which cannot listen, has ended; that is one more reason to give agents credentials.

A secret that reaches a process in a dead container's place is worth nothing: it is that container's alone. Nothing is
encrypted: who can read the network between invoker and agent reads what is sent.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

from owmesos.runtimes.framing import NONCE_LENGTH, VERIFIER

_DIGITS = frozenset("0123456789abcdef")


def verifier_of(secret: str) -> str:
    """64 hexadecimal digits."""
    return sha256(secret.encode("latin-1")).hexdigest()


def proof_of(verifier: str, nonce: str) -> str:
    """64 hexadecimal digits."""
    return hmac.new(bytes.fromhex(verifier), nonce.encode("latin-1"), sha256).hexdigest()


class Gate:
    """The container's side. Raises ValueError for an invalid verifier."""

    def __init__(self, verifier: str) -> None:
        if len(verifier) != sha256().digest_size * 2 or not _DIGITS.issuperset(verifier):
            raise ValueError(f"{VERIFIER} must be 64 hexadecimal digits, not {len(verifier)} characters")
        self._verifier = verifier

    def admits(self, authorization: str) -> bool:
        """Whether this Authorization header has the secret."""
        scheme, _, secret = authorization.partition(" ")
        return scheme.lower() == "bearer" and hmac.compare_digest(verifier_of(secret), self._verifier)

    def prove(self, nonce: str) -> str | None:
        """The answer to a challenge; None if the challenge is not valid."""
        if len(nonce) != NONCE_LENGTH or not _DIGITS.issuperset(nonce):
            return None
        return proof_of(self._verifier, nonce)
