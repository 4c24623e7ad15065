"""The input of an action: arguments for `main`, and those that become environment variables.

Parameters that the action declares as `init` arrive in the same object and are named in `initArgs`; they are passed
in the environment at `/init`. Encrypted parameters are named in `lockedArgs` with their cipher
(ContainerProxy.scala, ParameterEncryption.scala). Usually there is neither, and the arguments are passed on as the
received bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from owmesos.errors import OwmesosError
from owmesos.openwhisk.messages import ActivationMessage
from owmesos.system.lone_surrogates import Decoder, compact, encode

Decrypt = Callable[[Any], Any]
"""A value as it was stored → the value."""

EMPTY = msgspec.Raw(b"{}")
_any: Decoder[Any] = Decoder(object)
_members = Decoder(dict[str, msgspec.Raw])


class CannotUnlock(OwmesosError):
    """An argument is encrypted with a cipher that is not configured."""


def arguments_of(message: ActivationMessage, ciphers: Mapping[str, Decrypt]) -> tuple[dict[str, str], msgspec.Raw]:
    """The environment and the arguments. Raises CannotUnlock, and what a cipher raises.

    What is not text becomes JSON in the environment; an array has nothing for it. Only encrypted values are decoded,
    because JSON may contain numbers that no float can hold.
    """
    content = message.content
    if not content or bytes(content) == b"null":
        return {}, EMPTY
    if not (message.init_args or message.locked_args) or not bytes(content).lstrip().startswith(b"{"):
        return {}, content
    values: dict[str, Any] = dict(_members.decode(content))
    for name, cipher in (message.locked_args or {}).items():
        if name not in values:
            continue
        decrypt = ciphers.get(cipher)
        if decrypt is None:
            raise CannotUnlock(f"the parameter {name!r} is encrypted with {cipher!r}: no key is configured")
        values[name] = decrypt(_any.decode(values[name]))
    env = {name: as_variable(values.pop(name)) for name in message.init_args or () if name in values}
    return env, msgspec.Raw(encode(values))


def as_variable(value: Any) -> str:
    """The value of an environment variable. A msgspec.Raw is JSON that was already checked."""
    if isinstance(value, msgspec.Raw):
        data = bytes(value)
        if not data.startswith(b'"'):
            return compact(data).decode()
        value = _any.decode(data)
    return value if isinstance(value, str) else encode(value).decode()
