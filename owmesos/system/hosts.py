"""Checks hosts in addresses: an IP address, or a name that can be resolved (RFC 1123, RFC 1035)."""

from __future__ import annotations

import ipaddress
import re

from owmesos.errors import InvalidInput

_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}\Z")
_LONGEST = 253


def checked_host(host: str) -> str:
    """`host` itself, an IPv6 address without its brackets. What Python cannot encode for a look-up is not one.

    Raises InvalidInput.
    """
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise InvalidInput(f"{host!r} is not an IPv6 address") from None
        return host
    name = host.removesuffix(".")
    if len(name) > _LONGEST or not all(map(_LABEL.match, name.split("."))):
        raise InvalidInput(
            f"{host[:100]!r} is not the name of a host: parts of 1 to 63 letters, digits, - and _, with dots between"
        )
    return host


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine only. No name is looked up."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
