"""What comes from Controllers, CouchDB, action containers and users, and what is stored of actions and activations."""

from __future__ import annotations

import asyncio
import base64
import json
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import msgspec

from owmesos.cli.kafka import KafkaOptions
from owmesos.core.pool.events import StartContainer
from owmesos.core.pool.settings import PoolSettings
from owmesos.core.room_index import Slot
from owmesos.errors import NOT_READABLE, InvalidInput
from owmesos.invoker.action_rules import ActionRules, WantedAction, action_document
from owmesos.invoker.resume import answered_activation
from owmesos.invoker.routes import WantedInvocation
from owmesos.openwhisk import entities, limits, sizes, whisk_config
from owmesos.openwhisk.activation import Activation, ActivationDocument, Reporter, document, not_run, whisk_error
from owmesos.openwhisk.arguments import arguments_of
from owmesos.openwhisk.ciphers import ciphers
from owmesos.openwhisk.container.log_lines import STREAMS, LogCollection
from owmesos.openwhisk.container.protocol import ContainerAnswer, failed_init, init_head, response_of, run_body
from owmesos.openwhisk.container_specs import Launching, LaunchSettings
from owmesos.openwhisk.executable import Executable
from owmesos.openwhisk.kafka.acks import shrunk
from owmesos.openwhisk.kafka.answered import Answered, _note
from owmesos.openwhisk.manifest import Manifest, parse, parse_duration
from owmesos.openwhisk.messages import (
    EntityName,
    MalformedMessage,
    decode_activation,
    invoker_id,
    transaction_name,
    transaction_start,
)
from owmesos.openwhisk.results import decode_result
from owmesos.openwhisk.store import sqlite
from owmesos.openwhisk.store.couch_entities import CouchActions, CouchBlacklist, _is_deleted, write_records
from owmesos.openwhisk.store.couchdb import CouchDB, Written, _decoded, _ViewPage
from owmesos.openwhisk.store.journal_batch import JournalEntry, TakenKey
from owmesos.runtimes.framing import SENTINEL
from owmesos.service.admin_bodies import decoded
from owmesos.system.databases import readable
from owmesos.system.lone_surrogates import encode
from tests.fuzz.target import file_of, sample, target
from tests.openwhisk import samples
from tests.openwhisk.documents import MANIFEST
from tests.openwhisk.documents import action_document as stored_action

_NOW = 1_700_000_000.0
_KEYS = {"aes-128": base64.b64encode(bytes(16)).decode(), "aes-256": base64.b64encode(bytes(32)).decode()}
_CIPHERS = ciphers(_KEYS)
_ENTITY = EntityName("guest", "hello", "0.0.1")
_REPORTER = Reporter(invoker_id(0), lambda: _NOW)


def _action() -> Executable:
    data = msgspec.json.encode(stored_action())
    return entities.to_executable(_ENTITY, entities.decode_action("guest/hello", data), "pass", MANIFEST)


_ACTION = _action()


# -- Kafka


@target("kafka-activations", samples.ACTIVATION_1_0, samples.ACTIVATION_2_0, samples.HEALTH_TEST)
def kafka_activations(data: bytes) -> None:
    """What can be read of it is answered, and handed on to a container."""
    try:
        message = decode_activation(data)
    except MalformedMessage as error:
        if error.addressed is not None:
            encode(error.addressed)
        raise
    transaction_name(message.transid), transaction_start(message.transid), message.health
    activation = not_run(message, whisk_error("no"), _NOW)
    for answer in (_REPORTER.combined(message, activation), _REPORTER.completion(message, activation)):
        encode(answer)
        encode(shrunk(answer))
    encode(_REPORTER.result(message, activation))
    encode(_REPORTER.event(message, activation))
    encode(document(activation, _NOW))
    limits.PayloadLimits().of(message.user.limits)
    env, arguments = arguments_of(message, _CIPHERS)
    init_head(message, _ACTION, env, _NOW)
    json.loads(run_body(message, _ACTION, arguments, _NOW))


_OTHERS = (samples.COMBINED_2_0, samples.COMBINED_SHRUNK, samples.COMBINED_1_0, samples.COMPLETION_2_0)


@target("kafka-answers", *_OTHERS, samples.COMPLETION_1_0, samples.RESULT, samples.RESULT_SHRUNK, samples.PING_2_0)
def kafka_answers(data: bytes) -> None:
    found = Answered(set(), {})
    _note(data, found)
    for result in found.results.values():
        with suppress(*NOT_READABLE):
            answered_activation(result)


# -- CouchDB


def _documents() -> list[dict[str, Any]]:
    attached = {"attachmentName": "couch:code", "attachmentType": "text/plain", "length": 5, "digest": "sha-x"}
    codes: list[Any] = ["pass", "UEsDBA==", attached, attached | {"attachmentName": "mem:cGFzcw"}]
    found = [stored_action(code=code) for code in codes]
    exec_ = found[0]["exec"]
    found += [found[0] | {"exec": exec_ | each} for each in ({"kind": "blackbox", "image": "a/b:1"}, {"jar": "x"})]
    return [*found, found[0] | {"exec": {"kind": "sequence", "components": ["/a/b"]}}, {"_deleted": True}]


@target("couchdb-actions", *_documents())
def couchdb_actions(data: bytes) -> None:
    _is_deleted(data)
    actions = CouchActions(CouchDB("http://couch:5984", user=None, password=None), "whisks", MANIFEST)
    executable = actions._executable(_ENTITY, data)
    executable.for_pool()
    executable.weight  # noqa: B018
    entities.decode_large_action("guest/hello", data)


class _OneAnswer:
    """A CouchDB that has answered everything with the same."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)

    async def view(self, *_: object, **__: object) -> list[dict[str, Any]]:
        return _decoded(self._data, _ViewPage, "GET view").rows

    async def write(self, *_: object) -> list[Written]:
        return _decoded(self._data, list[Written], "POST bulk")


_ROW = {"id": "guest", "key": "guest", "value": 1}


@target("couchdb-answers", {"rows": [_ROW, _ROW]}, [sample(Written), {"error": "conflict"}], [{"error": "forbidden"}])
def couchdb_answers(data: bytes) -> None:
    couch: Any = _OneAnswer(data)
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(CouchBlacklist(couch, "subjects").refresh())
        loop.run_until_complete(write_records(couch, "activations", [b"{}", b"{}"]))
    finally:
        loop.close()


# -- action containers


_TIME = "2026-11-29T12:00:00Z"
_LOG = f"one\n{SENTINEL}\ntwo\nthree {SENTINEL}\n"


@target(
    "container-answers",
    {"greeting": "hi"},
    {"error": {"statusCode": 404, "body": "x"}},
    [1, {"a": None}],
    '{"a":1e999}',
)
def container_answers(data: bytes) -> None:
    """Whatever an action answers, its activation has an end that can be sent, stored and shown."""
    message = decode_activation(samples.ACTIVATION_2_0)
    for status in (200, 502, 403):
        answer = ContainerAnswer(status, data, len(data))
        failed_init(answer, _ACTION)
        response = response_of(answer, _ACTION)
        activation = not_run(message, response, _NOW)
        encode(_REPORTER.combined(message, activation))
        encode(_REPORTER.event(message, activation))
        stored = encode(document(activation, _NOW))
        kept = sqlite._record("id", stored)
        decode_result(encode(kept.response.result))


@target("container-logs", _LOG, _LOG.replace("\n", "\r\n"), "no end")
def container_logs(data: bytes) -> None:
    """However it is cut, nothing is read twice and nothing left out."""
    step = 1 + max(len(data) % 17, len(data) // 100)
    collection, whole = (LogCollection(2_000, sentinels=True, is_foreign=lambda stream, line: False) for _ in range(2))
    for stream in STREAMS:
        at, rest = 0, b""
        while collection.takes(stream) and at < len(data):
            rest = collection.feed(stream, data[at : at + step], _TIME)
            at += step
        assert rest + data[at:] == whole.feed(stream, data, _TIME)
    for each in (collection, whole):
        each.end(_TIME, failed=False)
    assert collection.lines == whole.lines


# -- users


_WANTED = {
    "exec": {"kind": "python:3", "code": "UEsDBA==", "binary": True, "main": "main"},
    "limits": {"memory": 256, "timeout": 1000, "logs": 1, "concurrency": 2},
    "parameters": [{"key": "a", "value": 1}],
    "annotations": [{"key": "b", "value": {"c": 2}}],
}


@target("admin-actions", _WANTED, {"exec": {"kind": "nodejs:default", "code": "x"}}, {"limits": {"memory": 128}})
def admin_actions(data: bytes) -> None:
    """What is accepted is stored, and what is stored can be run."""
    wanted = decoded(data, WantedAction, lone_surrogates=True)
    before = entities.decode_action("guest/hello", msgspec.json.encode(stored_action()))
    made = action_document("guest", "hello", wanted, before, MANIFEST, ActionRules())
    again = sqlite._action(entities.decode_action_in_slices, "guest/hello", encode(made))
    code = entities.code_of(again, MANIFEST)
    assert not isinstance(code, entities.Attachment)
    entities.to_executable(_ENTITY, again, code, MANIFEST)
    action_document("guest", "hello", wanted, again, MANIFEST, ActionRules())


@target("admin-invocations", {"params": {"a": {"b": [1]}}, "blocking": True, "timeout": 5.5})
def admin_invocations(data: bytes) -> None:
    wanted = decoded(data, WantedInvocation, lone_surrogates=True)
    encode(wanted.params)


# -- settings


_MANIFEST = {
    "runtimes": {
        "python": [
            {
                "kind": "python:3",
                "default": True,
                "image": {"prefix": "o", "name": "p", "tag": "1", "registry": "r"},
                "deprecated": False,
                "requireMain": False,
                "sentinelledLogs": True,
                "attached": {"a": "b"},
                "stemCells": [
                    {
                        "initialCount": 2,
                        "memory": "256 MB",
                        "reactive": {"minCount": 1, "maxCount": 4, "ttl": "2 minutes", "threshold": 1, "increment": 1},
                    }
                ],
            },
            {"kind": "python:2", "image": {"name": "p2"}},
        ],
        "nodejs": [{"kind": "nodejs:20", "command": "node", "uris": ["http://h/n.tar"], "proves": True}],
    },
    "blackboxes": [{"prefix": "o", "name": "d", "tag": "1"}],
}


def _starts(manifest: Manifest, settings: LaunchSettings) -> None:
    launching = Launching(settings, manifest)
    launching.samples()
    for number, wanted in enumerate(manifest.prewarm()):
        ask, slot = PoolSettings().ask(wanted.shape), Slot("S1", "web")
        launching(StartContainer(f"c{number}", wanted.shape, slot, ask, (), prewarm=True))


@target("manifests", _MANIFEST, {"runtimes": {}})
def manifests(data: bytes) -> None:
    """What is accepted can be started."""
    manifest = parse(data)
    manifest = manifest.with_defaults(prefix="p", tag="t", local_prefix="l")
    for kind in manifest.kinds:
        manifest.runtime(kind)
        with suppress(InvalidInput):
            manifest.runnable(kind)
    _starts(manifest, LaunchSettings())


_VARIABLES = {
    "CONFIG_whisk_couchdb_host": "db",
    "CONFIG_whisk_couchdb_port": "6984",
    "CONFIG_whisk_mesos_constraints": '["rack LIKE r1"]',
    "CONFIG_whisk_mesos_timeouts_taskLaunch": "90 seconds",
    "CONFIG_whisk_mesos_healthCheck_interval": "2 s",
    "CONFIG_whisk_containerFactory_containerArgs_dnsServers_0": "10.0.0.1",
    "CONFIG_whisk_containerFactory_containerArgs_dnsServers_1": "$A",
    "CONFIG_whisk_containerFactory_containerArgs_extraEnvVars_0": "A=b=c",
    "CONFIG_whisk_containerFactory_containerArgs_extraArgs_tmpfs_0": "/tmp",
    "CONFIG_whisk_containerPool_clusterManagedResourceMaxStarts": "40",
    "CONFIG_whisk_loadbalancer_timeoutFactor": "2",
    "CONFIG_whisk_activation_payload_max": "5 m",
    "CONFIG_whisk_activation_payload_truncation": "5242880",
    "CONFIG_whisk_containerProxy_timeouts_idleContainer": "600000",
    "WHISK_API_HOST_NAME": "h",
    "A": "10.0.0.2",
}


@target("whisk-variables", _VARIABLES)
def whisk_variables(data: bytes) -> None:
    """An environment: a JSON object of texts, which this target does not have to read well."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(found, dict):
        return
    config = whisk_config.WhiskConfig({name: value for name, value in found.items() if isinstance(value, str)})
    for read in (
        lambda: whisk_config.couch_url(config),
        lambda: whisk_config.couch_databases(config, None),
        lambda: msgspec.convert(whisk_config.launch_fields(config), LaunchSettings),
        lambda: msgspec.convert(whisk_config.pool_fields(config), PoolSettings),
        lambda: whisk_config.forced_completion(config).start_within(60.0),
        lambda: whisk_config.payload_limits(config).max_message,
        config.ignored,
    ):
        with suppress(InvalidInput, msgspec.ValidationError):
            read()


_LAUNCHING = {
    **sample(LaunchSettings),
    "constraints": ["rack LIKE r.*"],
    "blackbox-constraints": ["a UNLIKE b"],
    "constraint-delimiter": " ",
    "pool": {"idle-grace": 5.0, "max-starts": 3},
}


@target("launch-settings", _LAUNCHING, {"network": "host", "health-check": {"interval": 2.0}})
def launch_settings(data: bytes) -> None:
    """What is accepted can be started."""
    options: Any = SimpleNamespace(launch_settings=file_of(data, "launch.json"), pressure_after=None)
    launches, _ = KafkaOptions.containers(options, whisk_config.WhiskConfig({}))
    _starts(MANIFEST, launches)


@target("sizes", *("256 MB", "2 minutes", "2.5 h", "500 ms", "5 MiB", "1e3 s", "5242880", "10 k"))
def size_texts(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for read in (sizes.parse_size, sizes.parse_megabytes, sizes.parse_config_size, parse_duration):
        with suppress(InvalidInput):
            read(text)


# -- what is stored


_ACTIVATION = sample(ActivationDocument) | {"annotations": [{"key": "limits", "value": {"logs": 0}}]}


@target("stored-activations", _ACTIVATION, sample(Activation), samples.ACTIVATION, *_documents()[:1])
def stored_activations(data: bytes) -> None:
    for read in (
        lambda: sqlite._record("id", data),
        lambda: sqlite._action(entities.decode_action_in_slices, "id", data),
        lambda: sqlite._action(entities.decode_action_without_code, "id", data),
        lambda: answered_activation(data),
    ):
        with suppress(*NOT_READABLE, entities.ActionUnavailable, sqlite.EmbeddedStoreFailed):
            read()


_ENTRY = ["id", "message", 5.0, "result"]


@target("stored-entries", [_ENTRY, ["id", "message", None, None]], [["key", "request", "id", 5.0]])
def stored_entries(data: bytes) -> None:
    """Rows of a journal, of any types that SQLite has."""
    with suppress(*NOT_READABLE):
        rows = msgspec.json.decode(data, type=list[list[bool | int | float | str | None]])
        for bytes_at in ((), (1, 3)):
            made: Any = [
                tuple(str(each).encode(errors="replace") if at in bytes_at else each for at, each in enumerate(row))
                for row in rows
            ]
            readable((row or (None,) for row in made), JournalEntry, "entry")
            readable((row or (None,) for row in made), TakenKey, "key")
