"""Traces from files: our own columns and Azure's two formats; what is wrong is said in one line with its place."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from owmesos.errors import InvalidInput
from owmesos.sizing import trace as trace_module
from owmesos.sizing.azure import USUAL_DURATION, value_at
from owmesos.sizing.trace import Trace, TracePart
from owmesos.sizing.trace_files import read_trace

WHOLE = TracePart()
OWN = """\
at,action,duration,memory,namespace
30,resize,2.5,512,shop
10.5,login,0.1,,shop
20,login,0.2,,
"""
OF_2021 = """\
app,func,end_timestamp,duration
a1,f1,100.5,0.5
a1,f2,103,2
a2,f1,101,0
"""
MINUTES = 4
DURATIONS_HEAD = (
    "HashOwner,HashApp,HashFunction,Average,Count,Minimum,Maximum,percentile_Average_0,percentile_Average_1,"
    "percentile_Average_25,percentile_Average_50,percentile_Average_75,percentile_Average_99,percentile_Average_100"
)
MEMORY_HEAD = "HashOwner,HashApp,SampleCount,AverageAllocatedMb," + ",".join(
    f"AverageAllocatedMb_pct{each}" for each in (1, 5, 25, 50, 75, 95, 99, 100)
)


@pytest.fixture(autouse=True)
def _no_file_stays_open() -> Iterator[None]:
    """One that nobody closes warns when it is collected, and a warning is a failure."""
    yield
    gc.collect(1)  # what a test has just made is young; all of it takes half a second


def written(folder: Path, text: str, name: str = "trace.csv") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def rows(trace: Trace) -> list[tuple[float, str, str, int, float]]:
    """Each invocation: when, namespace, action, memory, duration."""
    found = []
    for each in trace.invocations:
        of = trace.functions[each.function]
        found.append((each.at, of.namespace, of.action.name, of.action.shape.memory, each.duration))
    return found


class TestOwnColumns:
    def test_lines_in_any_order_become_invocations_from_the_first_on(self, tmp_path: Path) -> None:
        trace = read_trace(written(tmp_path, OWN), WHOLE)
        assert rows(trace) == [
            (0.0, "shop", "login", 256, 0.1),
            (9.5, "_", "login", 256, 0.2),
            (19.5, "shop", "resize", 512, 2.5),
        ]
        assert [each.number for each in trace.invocations] == [0, 1, 2]
        assert trace.seconds == 20.5

    def test_a_part_of_the_time_counts_from_the_first(self, tmp_path: Path) -> None:
        trace = read_trace(written(tmp_path, OWN), TracePart(skip=5.0, seconds=10.0))
        assert [(each[0], each[2]) for each in rows(trace)] == [(4.5, "login")]
        assert trace.seconds == 10.0

    def test_a_share_of_the_actions_is_taken_whole_and_the_same_each_time(self, tmp_path: Path) -> None:
        lines = "".join(f"{at},action{number},1\n" for number in range(400) for at in (1, 2))
        file = written(tmp_path, f"at,action,duration\n{lines}")
        names = [each[2] for each in rows(read_trace(file, TracePart(share=0.25)))]
        assert 60 < len(set(names)) < 140
        assert len(names) == 2 * len(set(names))
        assert names == [each[2] for each in rows(read_trace(file, TracePart(share=0.25)))]

    def test_a_spreadsheets_mark_quotes_and_line_ends_are_read(self, tmp_path: Path) -> None:
        file = tmp_path / "trace.csv"
        file.write_bytes(b'\xef\xbb\xbfaction,at,duration\r\n"a, b",1,2\r\n\r\n')
        assert rows(read_trace(file, WHOLE)) == [(0.0, "_", "a, b", 256, 2.0)]

    def test_the_time_out_of_an_action_is_at_least_its_longest_run(self, tmp_path: Path) -> None:
        file = written(tmp_path, "at,action,duration\n1,long,99.5\n1,short,1\n")
        timeouts = {each.action.name: each.action.timeout for each in read_trace(file, WHOLE).functions}
        assert timeouts == {"long": 100.0, "short": 60.0}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("", 1, "the first line must have the names of the columns"),
        ("at,action\n1,a\n", 1, "the column duration is missing: the columns are at, action, duration, [namespace]"),
        ("at,action,duration,colour\n", 1, "unknown column 'colour'"),
        ("at,at,action,duration\n", 1, "the column 'at' is there twice"),
        ("at,action,duration\n1,a,1\n2,b,-3\n", 3, "duration is '-3': write a number of seconds from 0 to 86,400"),
        ("at,action,duration\n1,a,nan\n", 2, "duration is 'nan'"),
        ("at,action,duration\n\n1,a,x\n", 3, "duration is 'x'"),
        ("at,action,duration\n1700000000000,a,1\n", 2, "at is '1700000000000': write a number of seconds from 0 to"),
        ("at,action,duration\n1,a\n", 2, "2 cells, but the header has 3"),
        ("at,action,duration\n1,,1\n", 2, "action is ''"),
        ("at,action,duration,memory\n1,a,1,0\n", 2, "memory is '0': write a number of MB from 1 to"),
        ('at,action,duration\n1,"a"b,1\n', 2, "it is not valid CSV"),
        ("at,action,duration\n1," + 300_000 * "a" + ",1\n", 2, "it is longer than 200,000 bytes"),
        ("app,func,end_timestamp\n", 1, "the column duration is missing: the columns are app, func, end_timestamp"),
        ("app,func,end_timestamp,duration\na,b,5,-1\n", 2, "duration is '-1'"),
    ],
)
def test_a_line_that_is_not_valid_is_named(tmp_path: Path, text: str, line: int, says: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidInput) as error:
        read_trace(file, WHOLE)
    assert str(error.value).startswith(f"{file}:{line}: {says}")


@pytest.mark.parametrize(
    ("text", "part", "says"),
    [
        ("at,action,duration\n", WHOLE, "no activation is in it"),
        (OWN, TracePart(skip=100), "no activation is in it from 100 s on"),
        ("at,action,duration\n0,a,1\n99999999,a,1\n", WHOLE, "activations over 1,157 days, at most 31 can be run"),
    ],
)
def test_a_trace_that_cannot_be_run_says_why(tmp_path: Path, text: str, part: TracePart, says: str) -> None:
    file = written(tmp_path, text)
    with pytest.raises(InvalidInput, match=says) as error:
        read_trace(file, part)
    assert str(error.value).startswith(f"{file}: ")


def test_what_is_not_a_readable_file_is_said(tmp_path: Path) -> None:
    for path, says in ((tmp_path / "none", "No such file"), (tmp_path, "is not a regular file")):
        with pytest.raises(InvalidInput, match=says):
            read_trace(path, WHOLE)
    (tmp_path / "bytes").write_bytes(b"at,action,duration\n1,\xff,1\n")
    with pytest.raises(InvalidInput, match="bytes:2: it is not valid UTF-8"):
        read_trace(tmp_path / "bytes", WHOLE)


def test_too_many_activations_end_the_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace_module, "MOST", 3)
    file = written(tmp_path, "at,action,duration\n" + 5 * "1,a,1\n")
    with pytest.raises(InvalidInput, match="more than 3 activations: take less time with --for, fewer"):
        read_trace(file, WHOLE)


def test_memory_is_bounded_by_what_is_taken_of_a_large_file(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    with file.open("w", encoding="ascii") as opened:
        opened.write("at,action,duration\n")
        opened.writelines(f"{number},action{number % 1000},0.1\n" for number in range(50_000))
    tracemalloc.start()
    trace = read_trace(file, TracePart(share=0.01))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0 < len(trace.invocations) < 2_000
    assert peak < 1_000_000 < file.stat().st_size + 300_000


class TestAzure2021:
    def test_an_invocation_begins_its_duration_before_its_end(self, tmp_path: Path) -> None:
        trace = read_trace(written(tmp_path, OF_2021), WHOLE, memory=128)
        assert rows(trace) == [
            (0.0, "a1", "a1/f1", 128, 0.5),
            (1.0, "a1", "a1/f2", 128, 2.0),
            (1.0, "a2", "a2/f1", 128, 0.0),
        ]


class TestAzure2019:
    DURATIONS = (
        "o,a,f,-41692,9,0,9000,1000,1000,2000,3000,4000,5000,6000\no,a,f,1,1,1,1,1,1,1,1,1,1,1\n"  # twice: known
    )
    MEMORY = "o,a,5,200,1,1,1,1,1,1,1,1\n"

    def day(self, folder: Path, counts: str, *, durations: str | None = None, memory: str | None = MEMORY) -> Path:
        durations = self.DURATIONS if durations is None else durations
        written(folder, f"{DURATIONS_HEAD}\n{durations}", "function_durations_percentiles.anon.d01.csv")
        if memory is not None:
            written(folder, f"{MEMORY_HEAD}\n{memory}", "app_memory_percentiles.anon.d01.csv")
        head = f"HashOwner,HashApp,HashFunction,Trigger,{','.join(str(1 + n) for n in range(MINUTES))}"
        return written(folder, f"{head}\n{counts}", "invocations_per_function_md.anon.d01.csv")

    def test_counts_become_invocations_within_their_minutes(self, tmp_path: Path) -> None:
        trace = read_trace(self.day(tmp_path, "o,a,f,http,3,0,2,0\n"), WHOLE)
        minutes = [int(each.at // 60) for each in trace.invocations]
        assert minutes == [0, 0, 0, 2, 2]
        assert all(1.0 <= each.duration <= 6.0 for each in trace.invocations)
        assert {each.action.shape.memory for each in trace.functions} == {256}  # 200 MB, rounded up
        assert trace.notes == ()

    def test_are_the_same_for_the_same_seed_only(self, tmp_path: Path) -> None:
        file = self.day(tmp_path, "o,a,f,http,3,0,2,0\n")
        first, again, other = (rows(read_trace(file, WHOLE, seed=seed)) for seed in (1, 1, 2))
        assert first == again != other

    def test_a_part_is_cut_out_of_the_day(self, tmp_path: Path) -> None:
        trace = read_trace(self.day(tmp_path, "o,a,f,http,9,90,90,9\n"), TracePart(skip=90.0, seconds=60.0))
        assert 50 < len(trace.invocations) < 130
        assert all(0 <= each.at < 60 for each in trace.invocations)

    def test_what_the_published_files_lack_is_assumed_and_said(self, tmp_path: Path) -> None:
        trace = read_trace(self.day(tmp_path, "o,b,g,timer,1,0,0,0\n", memory=None), WHOLE, memory=512)
        assert rows(trace)[0][1:] == ("b", "b/g", 512, USUAL_DURATION)
        assert trace.notes == (
            "1 functions have no durations: they run for 0.684 s.",
            "1 applications have no memory: their functions have 512 MB.",
        )

    @pytest.mark.parametrize(
        ("counts", "durations", "says"),
        [
            ("o,a,f,http,1,x,0,0\n", None, r"invocations_\S+csv:2: the count of minute 2 is 'x'"),
            ("o,a,f,http,1,-1,0,0\n", None, r":2: the count of minute 2 is '-1'"),
            ("o,a,f,http,1\n", None, ":2: 5 cells, but the header has 8"),
            ("o,a,f,http,1,0,0,0\n", "o,a\n", r"function_durations\S+csv:2: 2 cells, but the header has 14"),
            ("o,a,f,http,0,0,0,0\n", None, "no activation is in it"),
        ],
    )
    def test_what_is_wrong_is_named_with_its_file(
        self, tmp_path: Path, counts: str, durations: str | None, says: str
    ) -> None:
        with pytest.raises(InvalidInput, match=says):
            read_trace(self.day(tmp_path, counts, durations=durations), WHOLE)

    def test_the_file_of_durations_must_be_beside_it(self, tmp_path: Path) -> None:
        file = self.day(tmp_path, "o,a,f,http,1,0,0,0\n")
        (tmp_path / "function_durations_percentiles.anon.d01.csv").unlink()
        with pytest.raises(InvalidInput, match=r"function_durations_percentiles.anon.d01.csv does not exist"):
            read_trace(file, WHOLE)

    def test_durations_are_drawn_straight_between_the_percentiles(self) -> None:
        percentiles = (1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
        values = [value_at(percentiles, n / 1000) for n in range(1001)]
        assert (values[0], values[500], values[-1]) == (1.0, 3.0, 6.0)
        assert values[625] == pytest.approx(3.5)
        assert all(before <= after for before, after in pairwise(values))
