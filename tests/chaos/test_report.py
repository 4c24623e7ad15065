"""The summary of a run."""

from __future__ import annotations

from collections import Counter

from chaos.report import table
from chaos.run import Result, Wanted
from chaos.verdict import Counts


def test_it_says_how_often_owmesos_was_killed_and_frozen() -> None:
    wanted = Wanted("simulator", 6, 1, 3, 2.0, 1.0, 30, standalone=False, zookeeper="127.0.0.1:2181", standby=True)
    faults = Counter(
        {
            "kill -9: owmesos": 2,
            "freeze, then kill -9: owmesos": 1,
            "freeze: owmesos": 4,
            "network cut: owmesos": 3,
            "kill -9: agent": 3,
        }
    )
    text = table(Result(wanted, 60.0, faults, 6, Counts(), Counts(), 0, Counter(), []))
    assert "\n6 kill -9; 0 requests without an answer\nof owmesos: 3 kill -9; frozen 5 times\n" in text
