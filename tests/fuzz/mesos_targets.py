"""What comes from Apache Mesos and ZooKeeper, and what is stored of launches."""

from __future__ import annotations

import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec

from owmesos.cli.text import log_named
from owmesos.core.constraints import Constraint
from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.mesos import listings
from owmesos.mesos.messages import (
    EVENTS,
    Event,
    MalformedEvent,
    Subscribed,
    TaskStatus,
    UnknownEvent,
    decode_event,
    operator,
)
from owmesos.mesos.messages.frameworks import FrameworkInfo
from owmesos.mesos.messages.values import ID, MasterInfo
from owmesos.mesos.scheduler.events import Tick
from owmesos.mesos.scheduler.launch import Launch
from owmesos.mesos.scheduler.scheduler import Scheduler
from owmesos.mesos.scheduler.settings import Settings
from owmesos.mesos.scheduler.status_words import end_message, is_not_run, story_text
from owmesos.mesos.wire.address import ServerAddress, parse_master, parse_zookeeper, redirect_target
from owmesos.mesos.wire.agent_files import _TAIL
from owmesos.mesos.wire.event_reader import EventReader
from owmesos.mesos.wire.http_errors import READ_LIMIT, reason_in
from owmesos.mesos.wire.operator_client import answer_in, free
from owmesos.mesos.wire.recordio import RecordDecoder
from owmesos.mesos.wire.zookeeper import _NoLeader, _Watch
from owmesos.openwhisk.container.protocol import start_error
from owmesos.service.admin_bodies import decoded
from owmesos.service.failure_reason import last_line
from owmesos.service.idempotency import key_of
from owmesos.service.kill import Choice
from owmesos.service.launch_routes import WantedLaunches
from owmesos.storage import lines
from owmesos.storage.owned_nodes import Owner
from owmesos.storage.records import read
from owmesos.storage.store import Answer, SaveFramework, SaveLaunch
from tests.fuzz.target import sample, target
from tests.mesos.scheduler.test_inputs import STATUS, WINDOW, Desk, listed, offered, plain
from tests.model.scene import NO_BUFFER
from tests.storage.records import a_record, save

_MASTER = ServerAddress("http", "master", 5050)
_EVENTS: list[Any] = [
    {"type": "OFFERS", "offers": {"offers": [plain(1, unavailability=WINDOW), plain(2)]}},
    {"type": "UPDATE", "update": {"status": STATUS}},
    *(
        {"type": kind.wire_type, **({} if kind.body is None else {kind.body: sample(kind)})}
        for kind in EVENTS.values()
        if kind.wire_type not in ("OFFERS", "UPDATE")
    ),
]
_STATUS = msgspec.convert(STATUS | {"state": "TASK_FAILED"}, TaskStatus)
_OFFERED = (offered(plain(1)), offered(plain(2, agent=1)), offered(plain(3)))


def _record(event: Any) -> bytes:
    data = msgspec.json.encode(event)
    return b"%d\n%s" % (len(data), data)


@target("recordio", b"".join(map(_record, _EVENTS)), *map(_record, _EVENTS), b"2\n{}2\n{}", b"0\n0\n1\n1")
def recordio(data: bytes) -> None:
    """However it is cut, it is the same records, and the same error after them."""
    step = 1 + (len(data) * 7) % 50
    reader = EventReader(_MASTER)
    found: list[list[bytes]] = []
    errors: list[str] = []
    for size in (step, len(data) or 1):
        decoder, records = RecordDecoder(limit=20_000), list[bytes]()
        try:
            for start in range(0, len(data), size):
                for record in decoder.feed(data[start : start + size]):
                    records.append(bytes(record))
        except Exception as error:  # noqa: BLE001  (compared, and raised below)
            errors.append(type(error).__name__)
            last = error
        found.append(records)
    assert found[0] == found[1]
    assert len(set(errors)) <= 1
    for record in found[0]:
        reader.read(record)
    if errors:
        raise last


@target("mesos-events", *_EVENTS)
def mesos_events(data: bytes) -> None:
    """A scheduler with a launch that runs and one that waits goes on after any event."""
    event = decode_event(data, lambda reason: None)
    if isinstance(event, UnknownEvent):
        return
    EventReader(_MASTER).read(data)
    desk = Desk()
    desk.submit("L1")
    desk.submit("L2", constraints=["rack LIKE r.*"], ports=1)
    desk.take(_OFFERED[0])
    with suppress(MalformedEvent):
        desk.handle(event)
    desk.take(Subscribed(ID("F")))
    desk.take(_OFFERED[2])
    desk.handle(Tick())


_ANSWERS: dict[str, type[msgspec.Struct]] = {
    "GET_AGENTS": operator.GetAgents,
    "GET_TASKS": operator.GetTasks,
    "GET_FRAMEWORKS": operator.GetFrameworks,
    "GET_ROLES": operator.GetRoles,
    "GET_METRICS": operator.GetMetrics,
    "GET_VERSION": operator.GetVersion,
    "GET_HEALTH": operator.GetHealth,
    "GET_FLAGS": operator.GetFlags,
    "GET_MASTER": operator.GetMaster,
}
_AMOUNTS = plain(1)["resources"]
_AGENT = sample(operator.ListedAgent) | {
    "agent_info": {
        "hostname": "h1",
        "id": {"value": "S1"},
        "resources": _AMOUNTS,
        "attributes": plain(1)["attributes"],
    },
    "total_resources": _AMOUNTS,
    "allocated_resources": _AMOUNTS[:2],
    "offered_resources": _AMOUNTS[2:],
}


@target(
    "operator-answers",
    {"type": "GET_AGENTS", "get_agents": {"agents": [_AGENT]}},
    *({"type": name, name.lower(): sample(kind, 9)} for name, kind in _ANSWERS.items()),
    expected=(*NOT_READABLE, KeyError, InvalidInput),
)
def operator_answers(data: bytes) -> None:
    for name, kind in _ANSWERS.items():
        if b"get_" + name[4:].lower().encode() not in data:
            continue
        answer = answer_in(data, name, kind, lambda reason: None)
        if isinstance(answer, operator.GetAgents):
            for agent in answer.agents:
                free(agent)
                free(agent, ["web"])


_SAID = (
    "Failed to run '/usr/bin/docker -H unix:///var/run/docker.sock pull joe/nosuch:1': exited 1",
    "docker: Error response from daemon: image joe/nosuch:1 not found.",
    "Command terminated with signal Segmentation fault (core dumped)",
    "I0101 12:00:00.000000 7 exec.cpp:1] up\ndocker: Error: port is in use\nSee 'docker run --help'.",
    "<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head></html>",
)


@target("cluster-texts", *_SAID)
def cluster_texts(data: bytes) -> None:
    """What masters, agents, executors and Docker say of a failure is told on, however long it is.

    Of a body and of a file no more is read than owmesos reads of them.
    """
    text = data.decode(errors="replace")
    for content_type in ("text/html", "text/plain"):
        reason_in(data[:READ_LIMIT], content_type)
    for image, at_fault in ((None, False), ("joe/own:1", False), ("joe/own:1", True)):
        start_error(image, text, text, at_fault=at_fault)
    status = msgspec.structs.replace(_STATUS, message=text)
    story_text(status), is_not_run(status), end_message(status, asked=False)
    last_line(data[-_TAIL:].decode(errors="replace"))
    log_named(text, "L1")


@target("zookeeper-master", sample(MasterInfo), expected=(_NoLeader,))
def zookeeper_master(data: bytes) -> None:
    for scheme in ("http", "https"):
        _Watch._address(SimpleNamespace(_masters=SimpleNamespace(scheme=scheme)), data)  # type: ignore[arg-type]


@target(
    "addresses",
    *("10.0.0.1:5050", "zk://u:p@h1:2181,h2:2181/mesos", "https://[::1]:5050", "h", "local", "http://u:p@h:80"),
    *("//h:5050/api", "rack LIKE r.*", "a UNLIKE (b|c)+", "@hostname == h1", '"a key"'),
)
def addresses(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for parse in (
        lambda: parse_master(text, credentials_allowed=True),
        lambda: parse_master(text, credentials_allowed=False, tls=True),
        lambda: parse_zookeeper(text, credentials_allowed=True),
        lambda: redirect_target(text, _MASTER),
        lambda: Constraint.parse(text).matches("host", {}),
        lambda: key_of(text),
    ):
        with suppress(InvalidInput):
            parse()


# -- what is stored


_STORED = {name: a_record(name, place).stored_form() for place, name in enumerate(("launch-1", "launch-2"))}


@target("stored-launches", *_STORED.values(), sample(Launch))
def stored_launches(data: bytes) -> None:
    """The others go on, and every listing can be made."""
    records, unreadable = read({**_STORED, "launch-1": data}.items())
    # Of two in one place of the queue the first is kept.
    assert "launch-2" in {each.id for each in records} | {each.launch_id for each in unreadable}
    info = msgspec.convert({"user": "u", "name": "t", "id": {"value": "F"}, "roles": ["web"]}, FrameworkInfo)
    scheduler = Scheduler(Settings(buffer=NO_BUFFER), info)
    now = 1_700_000_000.0
    scheduler.restore(records, now, unreadable)
    listed(scheduler, now)
    events: tuple[Event | Tick, ...] = (Subscribed(ID("F")), _OFFERED[0], Tick(), _OFFERED[1])
    for event in events:
        scheduler.handle(event, now)
        scheduler.state.validate()
        now += 700.0
    listed(scheduler, now)


_EXPORT = [
    lines.head("sqlite", 5.0),
    *map(lines.line, (SaveFramework("F"), save(a_record()), SaveLaunch("bad", b"\xff"), Answer("k", b"r", 1.0, b"b"))),
]


@target("state-export", b"\n".join([*_EXPORT, lines.end(4)]), *_EXPORT)
def state_export(data: bytes) -> None:
    head, writes = lines.export_of(data)
    again = [lines.head(head.source, head.sent_until), *map(lines.line, writes), lines.end(len(writes))]
    assert lines.export_of(b"\n".join(again))[1] == writes


@target("state-nodes", sample(Owner), {"number": 1, **sample(Answer)}, expected=NOT_READABLE)
def state_nodes(data: bytes) -> None:
    msgspec.json.decode(data, type=Owner)


# -- the admin API


_LAUNCH = {
    "command": "sleep 60",
    "name": "a",
    "cpus": 0.5,
    "mem": 64,
    "disk": 1,
    "gpus": 0,
    "ports": 2,
    "role": "web",
    "constraints": ["rack LIKE r.*"],
    "image": "a:1",
    "containerizer": "docker",
    "network": "bridge",
    "container_ports": [80],
    "env": {"A": "b"},
    "labels": {"l": "m"},
    "uris": ["http://h/f.tar.gz"],
    "user": "u",
    "kill_grace": 3,
    "deadline": 60,
    "retry": "lost",
    "docker_parameters": {"cap-drop": "ALL"},
    "force_pull": True,
}


@target("admin-launch", {"launch": _LAUNCH, "count": 2}, {"launch": {"command": "a", "arguments": ["b", "c"]}})
def admin_launch(data: bytes) -> None:
    """What is accepted runs, and what is stored of it can be read again."""
    launch = decoded(data, WantedLaunches).launch
    desk = Desk()
    desk.submit_launch("L1", launch)
    desk.take(_OFFERED[0])
    desk.handle(Tick())
    record = desk.scheduler.state.launches["L1"]
    records, unreadable = read([("L1", record.stored_form())])
    assert not unreadable, unreadable
    assert records[0].launch == launch
    json.dumps(listings.story(record), allow_nan=False)


@target("admin-kill", {"ids": ["L1", "L1.1"]}, {"name": "a", "state": "RUNNING"}, {"all": True})
def admin_kill(data: bytes) -> None:
    choice = decoded(data, Choice)
    choice.check()
    desk = Desk()
    desk.submit("L1")
    choice.among(desk.scheduler.state)
