"""What is stored as lines of JSON: it comes back as it was, and nothing else is taken for it."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.errors import InvalidInput
from owmesos.storage import (
    Answer,
    ForgetAnswer,
    ForgetFramework,
    ForgetLaunch,
    SaveFramework,
    SaveLaunch,
    Write,
)
from owmesos.storage.lines import end, export_of, head, line, write_of
from tests.storage.records import a_record, save

texts = st.text(st.characters(exclude_categories=["Cs"]))
records = st.one_of(st.binary(), st.just(a_record().stored_form()), st.sampled_from([b"{\n}", b"{} {}", b"\xff", b"1"]))
kept = st.one_of(
    st.builds(SaveFramework, texts),
    st.builds(SaveLaunch, texts, records),
    st.builds(Answer, texts, st.binary(), st.floats(0, 1e12), st.binary()),
)
writes = st.one_of(kept, st.builds(ForgetLaunch, texts), st.builds(ForgetAnswer, texts), st.just(ForgetFramework()))


@given(writes)
def test_a_write_comes_back_as_it_was(write: Write) -> None:
    written = line(write)
    assert b"\n" not in written
    assert write_of(written) == write


@given(st.lists(kept), st.one_of(st.none(), st.floats(0, 1e12)))
def test_an_export_comes_back_as_it_was(content: list[Write], sent_until: float | None) -> None:
    data = b"\n".join([head("a folder", sent_until), *map(line, content), end(len(content)), b""])
    first, found = export_of(data)
    assert (first.source, first.sent_until, found) == ("a folder", sent_until, content)


@given(st.binary())
def test_any_other_bytes_are_rejected(data: bytes) -> None:
    for read in (write_of, export_of):
        with pytest.raises(InvalidInput):
            read(data)


WHOLE = [head("here", None), line(SaveFramework("f")), line(save(a_record())), end(2)]


@pytest.mark.parametrize("number", range(4))
def test_an_export_that_lacks_a_line(number: int) -> None:
    with pytest.raises(InvalidInput, match=r"cut off|not an export|not that of an export"):
        export_of(b"\n".join(WHOLE[:number] + WHOLE[number + 1 :]))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (WHOLE[0].replace(b'"format":1', b'"format":99'), r"by a later owmesos \(format 99, not 1\)"),
        (b"\n".join([WHOLE[0], line(ForgetFramework()), end(1)]), "line 2 is not that of an export: unexpected forget"),
        (b"\n".join([WHOLE[0], b"{", end(1)]), "line 2 is not that of an export"),
        (b"\n".join([WHOLE[0], b'{"type":"launch","launch_id":"a"}', end(1)]), "either record or base64"),
        (b"", "not an export"),
    ],
)
def test_what_is_not_an_export(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidInput, match=reason):
        export_of(data)


def test_a_record_can_be_read_in_its_line() -> None:
    assert msgspec.json.decode(line(save(a_record())))["record"]["agent_id"] == "S1"
