"""What an activation brings for its action: arguments for `main`, and those that become its environment.

Parameters that the action declares as `init` arrive in the same object and are named in `initArgs`; they go into the
environment at `/init`. Parameters that are stored encrypted are named in `lockedArgs` with their cipher
(ContainerProxy.scala, ParameterEncryption.scala). Nearly always there is neither, and then the arguments pass through
as the bytes that they came as.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from owmesos.errors import OwmesosError
from owmesos.openwhisk.messages import ActivationMessage

Decrypt = Callable[[Any], Any]
"""A value as it was stored → the value."""

EMPTY = msgspec.Raw(b"{}")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class CannotUnlock(OwmesosError):
    """An argument is encrypted with a cipher that is not set up here."""


def arguments_of(message: ActivationMessage, ciphers: Mapping[str, Decrypt]) -> tuple[dict[str, str], msgspec.Raw]:
    """The environment and the arguments. Raises CannotUnlock, and what a cipher raises.

    Only what is encrypted is decoded: JSON may hold numbers that no float can.
    """
    content = message.content
    if not content or bytes(content) == b"null":
        return {}, EMPTY
    if not message.init_args and not message.locked_args:
        return {}, content
    if not bytes(content).lstrip().startswith(b"{"):
        return {}, content
    values: dict[str, Any] = dict(_members(content))
    locked = message.locked_args or {}
    for name in locked.keys() & values.keys():
        values[name] = _decode(values[name])
    env, arguments = partitioned(unlocked(values, locked, ciphers), message.init_args or ())
    return env, msgspec.Raw(_encode(arguments))


def partitioned(content: Any, init_args: Collection[str]) -> tuple[dict[str, str], Any]:
    """Environment and arguments. What is no text becomes JSON in the environment; an array has nothing for it."""
    if not isinstance(content, dict) or not init_args:
        return {}, {} if content is None else content
    env = {name: as_variable(value) for name, value in content.items() if name in init_args}
    return env, {name: value for name, value in content.items() if name not in init_args}


def unlocked(content: Any, locked: Mapping[str, str], ciphers: Mapping[str, Decrypt]) -> Any:
    """The same with its locked values decrypted. Raises CannotUnlock."""
    if not isinstance(content, dict) or not locked:
        return content
    found = dict(content)
    for name in locked.keys() & content.keys():
        decrypt = ciphers.get(locked[name])
        if decrypt is None:
            raise CannotUnlock(f"the parameter {name!r} is encrypted with {locked[name]!r}, which is not set up here")
        found[name] = decrypt(content[name])
    return found


def as_variable(value: Any) -> str:
    """As it stands in a process's environment. A msgspec.Raw is JSON that was checked already."""
    if isinstance(value, msgspec.Raw):
        data = bytes(value)
        if not data.startswith(b'"'):
            return msgspec.json.format(data, indent=-1).decode()
        value = _decode(data)
    return value if isinstance(value, str) else _encode(value).decode()
