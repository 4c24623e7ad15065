"""The admin API's tokens: one for all requests, and one that only allows reading.

A request has its token in the header `Authorization: Bearer …` (RFC 6750). Tokens are read from files that the user
gives, or generated at each start, so that a token that leaked while the process was down is not valid any more.
"""

from __future__ import annotations

import hmac
import re
import secrets
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from owmesos.errors import InvalidInput, os_reason
from owmesos.system.private_files import make_private_folder, read_private, write_private

ADMIN_FILE = "admin.token"
READ_FILE = "admin-read.token"
WHAT = "token file"
_SHORTEST = 20
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")  # b64token of RFC 6750
_OF_NOBODY = "0"


class TokenRole(Enum):
    """What a request may do."""

    ADMIN = "admin"
    READ = "read"
    """GET and HEAD only."""


class Tokens(NamedTuple):
    """`read` is None if there is no token that only allows reading."""

    admin: str
    read: str | None = None

    def role(self, authorization: str) -> TokenRole | None:
        """The role of a request with this `Authorization` header, or None if its token is not valid."""
        scheme, _, given = authorization.partition(" ")
        data = given.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
        # Both are compared, in a time that does not depend on what they hold.
        is_admin = hmac.compare_digest(data, self.admin.encode())
        is_read = hmac.compare_digest(data, (self.read or _OF_NOBODY).encode()) and self.read is not None
        if is_admin:
            return TokenRole.ADMIN
        return TokenRole.READ if is_read else None

    def check(self, admin_file: Path | None, read_file: Path | None) -> None:
        """`admin_file` and `read_file` are where they are from. Raises InvalidInput."""
        if self.admin == self.read:
            raise InvalidInput(f"{admin_file} and {read_file} hold the same token: the one for reading must be another")


def read_token(file: Path) -> str:
    """Raises InvalidInput."""
    token = read_private(file, WHAT).strip()
    if len(token) < _SHORTEST or _TOKEN.match(token) is None:
        raise InvalidInput(
            f"the {WHAT} {file} must hold one token of at least {_SHORTEST} letters, digits and ._~+/-: "
            "make one with `openssl rand -hex 32`"
        )
    return token


def tokens(folder: Path, admin_file: Path | None = None, read_file: Path | None = None) -> Tokens:
    """Read the given token files; generate the others in `folder`, the framework's state. Raises InvalidInput."""
    found = Tokens(
        read_token(admin_file) if admin_file is not None else _made(folder / ADMIN_FILE),
        read_token(read_file) if read_file is not None else _made(folder / READ_FILE),
    )
    found.check(admin_file, read_file)
    return found


def _made(file: Path) -> str:
    token = secrets.token_urlsafe(32)
    try:
        make_private_folder(file.parent, (file.name,))
        write_private(file, f"{token}\n")
    except OSError as error:
        raise InvalidInput(f"the {WHAT} {file} cannot be written: {os_reason(error)}") from None
    return token
