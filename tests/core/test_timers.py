from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from owmesos.core.timers import Timers


class TestTimers:
    def test_keys_come_out_in_the_order_of_their_times(self) -> None:
        timers = Timers()
        timers.set("late", 3.0)
        timers.set("early", 1.0)
        timers.set("later", 9.0)
        assert timers.next() == 1.0
        assert list(timers.due(3.0)) == ["early", "late"]
        assert timers.next() == 9.0

    def test_setting_a_key_again_moves_it(self) -> None:
        timers = Timers()
        timers.set("key", 1.0)
        timers.set("key", 5.0)
        assert list(timers.due(4.0)) == []
        assert list(timers.due(5.0)) == ["key"]
        assert timers.next() is None

    def test_an_earlier_time_stays_where_the_earliest_is_wanted(self) -> None:
        timers = Timers()
        timers.set_earliest("key", 5.0)
        timers.set_earliest("key", 9.0)
        assert timers.get("key") == 5.0
        timers.set_earliest("key", 2.0)
        assert timers.get("key") == 2.0

    def test_a_cancelled_key_never_comes(self) -> None:
        timers = Timers()
        timers.set("key", 1.0)
        timers.cancel("key")
        timers.cancel("no such key")
        assert timers.next() is None
        assert list(timers.due(9.0)) == []

    def test_a_key_that_is_set_while_others_come_comes_too_if_it_is_due(self) -> None:
        timers = Timers()
        timers.set("first", 1.0)
        came = []
        for key in timers.due(2.0):
            came.append(key)
            if key == "first":
                timers.set("second", 2.0)
                timers.set("third", 2.5)
        assert came == ["first", "second"]
        assert timers.next() == 2.5

    @given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50), st.booleans())))
    def test_whatever_is_moved_or_cancelled_each_key_comes_once_at_its_last_time(
        self, changes: list[tuple[int, int, bool]]
    ) -> None:
        timers, last = Timers(), dict[int, float]()
        for key, when, cancel in changes * 5:
            if cancel:
                timers.cancel(key)
                last.pop(key, None)
            else:
                timers.set(key, float(when))
                last[key] = float(when)
        assert timers.next() == min(last.values(), default=None)
        came = list(timers.due(50.0))
        assert sorted(came) == sorted(last)
        assert [last[key] for key in came] == sorted(last.values())
