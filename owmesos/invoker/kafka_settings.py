"""The settings of an invoker on Kafka."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.extension import DRAIN
from owmesos.openwhisk.arguments import Decrypt
from owmesos.openwhisk.container_specs import LaunchSettings
from owmesos.openwhisk.kafka.broker import Broker
from owmesos.openwhisk.kafka.feed_settings import FeedSettings
from owmesos.openwhisk.limits import ForcedCompletion, PayloadLimits
from owmesos.openwhisk.manifest import Manifest
from owmesos.openwhisk.messages import InvokerId
from owmesos.openwhisk.store.couch_entities import Databases


class CouchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The databases of actions and records."""

    url: str
    user: str | None = None
    password: str | None = None
    databases: Databases = Databases()


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the invoker's own HTTP interface listens, and its credentials."""

    host: str
    port: int
    user: str
    password: str


class InvokerSettings(msgspec.Struct, frozen=True, kw_only=True):
    invoker: InvokerId  # in pings and acknowledgements
    broker: Broker
    couch: CouchSettings  # the databases of actions and records
    manifest: Manifest  # the kinds of actions
    launches: LaunchSettings = msgspec.field(default_factory=LaunchSettings)  # how containers are launched
    pool: PoolSettings = PoolSettings()
    feed: FeedSettings = FeedSettings()  # limits and delivery of activations
    forced: ForcedCompletion = ForcedCompletion()  # when the Controller forces a completion
    http: HttpSettings | None = None  # its own HTTP interface, if any
    user_events: bool = False  # whether to send user events
    drain: float = DRAIN  # seconds for running activations at a stop
    ciphers: Mapping[str, Decrypt] = {}  # of stored parameters, by name
    payload: PayloadLimits = PayloadLimits()  # the largest responses
