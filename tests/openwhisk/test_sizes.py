"""Sizes as OpenWhisk writes them."""

from __future__ import annotations

import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.sizes import MAX_USER_MEMORY, megabytes, parse_config_size, parse_megabytes, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("256 MB", 256 * 2**20),
        ("256MB", 256 * 2**20),
        ("256 m", 256 * 2**20),
        ("1 g", 2**30),
        ("1 GB", 2**30),
        ("3 Kb", 3 * 2**10),
        ("3K", 3 * 2**10),
        (" 12 B ", 12),
        ("0 B", 0),
    ],
)
def test_a_size_is_read_in_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "256", "1.5 GB", "-1 MB", "1 TB", "  1 MB", "1  MB", "1 MBs", "٣ MB", "9" * 5000 + " MB"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        parse_size(text)


def test_what_is_over_a_megabyte_is_cut_off() -> None:
    assert parse_megabytes("1023 KB") == 0
    assert parse_megabytes("2 GB") == 2048


def test_an_invoker_claims_no_more_than_a_controller_can_count() -> None:
    assert megabytes(1024) == "1024 MB"
    assert megabytes(10**12) == f"{MAX_USER_MEMORY} MB" == "2147483647 MB"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("5242880", 5242880),
        (" 1 m ", 2**20),
        ("1.5 MiB", 1572864),
        ("5 MB", 5_000_000),
        ("10 kB", 10_000),
        ("10K", 10240),
        ("1g", 2**30),
        ("2 kibibytes", 2048),
        ("7 bytes", 7),
    ],
)
def test_sizes_of_the_configuration_are_hocons(text: str, size: int) -> None:
    assert parse_config_size(text) == size


@pytest.mark.parametrize("text", ["", "m", "-1", "1 KB", "1 fortnight", "1e3", "1,5 m"])
def test_what_hocon_has_no_size_for_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="is not a size"):
        parse_config_size(text)
