"""From the bytes of two streams to one activation's log."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.mesos.wire.agent_files import TaskFiles
from owmesos.openwhisk.container.log_lines import LogCollection, time_limit
from owmesos.runtimes.framing import SENTINEL

T = "2026-01-02T03:04:05.000000Z"
END = f"{SENTINEL}\n".encode()


def collection(limit: int = 1000, *, sentinels: bool = True) -> LogCollection:
    return LogCollection(limit, sentinels=sentinels, is_foreign=TaskFiles.is_foreign)


def line(stream: str, text: str) -> str:
    return f"{T}    {stream}: {text}"


def test_lines_look_as_openwhisks() -> None:
    found = collection()
    found.feed("stdout", b"one\n  two \n" + END, T)
    found.feed("stderr", b"three\n" + END, T)
    assert found.lines == [line("stdout", "one"), line("stdout", "two"), line("stderr", "three")]
    assert not found.missing
    found.end(T, failed=False)
    assert found.complete


def test_a_line_may_come_in_pieces_and_end_in_a_sentinel_without_an_end_of_its_own() -> None:
    found = collection()
    for byte in b"caf\xc3\xa9\nno end" + END:
        found.feed("stdout", bytes([byte]), T)
    assert found.lines == [line("stdout", "café"), line("stdout", "no end")]
    assert list(found.missing) == ["stderr"]


def test_what_follows_the_sentinel_is_the_next_activations() -> None:
    found = collection()
    assert found.feed("stdout", b"mine\n" + END + b"yours\n", T) == b"yours\n"
    assert found.lines == [line("stdout", "mine")]


def test_what_mesos_executor_says_in_between_is_left_out() -> None:
    found = collection()
    said = b"I1124 06:08:01.123456  1234 executor.cpp:218] Received ACKNOWLEDGED event\n"
    found.feed("stderr", b"mine\n" + said + b"I am fine\n" + END, T)
    found.feed("stdout", said + END, T)
    assert found.lines == [line("stderr", "mine"), line("stderr", "I am fine"), line("stdout", said.decode().strip())]


def test_too_much_is_cut_and_told() -> None:
    found = collection(limit=10)
    found.feed("stdout", b"12345\n", T)
    found.feed("stderr", b"12345\n", T)
    assert found.lines == [
        line("stdout", "12345"),
        line("stderr", "Logs were truncated because the total bytes size exceeds the limit of 10 bytes."),
    ]
    assert not found.missing
    found.end(T, failed=False)
    assert not found.complete
    assert len(found.lines) == 2


def test_lines_without_text_are_cut_before_they_take_many_times_the_limit() -> None:
    """Each is stored with its time and its stream."""
    limit = 2**20
    found = collection(limit)
    for _ in range(10):
        found.feed("stdout", b"\n" * 50_000, T)
    found.feed("stderr", END, T)
    found.end(T, failed=False)
    assert sum(len(each) + 1 for each in found.lines) < limit + 2 * 2**20
    assert found.lines[-1].endswith(f"exceeds the limit of {limit} bytes.")
    assert not found.complete


@pytest.mark.parametrize("text", ["a" * 30, "字" * 10])
def test_text_counts_in_bytes_as_its_frame_does(text: str) -> None:
    limit = 2 * 2**20
    found = collection(limit)
    data = f"{text}\n".encode()
    for _ in range(100):
        found.feed("stdout", data * 1000, T)
    frame = len(line("stdout", ""))
    assert len(found.lines) - 1 == (limit + 2**20) // (len(data) + frame)


def test_a_line_without_end_is_cut_too() -> None:
    found = collection(limit=10)
    found.feed("stdout", b"x" * 11, T)
    assert not found.complete


def test_a_log_of_exactly_its_limit_is_whole() -> None:
    found = collection(limit=6)
    found.feed("stdout", b"12345\n" + END, T)
    found.feed("stderr", END, T)
    found.end(T, failed=False)
    assert found.complete


def test_a_missing_sentinel_is_told() -> None:
    found = collection()
    found.feed("stdout", b"one\nhalf", T)
    found.end(T, failed=False)
    missing = line("stderr", "There was an issue while collecting your logs. Data might be missing.")
    assert found.lines == [line("stdout", "one"), line("stdout", "half"), missing]
    assert not found.complete


def test_without_sentinels_it_is_what_there_is() -> None:
    found = collection(sentinels=False)
    found.feed("stdout", b"one\nhalf", T)
    found.end(T, failed=False)
    assert found.lines == [line("stdout", "one"), line("stdout", "half")]
    assert found.complete
    assert not found.takes_any


def test_the_time_to_collect_follows_the_limit_and_has_a_floor() -> None:
    assert time_limit(0) == time_limit(5 * 2**20) == 10.0
    assert time_limit(10 * 2**20) == 20.0


@given(st.lists(st.binary(max_size=8).filter(lambda b: b"\n" not in b), max_size=6), st.data())
def test_however_it_is_cut_the_log_is_the_same(lines: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(each + b"\n" for each in lines) + END + b"next\n"
    found = collection(limit=10_000)
    at, rest = 0, b""
    while found.missing != ["stderr"]:
        size = data.draw(st.integers(1, len(whole)))
        rest = found.feed("stdout", whole[at : at + size], T)
        at += size
    assert found.lines == [line("stdout", each.decode(errors="replace").strip()) for each in lines]
    assert rest + whole[at:] == b"next\n"


@given(st.integers(1, 60), st.integers(0, 200))
def test_what_exceeds_the_limit_is_dropped_up_to_the_sentinel_however_it_is_cut(step: int, more: int) -> None:
    whole = b"x" * 20 + b"\n" + b"y" * more + b"\n" + END + b"next\n"
    found = collection(limit=10)
    at, rest = 0, b""
    while found.takes("stdout"):
        rest = found.feed("stdout", whole[at : at + step], T)
        at += step
        assert not found.missing or at < 21
    assert rest + whole[at:] == b"next\n"
    assert found.takes("stderr")
    assert len(found.lines) == 1


@given(st.integers(1, 60), st.integers(0, 200))
def test_what_follows_the_sentinel_on_its_line_is_left_out_however_it_is_cut(step: int, more: int) -> None:
    whole = b"12345\n" + END.strip() + b"y" * more + b"\nnext\n"
    found = collection(limit=10)
    at, rest = 0, b""
    while found.takes("stdout"):
        assert at < len(whole)
        rest = found.feed("stdout", whole[at : at + step], T)
        at += step
    assert rest + whole[at:] == b"next\n"
    assert found.lines == [line("stdout", "12345")]
    assert found.complete


@pytest.mark.parametrize("cut", range(1, len(END)))
def test_a_log_of_exactly_its_limit_is_whole_wherever_its_sentinel_is_cut(cut: int) -> None:
    found = collection(limit=6)
    for part in (b"12345\n" + END[:cut], END[cut:]):
        found.feed("stdout", part, T)
    assert found.complete
    assert found.lines == [line("stdout", "12345")]


def test_what_only_begins_as_a_sentinel_counts() -> None:
    found = collection(limit=10)
    found.feed("stdout", b"12345\n" + END[:20], T)
    assert found.complete
    found.feed("stdout", b"!", T)
    assert not found.complete
