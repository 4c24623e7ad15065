from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.constraints import (
    MAX_PATTERN,
    MAX_PROGRAM,
    MAX_REPEATING_PROGRAM,
    MAX_TEXT,
    NO_ATTRIBUTES,
    Constraint,
    ranges_text,
    scalar_text,
    set_text,
    shared_attributes,
)
from owmesos.errors import InvalidInput

AGENT = shared_attributes(
    [("rack", "r1"), ("cores", "2.5"), ("slots", "2"), ("prts", "[1-3]"), ("disk", "ssd"), ("disk", "hdd")]
)


class TestMatching:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("rack LIKE r[12]", True),
            ("rack LIKE r", False),  # the whole text, as RE2 does at the master
            ("rack LIKE .*1", True),
            ("rack LIKE r2|r1", True),
            ("rack UNLIKE r[12]", False),
            ("rack UNLIKE r", True),
            ("rack == r1", True),
            ("rack == r[12]", False),
            ("rack != r1", False),
            ("rack != r2", True),
            ("cores == 2.5", True),
            ("cores LIKE 2", False),
            (r"cores LIKE \d\.\d", True),
            ("slots == 2", True),
            ("slots == 2.0", False),  # the canonical text, not the number
            ("prts == [1-3]", True),
            (r"prts LIKE \[1-.*", True),
        ],
    )
    def test_the_whole_canonical_text_is_judged(self, text: str, expected: bool) -> None:
        assert Constraint.parse(text).matches("node1", AGENT) is expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("disk == hdd", True),  # the master would see `ssd` only
            ("disk == ssd", True),
            ("disk LIKE h.*", True),
            ("disk != hdd", False),
            ("disk UNLIKE h.*", False),
            ("disk != tape", True),
            ("disk UNLIKE t.*", True),
        ],
    )
    def test_any_value_of_a_repeated_attribute_counts(self, text: str, expected: bool) -> None:
        assert Constraint.parse(text).matches("node1", AGENT) is expected

    @pytest.mark.parametrize(("operator", "expected"), [("LIKE", False), ("==", False), ("UNLIKE", True), ("!=", True)])
    def test_a_missing_attribute_fails_only_what_wants_a_match(self, operator: str, expected: bool) -> None:
        constraint = Constraint.parse(f"zone {operator} .*")
        assert constraint.matches("node1", AGENT) is expected
        assert constraint.matches("node1", NO_ATTRIBUTES) is expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("@hostname == node1", True),
            ("@hostname LIKE node.", True),
            ("@hostname != node1", False),
            ("@hostname UNLIKE other.*", True),
            ("hostname == node1", False),  # an attribute of that name, which is missing
        ],
    )
    def test_hostname_is_the_host(self, text: str, expected: bool) -> None:
        assert Constraint.parse(text).matches("node1", AGENT) is expected

    @given(
        st.lists(st.sampled_from(["r1", "r2", "r10", "2", "[1-3]"]), max_size=4),
        st.sampled_from(["r1", "r.", "2"]),
    )
    def test_each_operator_is_the_contrary_of_its_twin(self, texts: list[str], value: str) -> None:
        attributes = shared_attributes(("rack", text) for text in texts)
        for positive, negative in (("LIKE", "UNLIKE"), ("==", "!=")):
            holds = Constraint.parse(f"rack {positive} {value}").matches("node1", attributes)
            assert Constraint.parse(f"rack {negative} {value}").matches("node1", attributes) is not holds
        like = Constraint.parse(f"rack LIKE {value}").matches("node1", attributes)
        assert like is any(re.fullmatch(value, text) for text in texts)


class TestParsing:
    @pytest.mark.parametrize(
        ("text", "constraint"),
        [
            ("rack LIKE r[12]", Constraint("rack", "LIKE", "r[12]")),
            ("  rack \t==  r1 ", Constraint("rack", "==", "r1")),
            ("os == Debian 12 (bookworm)", Constraint("os", "==", "Debian 12 (bookworm)")),
            ("@hostname UNLIKE node.*", Constraint("@hostname", "UNLIKE", "node.*")),
            ("price != 1 == 2", Constraint("price", "!=", "1 == 2")),
        ],
    )
    def test_attribute_operator_and_the_rest(self, text: str, constraint: Constraint) -> None:
        assert Constraint.parse(text) == constraint
        assert Constraint.parse(str(constraint)) == constraint

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "rack",
            "rack LIKE",
            "rack ==  ",
            "rack=r1",
            "rack like r1",
            "rack = r1",
            "rack CLUSTER r1",
            "rack LIKE r[1",
            "rack UNLIKE (",
            "rack LIKE *",
            "rack LIKE " + "(" * 900 + ")" * 100,
            "rack LIKE a{1001}",
            "@host == node1",
            "rack LIKE\nr(\n1",
            "x" * 5000,
            "rack " + "L" * 5000 + " r1",
            "rack == " + "x" * (MAX_TEXT + 1),
            "rack == r\0",
            "r\0ck == r1",
            "rack == \ud800",
            "rack LIKE \udfff",
            "rack LIKE (?=r)r1",
            r"rack LIKE (r)\1",
            "rack LIKE r++",
            "rack LIKE " + "((a{1,30}){1,30}){1,30}",
            "rack LIKE " + r"(\pL|\pN){200}",
        ],
    )
    def test_a_bad_one_is_refused_in_one_short_line(self, text: str) -> None:
        with pytest.raises(InvalidInput) as caught:
            Constraint.parse(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize("text", ["rack", "rack = r1", "rack LIKE r[1"])
    def test_the_error_shows_the_right_form(self, text: str) -> None:
        with pytest.raises(InvalidInput, match=re.escape("as in 'rack LIKE r[12]'")):
            Constraint.parse(text)

    def test_a_long_pattern_is_refused_and_a_long_text_is_not(self) -> None:
        assert Constraint.parse("rack LIKE " + "r" * MAX_PATTERN)
        assert Constraint.parse("rack == " + "r" * MAX_TEXT)
        with pytest.raises(InvalidInput, match="1001 characters"):
            Constraint.parse("rack LIKE " + "r" * (MAX_PATTERN + 1))

    def test_one_that_is_built_by_hand_is_judged_alike(self) -> None:
        with pytest.raises(InvalidInput, match="operator"):
            Constraint("rack", "~", "r1")  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match="pattern"):
            Constraint("rack", "LIKE", "r[")


class TestPatterns:
    """Those of RE2, as the master's own are: a hostile one costs no more than its length times the text's."""

    @pytest.mark.parametrize(
        "pattern", [".*" * 200 + "z", "(.*)*" * 20 + "z", "(a|a)*" * 15 + "z", "(a?){30}a{30}", "(x+x+)+y"]
    )
    def test_no_pattern_takes_more_than_linear_time(self, pattern: str) -> None:
        constraint = Constraint.parse(f"@hostname LIKE {pattern}")
        hosts = [f"{'a' * length}{'x' * length}" for length in range(20, 120)]
        begin = time.process_time()
        assert not any(constraint.matches(host, NO_ATTRIBUTES) for host in hosts if host != "a" * 60)
        assert time.process_time() - begin < 2.0  # Python's `re` would not be back before the sun is cold

    def test_a_list_of_alternatives_may_be_long_and_what_repeats_may_not(self) -> None:
        assert MAX_REPEATING_PROGRAM < MAX_PROGRAM
        hosts = "|".join(f"{number * 7919 % 10**9:09d}" for number in range(80))
        assert Constraint.parse(f"@hostname LIKE {hosts}").matches("000007919", NO_ATTRIBUTES)
        with pytest.raises(InvalidInput, match="too complex: RE2 makes"):
            Constraint.parse(f"@hostname LIKE ({hosts})*")

    def test_re2_writes_nothing_to_the_log(self) -> None:
        code = """
from owmesos.core.constraints import NO_ATTRIBUTES, Constraint
from owmesos.errors import InvalidInput
for pattern in ("r[", "((a{1,9}){1,9})z", "a{9}" * 100, ".*" * 200 + "z", "(a?b?c?d?){11}"):
    try:
        for length in range(500):
            Constraint.parse("@hostname LIKE " + pattern).matches("abcd" * length, NO_ATTRIBUTES)
    except InvalidInput:
        pass
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout + done.stderr == ""

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_any_text_is_a_pattern_or_refused(self, pattern: str, text: str) -> None:
        try:
            constraint = Constraint("rack", "LIKE", pattern)
        except InvalidInput:
            return
        assert constraint.matches("node1", shared_attributes([("rack", text)])) in (True, False)


class TestCanonicalTexts:
    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (2, "2"),
            (2.0, "2"),
            (2.5, "2.5"),
            (100, "100"),
            (0.1 + 0.2, "0.3"),
            (1.2345, "1.234"),
            (0.0004, "0"),
            (-0.0, "0"),
            (-1.5, "-1.5"),
            (-0.25, "-0.25"),
            (1e15, "1000000000000000"),
        ],
    )
    def test_a_scalar_in_thousandths(self, value: float, text: str) -> None:
        assert scalar_text(value) == text

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_a_scalar_that_is_no_number_is_refused(self, value: float) -> None:
        with pytest.raises(InvalidInput, match="finite"):
            scalar_text(value)

    @pytest.mark.parametrize(
        ("ranges", "text"),
        [
            ([(1, 3)], "[1-3]"),
            ([(8, 9), (1, 5)], "[1-5,8-9]"),
            ([(1, 2), (3, 4)], "[1-4]"),
            ([(1, 9), (2, 3)], "[1-9]"),
            ([], "[]"),
        ],
    )
    def test_ranges_in_order_and_joined(self, ranges: list[tuple[int, int]], text: str) -> None:
        assert ranges_text(ranges) == text

    def test_a_set_in_order(self) -> None:
        assert set_text(["b", "a", "b"]) == "{a,b}"
        assert set_text([]) == "{}"


class TestAttributes:
    def test_values_of_one_name_keep_their_order(self) -> None:
        assert AGENT["disk"] == ("ssd", "hdd")
        assert dict(AGENT)["rack"] == ("r1",)
        assert "zone" not in AGENT
        assert len(AGENT) == 5

    def test_equal_ones_are_one_object_whatever_the_order_of_names(self) -> None:
        assert shared_attributes([("a", "1"), ("b", "2")]) is shared_attributes([("b", "2"), ("a", "1")])
        assert shared_attributes([]) is NO_ATTRIBUTES
