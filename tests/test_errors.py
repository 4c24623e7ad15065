"""An error of the system says why, whatever it has of number and words."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest

import owmesos
from owmesos.errors import InvalidInput, os_errors_as_invalid_input, os_reason

PACKAGE = Path(owmesos.__file__).parent
ODD = [
    (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/there"), "No such file or directory"),
    (OSError("not a\ncertificate"), "not a certificate"),
    (OSError(errno.EIO, ""), "[Errno 5]"),
    (TimeoutError(), "TimeoutError"),
]


@pytest.mark.parametrize(("error", "reason"), ODD)
def test_the_reason_of_an_error_of_the_system(error: OSError, reason: str) -> None:
    assert os_reason(error) == reason
    with pytest.raises(InvalidInput, match=re.escape(f"it is: {reason}")), os_errors_as_invalid_input("it is"):
        raise error


def test_no_text_is_made_of_what_such_an_error_may_not_have() -> None:
    bare = re.compile(r"{\w+\.strerror}|str\(\w+\.strerror\)|strerror\(\w+\.errno or 0\)")
    assert [file.name for file in PACKAGE.rglob("*.py") if bare.search(file.read_text(encoding="utf-8"))] == []
