"""The invoker on Kafka as its Controller sees it: a real broker, a database, real containers, simulated Mesos."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
import re
import threading
import zipfile
from collections.abc import AsyncIterator, Iterable
from functools import partial
from typing import Any

import aiohttp
import msgspec
import pytest

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.kafka_settings import HttpSettings
from owmesos.openwhisk.activation import NAMESPACE_BLACKLISTED
from owmesos.openwhisk.embedded_manifest import embedded_manifest
from owmesos.openwhisk.entities import ACTION_NOT_FETCHED, ACTION_REMOVED
from owmesos.openwhisk.kafka.broker import Broker, KafkaFailed, Topic
from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings
from owmesos.openwhisk.limits import PayloadLimits, ResponseLimits
from owmesos.openwhisk.manifest import Manifest, StemCell
from owmesos.openwhisk.messages import ControllerId, EntityName
from owmesos.service.errors import NotKnown
from owmesos.simulator.cluster import SimulatedCluster
from owmesos.system.lone_surrogates import encode
from tests.fakes.couch_gate import CouchGate
from tests.invoker.kafka_scene import ECHO, PATIENCE, Running, Scene, error_of, result, scene
from tests.openwhisk import samples
from tests.openwhisk.controller import Invokable
from tests.openwhisk.kafka.topics import activation, committed, create, reader, write
from tests.openwhisk.store.couch import Couch
from tests.openwhisk.supervision import Outcome, State
from tests.servers.kafka import Kafka
from tests.waiting import eventually_async

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.couchdb,
    pytest.mark.cluster,
    pytest.mark.simulator(resources="cpus:4;mem:2048;disk:1024"),
]
AT_LEAST_ONCE = FeedSettings(delivery=Delivery.AT_LEAST_ONCE, commit_every=0.1)
SLOW = "import time\ndef main(args):\n    time.sleep(args.get('s', 60))\n    return args"
TOO_LARGE = 8192  # MB; no agent has as much


@pytest.fixture
async def world(broker: Broker, couch: Couch, simulator: SimulatedCluster) -> AsyncIterator[Scene]:
    async with scene(broker, couch, simulator.master) as world:
        yield world


# -- what runs


async def test_every_kind_of_end_is_acknowledged_once_and_recorded(world: Scene) -> None:
    echo = await world.deploy()
    prints = await world.deploy("prints", "def main(args):\n    print('said')\n    return {}", logs=1)
    fails = await world.deploy("fails", "def main(args):\n    return {'error': 'no'}")
    broken = await world.deploy("broken", "def main(:")
    hangs = await world.deploy("hangs", SLOW, timeout=3000)
    shared = await world.deploy("shared", concurrency=5)
    async with world.invoker() as running:
        assert result(await world.response(echo, {"n": 1})) == {"got": {"n": 1}}
        assert result(await world.response(prints)) == {}
        assert error_of(await world.response(fails)) == "no"
        assert (await world.response(broken))["statusCode"] == 2
        assert error_of(await world.response(hangs)) == "The action exceeded its time limits of 3000 milliseconds."
        for number in range(20):
            world.invoke(shared, {"n": number}, blocking=number % 2 == 0)
        outcomes = await world.all_ended()
        records = await world.recorded()
        await eventually_async(lambda: running.active() == 0)
    assert set(outcomes.values()) == {Outcome.SUCCESS}
    world.accounts_are_right()
    assert sorted(record["response"]["statusCode"] for record in records.values()) == [0] * 22 + [1, 2, 2]
    (said,) = [record for record in records.values() if record["name"] == "prints"]
    assert [line.partition("Z")[2].strip() for line in said["logs"]] == ["stdout: said"]


async def test_what_a_message_carries_reaches_action_and_record(world: Scene) -> None:
    code = "import os\ndef main(args):\n    return {'env': os.environ.get('secret'), 'args': args}"
    action = await world.deploy("part", code)
    cause = "d3c2c0e5f2b34f2f82c0e5f2b3df2fca"
    async with world.invoker(user_events=True):
        response = await world.response(
            action, {"secret": [1], "open": "x"}, init_args=("secret",), cause=cause, trace_context={"a": "b"}
        )
        records = await world.recorded()

        def told() -> Any:
            with reader(world.broker, world.broker.events_topic().name) as events:
                events.until(lambda records: any(b'"guest/part"' in record for record in records), PATIENCE)
                return next(event for event in events.json() if event["body"]["name"] == "guest/part")

        event = await asyncio.to_thread(told)
    assert result(response) == {"env": "[1]", "args": {"open": "x"}}
    (record,) = records.values()
    assert record["cause"] == cause
    annotations = {each["key"]: each["value"] for each in record["annotations"]}
    assert annotations["causedBy"] == "sequence"
    assert (event["source"], event["body"]["causedBy"], event["body"]["conductor"]) == ("invoker0", "sequence", False)


async def test_a_message_of_another_version_runs_too(world: Scene) -> None:
    """1.0 knows neither initArgs nor lockedArgs; its revision is not there any more, and neither is the slot."""
    await world.deploy()
    async with world.invoker():
        await asyncio.to_thread(write, world.broker, world.broker.invoker_topic(0).name, [samples.ACTIVATION_1_0])
        await eventually_async(lambda: world.controller.completions[samples.ACTIVATION_ID] == 1, PATIENCE)
        await eventually_async(world.couch.records, PATIENCE)
        record = (await world.couch.records())[samples.ACTIVATION_ID]
    assert (record["subject"], record["response"]["result"]) == ("guest", {"got": {"name": "Jo"}})


async def test_an_argument_that_cannot_be_unlocked_ends_the_activation(world: Scene) -> None:
    action = await world.deploy()
    async with world.invoker():
        response = await world.response(action, {"key": "x"}, locked_args={"key": "aes-128"})
    assert response["statusCode"] != 0
    world.accounts_are_right()


async def test_the_story_of_one_that_has_ended_is_known(world: Scene) -> None:
    echo = await world.deploy()
    fails = await world.deploy("fails", "def main(args):\n    return {'error': 'no'}", logs=1)
    async with world.invoker() as running:
        await world.response(echo)
        await world.response(fails)
        succeeded, failed = (each.id for each in world.asked)
        story = await running.work.story(succeeded[:12])
        assert story is not None
        assert (story["activation_id"], story["state"]) == (succeeded, "ended")
        assert [line["state"] for line in story["story"]] == ["received", "running", "running", "ended"]
        assert story["story"][-1]["text"].startswith("success after ")
        story = await running.work.story(failed)
        assert story is not None
        assert re.fullmatch(r"failed after \d+ ms: no", story["story"][-1]["text"])
        with pytest.raises(NotKnown, match="the last 10,000 since this process began"):
            await running.work.story("f" * 32)


# -- what does not run


async def test_garbage_is_logged_once_with_its_offset_and_nothing_is_stuck(
    world: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    action = await world.deploy()
    whole = json.loads(encode(activation()))
    half = {key: value for key, value in whole.items() if key != "user"} | {"activationId": "f" * 32}
    async with world.invoker():
        topic = world.broker.invoker_topic(0).name
        bad = [b"\x00\xff garbage", b"", b"[" * 5000, json.dumps(half).encode()]
        await asyncio.to_thread(write, world.broker, topic, bad)
        assert result(await world.response(action, {"n": 1})) == {"got": {"n": 1}}
        logged = [record.getMessage() for record in caplog.records if "offset" in record.getMessage()]
        assert len(logged) == len(bad)
        # Whom it was for was still to be read: its Controller need not wait.
        await eventually_async(lambda: world.controller.completions["f" * 32] == 1, PATIENCE)
    assert world.controller.late == ["f" * 32]
    assert world.controller.all_free


async def test_what_is_malformed_is_not_committed_before_its_controller_is_answered(world: Scene) -> None:
    """Its topic is not there yet; a process that is killed meanwhile leaves the answer to the next one."""
    topic, answers = world.broker.invoker_topic(0).name, world.broker.completed_topic("late")
    malformed = msgspec.structs.replace(activation(), root_controller_index=ControllerId("late"))
    half = {key: value for key, value in json.loads(encode(malformed)).items() if key != "user"}

    async def committed_up_to(offset: int) -> bool:
        return (await asyncio.to_thread(committed, world.broker, topic) or 0) >= offset

    await asyncio.to_thread(world.broker.ensure, [world.broker.invoker_topic(0)])
    await asyncio.to_thread(write, world.broker, topic, [b"garbage", json.dumps(half).encode()])
    async with world.invoker(feed=AT_LEAST_ONCE):  # healthy: what came after the two has ended
        await eventually_async(partial(committed_up_to, 1), PATIENCE)
        assert not await committed_up_to(2)
        await asyncio.to_thread(world.broker.ensure, [answers])
        await eventually_async(partial(committed_up_to, 2), PATIENCE)
    with reader(world.broker, answers.name) as answered:
        assert [each["response"] for each in answered.wait_for(1)] == [malformed.activation_id]


async def test_actions_that_are_missing_changed_or_without_code(world: Scene) -> None:
    changed = msgspec.structs.replace(await world.deploy("changed"), revision="7-0123456789abcdef0123456789abcdef")
    nothing = await world.deploy("nothing", None)
    cobol = await world.deploy("cobol", kind="cobol:60")
    gone = Invokable(entity=EntityName("guest", "gone", "0.0.1"), revision="1-a", memory=128)
    async with world.invoker():
        response = await world.response(gone)
        assert (response["statusCode"], error_of(response)) == (1, ACTION_REMOVED)
        assert result(await world.response(changed, {"n": 1})) == {"got": {"n": 1}}
        for action in (nothing, cobol):
            assert (await world.response(action))["statusCode"] == 3
        records = await world.recorded()
    assert sorted(record["response"]["statusCode"] for record in records.values()) == [0, 1, 3, 3]
    world.accounts_are_right()


def attached(kind: str, name: str) -> dict[str, Any]:
    return {"kind": kind, "code": {"attachmentName": f"couch:{name}", "attachmentType": "a/zip"}, "binary": True}


async def test_code_is_found_wherever_openwhisk_has_put_it(world: Scene) -> None:
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("__main__.py", ECHO)
        file.writestr("padding", random.Random(1).randbytes(600_000))
    archive = base64.b64encode(zipped.getvalue()).decode()
    small = io.BytesIO()
    with zipfile.ZipFile(small, "w") as file:
        file.writestr("__main__.py", ECHO)
    inline = base64.b64encode(small.getvalue()).decode()
    there = {"code": {"content_type": "a/zip", "data": archive}}
    found = [
        await world.deploy_exec("capitals", {"kind": "Python:3", "code": ECHO}),
        await world.deploy_exec("jar", {"kind": "java:8", "jar": ECHO}),
        await world.deploy_exec("zip", {"kind": "python:3", "code": inline}),
        await world.deploy_exec("attached", attached("python:3", "code"), there),
    ]
    missing = await world.deploy_exec("missing", attached("python:3", "code"))
    own = embedded_manifest().runtime("python:3")
    java = msgspec.structs.replace(own, kind="java:8", attached={"attachmentName": "j", "attachmentType": "t"})
    async with world.invoker(manifest=Manifest({**embedded_manifest().families, "java": (java,)})):
        for action in found:
            assert result(await world.response(action, {"n": 1})) == {"got": {"n": 1}}
        assert (await world.response(missing))["statusCode"] == 3
        assert result(await world.response(found[0], {"n": "\ud800"})) == {"got": {"n": "\ud800"}}
        await world.recorded()
    world.accounts_are_right()


async def test_results_have_the_limits_that_the_operator_sets(world: Scene) -> None:
    action = await world.deploy(code="def main(args):\n    return {'b': 'x' * args['n']}")
    payload = PayloadLimits(system=ResponseLimits(5 * 2**20, 10240))
    async with world.invoker(payload=payload):
        large = world.invoke(action, {"n": 2 * 2**20})
        await world.all_ended()
        records = await world.recorded()
        response = records[large.id]["response"]
        assert (response["statusCode"], len(response["result"]["b"])) == (0, 2 * 2**20)
        response = await world.response(action, {"n": 6 * 2**20})
        assert response["statusCode"] == 1
        assert 10240 < len(error_of(response)) < 10240 + 200


async def test_a_blocked_namespace_is_answered_and_not_recorded(world: Scene) -> None:
    action = await world.deploy()
    await world.couch.block("bad")
    async with world.invoker() as running:

        async def blocked() -> bool:
            await running.work.blacklist.refresh()
            return running.work.blacklist.blocks("bad")

        await eventually_async(blocked, PATIENCE)
        response = await world.response(action, user="bad")
        assert (response["statusCode"], error_of(response)) == (1, NAMESPACE_BLACKLISTED)
        refused = world.asked.pop()
        assert result(await world.response(action))
        assert refused.id not in await world.recorded()


async def test_a_message_that_is_given_twice_runs_once(world: Scene) -> None:
    action = await world.deploy("once", SLOW)
    async with world.invoker():
        invocation = world.invoke(action, {"s": 0.5})
        await asyncio.to_thread(write, world.broker, world.broker.invoker_topic(0).name, [invocation.message])
        await world.all_ended()
        assert result(await world.response(action, {"s": 0}))
    world.accounts_are_right()


async def test_an_action_larger_than_any_agent_ends_with_the_explanation(world: Scene) -> None:
    large = await world.deploy("large", memory=TOO_LARGE)
    async with world.invoker(pool=PoolSettings(max_wait=0.5)):
        response = await world.response(large)
    assert response["statusCode"] == 3
    assert "of 2 agents, 2 lack memory" in error_of(response)
    world.accounts_are_right()


# -- a sick database


@pytest.mark.parametrize("status", [500, 409])
async def test_a_database_that_is_down_delays_records_and_fails_what_it_alone_knows(
    world: Scene, couch: Couch, status: int
) -> None:
    known, unknown = await world.deploy("known"), await world.deploy("unknown")
    async with CouchGate(couch.url) as gate:
        world.couch_url = gate.url
        async with world.invoker():
            assert result(await world.response(known))
            gate.status = status
            assert result(await world.response(known))
            response = await world.response(unknown)
            assert (response["statusCode"], error_of(response)) == (3, ACTION_NOT_FETCHED)
            await eventually_async(lambda: gate.refused >= 3, PATIENCE)
            gate.status = None
            records = await world.recorded()
            assert result(await world.response(unknown))
    assert len(records) == 3
    world.accounts_are_right()


async def test_a_slow_database_delays_only_who_asks_it(world: Scene, couch: Couch) -> None:
    known, unknown = await world.deploy("known"), await world.deploy("unknown")
    async with CouchGate(couch.url) as gate:
        world.couch_url = gate.url
        async with world.invoker():
            assert result(await world.response(known))
            gate.delay = 3.0
            waiting = world.invoke(unknown)
            assert result(await world.response(known))
            assert not waiting.slot.done()
            gate.delay = 0.0
            await world.all_ended()
            await world.recorded()
    world.accounts_are_right()


# -- health and back-pressure


async def test_the_health_test_runs_at_once_while_others_wait_for_room(world: Scene) -> None:
    large = await world.deploy("large", memory=TOO_LARGE)
    async with world.invoker(pool=PoolSettings(max_wait=300.0), drain=0.0) as running:
        for _ in range(50):
            world.invoke(large, blocking=False)
        await eventually_async(lambda: len(_waiting(running)) == 50, PATIENCE)
        before = set(world.controller.tests)
        world.controller.test(0)
        (test,) = set(world.controller.tests) - before
        await eventually_async(lambda: world.controller.tests[test] is Outcome.SUCCESS, PATIENCE)
        assert len(_waiting(running)) == 50


async def test_back_pressure_turns_the_controller_away_until_there_is_room(world: Scene) -> None:
    large = await world.deploy("large", memory=TOO_LARGE)
    async with world.invoker(pool=PoolSettings(max_wait=8.0, pressure_after=0.2)):
        world.invoke(large, blocking=False)
        await world.becomes(State.OFFLINE, 6)
        await world.all_ended()
        await world.becomes(State.HEALTHY)


async def test_its_own_http_interface_takes_it_out_and_back(world: Scene) -> None:
    http = HttpSettings(host="127.0.0.1", port=0, user="u", password="p")
    async with world.invoker(http=http) as running, aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{running.work.http_port}"
        async with session.get(f"{url}/ping") as response:
            assert (response.status, await response.text()) == (200, "pong")
        async with session.post(f"{url}/disable") as response:
            assert response.status == 401
        own = {"Authorization": f"Basic {base64.b64encode(b'u:p').decode()}"}
        async with session.post(f"{url}/disable", headers=own) as response:
            assert response.status == 200
        await world.becomes(State.OFFLINE, 5)
        async with session.post(f"{url}/enable", headers=own):
            pass
        await world.becomes(State.HEALTHY)


# -- ends and beginnings


class LateBroker(Broker, frozen=True, kw_only=True):
    """Its topics are there only once `opened` is set."""

    opened: threading.Event = msgspec.field(default_factory=threading.Event)

    def ensure(self, topics: Iterable[Topic]) -> None:
        if not self.opened.is_set():
            raise KafkaFailed("no topic is to be had")
        super().ensure(topics)


def prewarmed(running: Running) -> list[str]:
    return [row["container_id"] for row in running.framework.containers() if row["state"] == "prewarmed"]


async def test_containers_that_were_prewarmed_before_kafka_answered_serve(world: Scene) -> None:
    echo = await world.deploy()
    broker = LateBroker(**msgspec.structs.asdict(world.broker))
    manifest = embedded_manifest(stem_cells=(StemCell("128 MB", 2),))
    async with world.invoker(broker=broker, manifest=manifest, healthy=False) as running:
        await eventually_async(lambda: len(prewarmed(running)) >= 2, PATIENCE, what="containers are prewarmed")
        assert running.work.servers["kafka"] == "down"
        early = prewarmed(running)
        broker.opened.set()
        await world.becomes(State.HEALTHY)
        assert running.work.servers == {"kafka": "up", "couchdb": "up"}
        assert result(await world.response(echo)) == {"got": {}}
        assert set(early) <= {row["container_id"] for row in running.framework.containers()}


async def test_an_invoker_whose_kafka_never_answers_stops_at_once(
    broker: Broker, couch: Couch, simulator: SimulatedCluster
) -> None:
    """Nothing listens at port 1; kafka-python tries for seconds, and nobody waits for that."""
    async with scene(broker, couch, simulator.master) as world:
        dead = msgspec.structs.replace(world.broker, hosts=("127.0.0.1:1",))
        async with world.invoker(broker=dead, healthy=False) as running:
            await eventually_async(lambda: running.work.servers["kafka"] == "down", PATIENCE)
            await asyncio.wait_for(running.close(), 9)  # less than answers to a Kafka that is there would have


async def test_at_a_stop_what_runs_may_end_and_what_waits_is_answered(world: Scene) -> None:
    slow, large = await world.deploy("slow", SLOW), await world.deploy("large", memory=TOO_LARGE)
    async with world.invoker(pool=PoolSettings(max_wait=300.0), drain=3.0) as running:
        runs, waits = world.invoke(slow, {"s": 1}), world.invoke(large)
        await eventually_async(lambda: running.active() == 1 and len(_waiting(running)) == 1, PATIENCE)
        await running.close()
        assert world.controller.state(0) is State.OFFLINE
        answered = await asyncio.wait_for(runs.answer, PATIENCE)
        assert answered["response"]["statusCode"] == 0
        refused = (await asyncio.wait_for(waits.answer, PATIENCE))["response"]
        assert (refused["statusCode"], error_of(refused)) == (
            3,
            "The invoker was stopped before the activation ended.",
        )
        await world.all_ended()
        assert running.framework.launches()
        assert {row["state"] for row in running.framework.launches()} == {"KILLED"}
    records = await world.recorded()
    assert sorted(record["response"]["statusCode"] for record in records.values()) == [0, 3]
    world.accounts_are_right()


async def test_at_least_once_the_next_start_repeats_what_had_not_ended(world: Scene) -> None:
    slow, echo = await world.deploy("slow", SLOW), await world.deploy()
    async with world.invoker(feed=AT_LEAST_ONCE, drain=0.2) as running:
        assert result(await world.response(echo))
        interrupted = world.invoke(slow, {"s": 4})
        await eventually_async(lambda: running.active() == 1, PATIENCE)
    assert not interrupted.slot.done()
    async with world.invoker(feed=AT_LEAST_ONCE):
        assert (await world.all_ended())[interrupted.id] is Outcome.SUCCESS
        await world.recorded()
    world.accounts_are_right()


async def test_a_graceful_stop_repeats_nothing(world: Scene) -> None:
    slow = await world.deploy("slow", SLOW)
    async with world.invoker(feed=AT_LEAST_ONCE) as running:
        for _ in range(3):
            world.invoke(slow, {"s": 1})
        await eventually_async(lambda: running.active() == 3, PATIENCE)
    await world.all_ended()
    async with world.invoker(feed=AT_LEAST_ONCE):
        assert result(await world.response(slow, {"s": 0})) == {"s": 0}
    world.accounts_are_right()


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_a_broker_that_goes_away_loses_nothing_that_was_taken(
    world: Scene, kafka: Kafka, delivery: Delivery
) -> None:
    slow = await world.deploy("slow", SLOW)
    async with world.invoker(feed=FeedSettings(delivery=delivery)) as running:
        for _ in range(4):
            world.invoke(slow, {"s": 1})
        await eventually_async(lambda: running.active() == 4, PATIENCE)
        await asyncio.to_thread(kafka.stop)
        await eventually_async(lambda: running.active() == 0, PATIENCE)
        await asyncio.to_thread(kafka.start)
        assert set((await world.all_ended(120)).values()) == {Outcome.SUCCESS}
        await world.becomes(State.HEALTHY)
        assert result(await world.response(slow, {"s": 0})) == {"s": 0}
    assert all(world.controller.completions[each.id] >= 1 for each in world.asked)
    assert world.controller.all_free


async def test_two_processes_of_the_same_id_are_one_too_many(world: Scene) -> None:
    async with world.invoker() as first, world.invoker(healthy=False) as second:
        ends = [asyncio.ensure_future(each.framework.finished()) for each in (first, second)]
        done, _ = await asyncio.wait(ends, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
    (stopped,) = [end.result() for end in done]
    assert stopped.exit_code == 1
    assert "another process reads" in stopped.reason


@pytest.mark.parametrize("delivery", list(Delivery))
async def test_a_topic_of_several_partitions_gives_each_activation_once_over_a_restart(
    broker: Broker, couch: Couch, simulator: SimulatedCluster, delivery: Delivery
) -> None:
    """30 activations on 3 partitions: 30 answers. 2.0 makes such a topic by `whisk.kafka.topics.invoker.partitions`."""
    await asyncio.to_thread(create, broker, broker.invoker_topic(0).name, 3)
    async with scene(broker, couch, simulator.master) as world:
        action = await world.deploy()
        for part in (range(15), range(15, 30)):
            async with world.invoker(feed=FeedSettings(delivery=delivery)):
                for number in part:
                    world.invoke(action, {"n": number})
                await world.all_ended()
        records = await world.recorded()
    assert len(records) == 30
    world.accounts_are_right()


async def test_what_cannot_be_read_for_good_turns_the_pings_off(world: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where an invoker was installed without the libraries of Kafka's codecs."""
    action, topic = await world.deploy(), world.broker.invoker_topic(0)
    await asyncio.to_thread(world.broker.ensure, [topic])
    await asyncio.to_thread(write, world.broker, topic.name, [activation()], codec="lz4")
    with monkeypatch.context() as without:
        without.setattr("kafka.codec.has_lz4", lambda: False)
        async with world.invoker(healthy=False) as running:
            await eventually_async(lambda: running.work.document()["refuses"] == "kafka", PATIENCE)
            await world.becomes(State.OFFLINE, 20)
            shown = running.work.document()
            assert (shown["enabled"], shown["kafka"]["state"]) == (True, "down")
            assert "owmesos[openwhisk]" in shown["kafka"]["advice"]
            without.undo()
            await world.becomes(State.HEALTHY)
            assert running.work.document()["refuses"] is None
            assert result(await world.response(action, {"n": 1})) == {"got": {"n": 1}}


# -- within


def _waiting(running: Running) -> list[object]:
    pooled = running.framework.shell.pooled
    assert pooled is not None
    return list(pooled.pool.state.buffer)
