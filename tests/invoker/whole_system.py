"""What a whole system is asked to do, and the comparison of all books afterwards: the Controller's, the database's."""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.cli.running import Running
from tests.invoker.kafka_scene import ECHO, Scene
from tests.openwhisk.controller import Invocation, Invokable
from tests.openwhisk.kafka.topics import reader
from tests.openwhisk.supervision import Outcome
from tests.waiting import eventually_async

PATIENCE = 240.0  # seconds; the machine may be busy
UNDER_WAY = 120  # that the callers leave open at most
SLOW = "import time\ndef main(args):\n    time.sleep(0.7)\n    return args"
PRINTS = "import sys\ndef main(args):\n    print('out', args['n'])\n    print('err', file=sys.stderr)\n    return args"
NODE = "function main(args) { return args }"


class Kind(NamedTuple):
    """`status` is how its activations end, unless an agent is lost under them."""

    action: Invokable
    count: int
    status: int


def options(world: Scene, folder: Path, *more: str) -> tuple[str, ...]:
    """Of `owmesos run` besides its cluster. What is too large for any agent waits 15 s for one that is larger."""
    settings = folder / "launches.toml"
    settings.write_text("[pool]\nmax-wait = 15.0\n")
    return (
        *("--state", str(folder / "state"), "--name", "whole"),
        *(
            "--kafka",
            world.broker.address,
            "--topic-prefix",
            world.broker.prefix,
            "--id",
            "0",
            "--unique-name",
            "whole",
        ),
        *("--couchdb", world.couch.url, "--couchdb-prefix", world.couch.prefix, "--launch-settings", str(settings)),
        *more,
    )


# -- the callers


async def deployed(world: Scene) -> list[Kind]:
    """A thousand of them, and more of what is quick."""
    return [
        Kind(await world.deploy("echo", ECHO), 480, 0),
        Kind(await world.deploy("node", NODE, kind="nodejs:20"), 100, 0),
        Kind(await world.deploy("shared", ECHO, concurrency=5), 200, 0),
        Kind(await world.deploy("slow", SLOW), 60, 0),
        Kind(await world.deploy("prints", PRINTS, logs=1), 60, 0),
        Kind(await world.deploy("fails", "def main(args):\n    return {'error': 'no'}"), 80, 1),
        Kind(await world.deploy("broken", "def main(:"), 14, 2),
        Kind(await world.deploy("large", ECHO, memory=8192), 6, 3),
    ]


async def call_all(world: Scene, kinds: list[Kind]) -> None:
    """In any order, half of them blocking, never too many open; again later where no invoker is usable."""
    chance = random.Random(7)
    wanted = [kind.action for kind in kinds for _ in range(kind.count)]
    chance.shuffle(wanted)
    for number, action in enumerate(wanted):
        await world.invoke_once_it_can(
            *(action, {"n": number}),
            blocking=chance.random() < 0.5,
            most=UNDER_WAY,
            timeout=PATIENCE,
            interval=0.005,
        )


async def reached(world: Scene, callers: asyncio.Task[None], count: int) -> None:
    """So many have ended; callers that have failed say so at once."""

    def done() -> bool:
        if callers.done():
            callers.result()
        return len(world.ended()) >= count

    await eventually_async(done, PATIENCE)


# -- the books


async def nothing_is_left_open(process: Running) -> None:
    """No room is reserved, and no container believes that it is busy."""

    async def quiet() -> bool:
        containers = (await process.ask("containers", "-o", "json")).json
        reservations = (await process.ask("reservations", "-o", "json")).json
        return not reservations and not any(row["active"] for row in containers)

    await eventually_async(quiet, PATIENCE, interval=0.2)


async def end_of(process: Running) -> int:
    process.process.send_signal(signal.SIGTERM)
    return (await process.ended(PATIENCE)).code


async def the_books_agree(
    world: Scene, statuses: dict[str, int], outcomes: dict[str, Outcome], records: dict[str, Any]
) -> None:
    controller = world.controller
    assert len(world.asked) == 1000
    assert controller.forced == set()
    assert controller.all_free
    sent = await asyncio.to_thread(on_the_topic, world)
    for each in world.asked:
        # Kafka's restart may have doubled a message on its way to the topic; nothing else is acknowledged twice.
        assert 1 <= controller.completions[each.id] <= sent[each.id], each.message
        record = records[each.id]
        name = each.action.entity.document_id
        status = record["response"]["statusCode"]
        assert (f"{record['namespace']}/{record['name']}", record["subject"]) == (name, "guest")
        assert status in (statuses[name], 3), record  # 3: its agent was lost
        assert outcomes[each.id] is Outcome.SUCCESS  # also for want of room, which is no fault of the invoker
        if each.message.blocking:
            response = answer_of(each)
            assert response["statusCode"] == status
            assert response.get("result") == record["response"].get("result")
    assert set(records) == {each.id for each in world.asked}
    said = Counter(record["response"]["statusCode"] for record in records.values())
    expected = Counter(statuses[each.action.entity.document_id] for each in world.asked)
    assert sum((expected - said).values()) <= UNDER_WAY, said


def answer_of(invocation: Invocation) -> dict[str, Any]:
    response: dict[str, Any] = invocation.answer.result()["response"]
    return response


def on_the_topic(world: Scene) -> Counter[str]:
    """How often each activation stands on the invoker's topic."""
    asked = {each.id for each in world.asked}
    with reader(world.broker, world.broker.invoker_topic(0).name) as topic:
        found: Callable[[list[bytes]], bool] = lambda records: asked <= {_id_of(record) for record in records}  # noqa: E731
        return Counter(map(_id_of, topic.until(found, PATIENCE)))


def _id_of(record: bytes) -> str:
    return str(json.loads(record)["activationId"])
