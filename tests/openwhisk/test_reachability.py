"""One line an outage, whatever number of users a server has."""

from __future__ import annotations

import logging
import threading

import pytest

from owmesos.openwhisk.reachability import Reachability


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kafka(clock: Clock, caplog: pytest.LogCaptureFixture) -> Reachability:
    caplog.set_level(logging.INFO, "owmesos.reachability")
    return Reachability("Kafka", "broker:9092", clock)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_an_outage_is_one_line_and_its_end_another(
    kafka: Reachability, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    assert kafka.state == "unknown"
    kafka.works("pings")
    assert kafka.state == "up"
    clock.now += 10
    kafka.failed("pings", "pings cannot be sent", since=clock.now - 4)
    for _ in range(3):
        clock.now += 1
        kafka.failed("pings", "pings cannot be sent: late")
        kafka.failed("answers", "acknowledgements cannot be sent")
    kafka.works("answers")
    assert kafka.down
    clock.now += 3
    kafka.works("pings")
    kafka.works("pings")
    assert lines(caplog) == [
        "Kafka at broker:9092 has been down since 2001-09-09T01:46:46Z, retrying: pings cannot be sent",
        "Kafka at broker:9092 is back, after 10 s",
    ]
    assert kafka.state == "up"


def test_what_will_not_pass_is_said_once_also_within_an_outage(
    kafka: Reachability, caplog: pytest.LogCaptureFixture
) -> None:
    kafka.failed("pings", "pings cannot be sent")
    for _ in range(3):
        kafka.failed("activations", "the codec lz4 is missing", advice="install it")
    said = lines(caplog)
    assert [line.rpartition(": ")[2] for line in said] == ["pings cannot be sent", "install it"]
    assert kafka.lasting("activations")
    assert not kafka.lasting("pings")
    document = kafka.document()
    assert (document["reason"], document["advice"]) == ("the codec lz4 is missing", "install it")
    kafka.works("activations")
    kafka.works("pings")
    kafka.failed("activations", "the codec lz4 is missing", advice="install it")
    assert len(lines(caplog)) == 4, "another outage is said again"


def test_what_it_shows(kafka: Reachability, clock: Clock) -> None:
    unknown = {"state": "unknown", "address": "broker:9092", "since": None, "reason": None, "advice": None}
    assert kafka.document() == unknown
    kafka.failed("pings", "refused")
    since = "2001-09-09T01:46:40Z"
    assert kafka.document() == {**unknown, "state": "down", "since": since, "reason": "refused"}
    clock.now += 60
    kafka.works("pings")
    assert kafka.document() == {**unknown, "state": "up", "since": "2001-09-09T01:47:40Z"}


def test_who_listens_hears_of_changes_only(kafka: Reachability) -> None:
    heard: list[bool] = []
    kafka.changed.append(lambda: heard.append(kafka.down))
    kafka.works("pings")
    kafka.failed("pings", "refused")
    kafka.failed("pings", "refused")
    kafka.works("pings")
    kafka.works("pings")
    assert heard == [True, False]


def test_who_listens_hears_of_each_user(kafka: Reachability) -> None:
    """Also of one whose trouble is not the one that is shown."""
    heard: list[tuple[bool, bool]] = []
    kafka.changed.append(lambda: heard.append((kafka.fails("pings"), kafka.lasting("activations"))))
    kafka.failed("pings", "refused", since=1.0, advice="correct the login")
    kafka.failed("activations", "refused", since=2.0, advice="correct the login")
    kafka.works("activations")
    kafka.works("pings")
    assert heard == [(True, False), (True, True), (True, False), (False, False)]


def test_of_two_reports_at_once_the_later_is_heard_last(kafka: Reachability) -> None:
    heard: list[bool] = []
    begun, go_on = threading.Event(), threading.Event()

    def listener() -> None:
        fails = kafka.fails("pings")
        if fails:
            begun.set()
            assert go_on.wait(30)
        heard.append(fails)

    kafka.changed.append(listener)
    fails = threading.Thread(target=kafka.failed, args=("pings", "refused"))
    fails.start()
    assert begun.wait(30)
    works = threading.Thread(target=kafka.works, args=("pings",))
    works.start()
    works.join(0.3)  # it waits for the other, or would end now
    go_on.set()
    fails.join()
    works.join()
    assert heard == [True, False]


def test_it_counts_outages_and_not_their_reports(kafka: Reachability) -> None:
    for _ in range(2):
        kafka.failed("pings", "late")
        kafka.failed("answers", "late")
        kafka.works("pings")
        kafka.works("answers")
    assert kafka.outages == 2
