"""A pod's log, which has stdout and stderr in one and no offsets, read as two files that only grow."""

from __future__ import annotations

from datetime import datetime

import pytest

from owmesos.core.container_factory import StreamAway, StreamMissing, StreamRefused, StreamUnreadable
from owmesos.kubernetes.events import ApiFailure
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.openwhisk.container.log_reader import ContainerLogs
from owmesos.runtimes.framing import SENTINEL
from owmesos.service.kubernetes import pod_streams
from owmesos.service.kubernetes.pod_streams import SECOND_SENTINEL, PodStreams


class Log:
    """The kubelet's log of a pod, from which the API server cuts to the second."""

    def __init__(self) -> None:
        self.lines: list[tuple[datetime, bytes]] = []
        self.failure: ApiFailure | None = None
        self.asked: list[datetime | None] = []

    def write(self, time: str, *texts: str) -> None:
        """At `MM:SS.fraction`."""
        at = datetime.fromisoformat(f"2026-01-02T03:{time[:5]}+00:00")
        self.lines += [(at, f"2026-01-02T03:{time}Z {text}\n".encode()) for text in texts]

    async def logs(
        self, namespace: str, name: str, *, container: str | None, since: datetime | None, timestamps: bool
    ) -> bytes:
        assert timestamps
        self.asked.append(since)
        if self.failure is not None:
            raise ApiRequestFailed(self.failure)
        return b"".join(line for at, line in self.lines if since is None or at >= since)


@pytest.fixture
def log() -> Log:
    return Log()


class Ticks:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Ticks:
    return Ticks()


@pytest.fixture
def streams(log: Log, clock: Ticks) -> PodStreams:
    return PodStreams(log, "default", "c1", clock)


async def text(streams: PodStreams, stream: str = "stdout", offset: int = 0) -> str:
    return (await streams.read(stream, offset)).data.decode()


async def test_each_line_comes_once_whatever_second_it_is_of(log: Log, streams: PodStreams) -> None:
    log.write("04:05.1", "a", "b")
    assert await text(streams) == "a\nb\n"
    log.write("04:05.2", "b")
    log.write("04:06.1", "c")
    assert await text(streams, offset=4) == "b\nc\n"
    assert await text(streams, offset=8) == ""
    log.write("04:09", "d")
    assert await text(streams, offset=8) == "d\n"
    assert await text(streams) == "a\nb\nb\nc\nd\n"
    assert (await streams.read("stdout", -1)).size == 10


async def test_only_what_is_new_is_asked_for(log: Log, streams: PodStreams) -> None:
    log.write("04:05", "a")
    log.write("04:50", "b")
    await streams.read("stdout", 0)
    await streams.read("stdout", 4)
    assert [at and f"{at:%M:%S}" for at in log.asked] == [None, "04:49"]


async def test_a_line_that_is_a_little_late_is_not_lost(log: Log, streams: PodStreams) -> None:
    """stdout and stderr are written by two threads of the runtime."""
    log.write("04:06.0", "b")
    assert await text(streams) == "b\n"
    log.write("04:05.999", "a")
    assert await text(streams, offset=2) == "a\n"


async def test_a_log_that_was_rotated_goes_on(log: Log, streams: PodStreams) -> None:
    log.write("04:05.1", "a", "b")
    await streams.read("stdout", 0)
    log.lines.clear()
    log.write("04:05.2", "c")
    assert await text(streams, offset=4) == "c\n"


async def test_a_node_that_writes_its_own_zone_is_understood(log: Log, streams: PodStreams) -> None:
    log.lines.append((datetime.fromisoformat("2026-01-02T03:04:05+00:00"), b"2026-01-02T05:04:05.1+02:00 a\n"))
    assert await text(streams) == "a\n"
    assert await text(streams, offset=2) == ""


async def test_memory_is_bounded_and_what_is_old_is_asked_for_again(
    log: Log, streams: PodStreams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_streams, "KEPT", 10)
    for number in range(100):
        log.write(f"{number // 60:02}:{number % 60:02}", f"line {number}")
    size = (await streams.read("stdout", -1)).size
    await streams.read("stdout", size)
    log.asked.clear()
    assert await text(streams, offset=size - 8) == "line 99\n"
    assert log.asked != [None]
    assert (await text(streams)).startswith("line 0\nline 1\n")
    assert None in log.asked


async def test_an_activation_ends_with_the_second_sentinel_and_stderr_has_nothing_else(
    log: Log, streams: PodStreams
) -> None:
    log.write("04:05.1", "out", SENTINEL, "err")
    assert await text(streams) == "out\nerr\n"
    assert await text(streams, "stderr") == ""
    log.write("04:05.2", SENTINEL, "next")
    assert await text(streams) == f"out\nerr\n{SENTINEL}\nnext\n"
    assert await text(streams, "stderr") == f"{SENTINEL}\n"


async def test_the_log_of_each_activation_is_its_own(log: Log, streams: PodStreams) -> None:
    logs = ContainerLogs(streams)
    log.write("04:05.1", "one", SENTINEL, "one, to stderr", SENTINEL)
    log.write("04:05.2", "two", SENTINEL, SENTINEL)
    for said in (["one", "one, to stderr"], ["two"]):
        collected = await logs.collect(1000, sentinels=True)
        assert [line.split("stdout: ")[1] for line in collected.lines] == said
        assert collected.complete


async def test_a_container_whose_stderr_has_no_sentinels(log: Log, clock: Ticks, streams: PodStreams) -> None:
    log.write("04:05.1", "one", SENTINEL)
    assert await text(streams) == "one\n"
    clock.now += SECOND_SENTINEL
    assert await text(streams) == f"one\n{SENTINEL}\n"
    log.write("04:06.1", "two", SENTINEL)
    assert await text(streams) == f"one\n{SENTINEL}\ntwo\n{SENTINEL}\n"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, StreamMissing) for status in (400, 404)),
        (403, StreamRefused),
        (422, StreamUnreadable),
        *((status, StreamAway) for status in (0, 500)),
    ],
)
async def test_what_cannot_be_read_says_why(log: Log, streams: PodStreams, status: int, kind: type[Exception]) -> None:
    log.failure = ApiFailure(status, "Why", "the reason", certain=True)
    with pytest.raises(kind, match="the log of pod default/c1 cannot be read: the reason") as raised:
        await streams.read("stdout", 0)
    assert type(raised.value) is kind
