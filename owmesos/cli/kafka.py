"""`owmesos run --kafka`: its options, and what is made of them.

Each setting comes from the flag, else its `OWMESOS_*` variable, else the configuration file, else OpenWhisk's own
variable. Passwords come from files or variables, since a command line is seen by everybody.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from owmesos.cli.client import Endpoint
from owmesos.cli.connection import FILE
from owmesos.cli.tables import read_manifest, read_table
from owmesos.errors import InvalidInput

if TYPE_CHECKING:
    from owmesos.core.pool_settings import PoolSettings
    from owmesos.openwhisk.arguments import Decrypt
    from owmesos.openwhisk.broker import Broker
    from owmesos.openwhisk.feed import FeedSettings
    from owmesos.openwhisk.launching import LaunchSettings
    from owmesos.openwhisk.manifest import Manifest
    from owmesos.openwhisk.whisk_config import WhiskConfig
    from owmesos.service.kafka_invoker import CouchSettings, HttpSettings, InvokerSettings, KafkaInvoker

_log = logging.getLogger("owmesos.run")

COUCHDB_PASSWORD = "OWMESOS_COUCHDB_PASSWORD"
_INSTALL = "--kafka needs kafka-python and cryptography: pip install 'owmesos[openwhisk]'"
_OF_THE_FRAMEWORK = ("CONFIG_whisk_mesos_masterUrl", "CONFIG_whisk_mesos_role")


@dataclass(frozen=True)
class KafkaOptions:
    """What was given, None where it was not. `runtimes` has other uses too, so it is not among them."""

    kafka: str | None
    couchdb: str | None
    instance: int | None
    unique_name: str | None
    displayed_name: str | None
    delivery: str | None
    drain: float | None
    couchdb_user: str | None
    couchdb_password_file: Path | None
    couchdb_prefix: str | None
    kafka_settings: Path | None
    topic_prefix: str | None
    event_prefix: str | None
    user_memory: str | None
    tag: tuple[str, ...]
    dedicated_namespace: tuple[str, ...]
    max_activations: int | None
    max_activation_mb: int | None
    pressure_after: float | None
    user_events: bool | None
    invoker_http: str | None
    invoker_credentials_file: Path | None
    launch_settings: Path | None
    parameter_keys_file: Path | None

    @property
    def wanted(self) -> bool:
        """Whether this process is to be an invoker. Raises InvalidInput for what has no meaning otherwise."""
        if self.kafka is not None or self.instance is not None:
            return True
        if self.unique_name is not None:
            raise InvalidInput("--unique-name alone makes no invoker: ids are not taken from ZooKeeper, give --id N")
        for field in fields(self):
            if getattr(self, field.name) not in (None, ()):
                raise InvalidInput(f"--{field.name.replace('_', '-')} is for --kafka")
        return False

    def invoker(self, runtimes: Path | None, environment: Mapping[str, str] = os.environ) -> KafkaInvoker:
        """Raises InvalidInput. Logs what of OpenWhisk's own settings has no effect, in one line."""
        try:
            import cryptography  # noqa: F401
            import kafka  # noqa: F401
        except ImportError:
            raise InvalidInput(_INSTALL) from None
        from owmesos.openwhisk.whisk_config import WhiskConfig
        from owmesos.service.kafka_invoker import KafkaInvoker

        config = WhiskConfig(environment)
        invoker = KafkaInvoker(self.settings(runtimes, config, environment))
        ignored = config.ignored()
        if ignored:
            hint = " (give --master and --role)" if any(name in ignored for name in _OF_THE_FRAMEWORK) else ""
            _log.info("without effect here%s: %s", hint, ", ".join(ignored))
        return invoker

    def settings(
        self, runtimes: Path | None, config: WhiskConfig, environment: Mapping[str, str] = os.environ
    ) -> InvokerSettings:
        """All of it together. Raises InvalidInput."""
        from owmesos.openwhisk.ids import invoker_id
        from owmesos.openwhisk.sizes import MAX_USER_MEMORY, parse_megabytes
        from owmesos.service.kafka_invoker import InvokerSettings

        if self.instance is None:
            raise InvalidInput("--kafka needs --id N, which no other invoker has: ids are not taken from ZooKeeper")
        memory = parse_megabytes(self.user_memory) if self.user_memory is not None else None
        memory = _first(memory, config.read("container-pool.user-memory", parse_megabytes), MAX_USER_MEMORY)
        launches, pool = self._containers(config)
        return InvokerSettings(
            invoker=invoker_id(
                self.instance,
                user_memory=memory,
                tags=self.tag,
                dedicated_namespaces=self.dedicated_namespace,
                unique_name=self.unique_name,
                displayed_name=self.displayed_name,
            ),
            broker=self._broker(config),
            couch=self._couch(config, environment),
            manifest=_manifest(runtimes, config),
            launches=launches,
            pool=pool,
            feed=self._feed(),
            http=self._http(config),
            user_events=_first(self.user_events, config.flag("user-events.enabled"), False),
            drain=_first(self.drain, 30.0),
            ciphers=self._ciphers(config),
        )

    def _broker(self, config: WhiskConfig) -> Broker:
        from owmesos.openwhisk.broker import Broker, parse_hosts

        hosts = self.kafka or config.variable("KAFKA_HOSTS")
        if hosts is None:
            raise InvalidInput("--id needs --kafka HOST:PORT")
        protocol = config.text("kafka.common.security-protocol")
        security = {"security_protocol": protocol} if protocol is not None else {}
        if self.kafka_settings is not None:
            security |= read_table(self.kafka_settings, private=True)
        return Broker(
            hosts=parse_hosts(hosts),
            prefix=_first(self.topic_prefix, config.text("kafka.topics.prefix"), ""),
            event_prefix=_first(self.event_prefix, config.text("kafka.topics.user-event.prefix"), ""),
            replication_factor=_first(config.number("kafka.replication-factor"), 1),
            security=security,
        )

    def _feed(self) -> FeedSettings:
        from owmesos.openwhisk.feed import Delivery, FeedSettings

        usual = FeedSettings()
        weight = self.max_activation_mb
        return FeedSettings(
            max_count=_first(self.max_activations, usual.max_count),
            max_weight=weight * 2**20 if weight is not None else usual.max_weight,
            delivery=Delivery(self.delivery) if self.delivery is not None else usual.delivery,
        )

    def _couch(self, config: WhiskConfig, environment: Mapping[str, str]) -> CouchSettings:
        from owmesos.mesos.access import read_secret
        from owmesos.openwhisk.whisk_config import couch_databases, couch_url
        from owmesos.service.kafka_invoker import CouchSettings

        named = couch_url(config)
        url = self.couchdb or named
        if url is None:
            raise InvalidInput("--kafka needs --couchdb URL: actions are there, and records go there")
        user, password = config.text("couchdb.username"), config.text("couchdb.password")
        secret = environment.get(COUCHDB_PASSWORD) or None
        if self.couchdb_password_file is not None:
            secret = read_secret(self.couchdb_password_file)
        return CouchSettings(
            url=url,
            user=self.couchdb_user or user,
            password=secret or password,
            databases=couch_databases(config, self.couchdb_prefix),
        )

    def _ciphers(self, config: WhiskConfig) -> dict[str, Decrypt]:
        from owmesos.openwhisk.ciphers import ciphers

        config.text("parameter-storage.current")  # what new ones are encrypted with is the Controller's business
        named = {"aes-128": config.text("parameter-storage.aes128"), "aes-256": config.text("parameter-storage.aes256")}
        keys: dict[str, Any] = {name: key for name, key in named.items() if key is not None}
        if self.parameter_keys_file is not None:
            keys |= read_table(self.parameter_keys_file, private=True)
        if not all(isinstance(key, str) for key in keys.values()):
            raise InvalidInput("the keys of parameters must be texts in base64")
        return ciphers(keys)

    def _http(self, config: WhiskConfig) -> HttpSettings | None:
        from owmesos.mesos.access import read_secret
        from owmesos.service.kafka_invoker import HttpSettings

        user, password = config.text("invoker.username"), config.text("invoker.password")
        if self.invoker_http is None:
            return None
        if self.invoker_credentials_file is not None:
            user, _, password = (read_secret(self.invoker_credentials_file) or "").partition(":")
        if not user or not password:
            raise InvalidInput("--invoker-http needs --invoker-credentials-file: USER:PASSWORD on one line")
        host, port = Endpoint.parse(self.invoker_http)
        return HttpSettings(host=host, port=port, user=user, password=password)

    def _containers(self, config: WhiskConfig) -> tuple[LaunchSettings, PoolSettings]:
        import msgspec

        from owmesos.core.pool_settings import PoolSettings
        from owmesos.openwhisk.launching import LaunchSettings
        from owmesos.openwhisk.whisk_config import launch_fields, pool_fields

        file = self.launch_settings
        table = read_table(file) if file is not None else {}
        of_pool = table.pop("pool", {})
        where = f"{file}: " if file is not None else ""
        known = set(PoolSettings.__struct_fields__) - {"constraints", "blackbox_constraints"}
        if not isinstance(of_pool, dict) or {name.replace("-", "_") for name in of_pool} - known:
            names = ", ".join(sorted(name.replace("_", "-") for name in known))
            raise InvalidInput(f"{where}[pool] has settings that do not exist; there are: {names}")
        pool = pool_fields(config) | {name.replace("-", "_"): value for name, value in of_pool.items()}
        if self.pressure_after is not None:
            pool["pressure_after"] = self.pressure_after
        try:
            return msgspec.convert(launch_fields(config) | table, LaunchSettings), msgspec.convert(pool, PoolSettings)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{where}{error}") from None


def _first(*values: Any) -> Any:
    """The first that is there."""
    return next(value for value in values if value is not None)


def _manifest(runtimes: Path | None, config: WhiskConfig) -> Manifest:
    """The file's, or that of OpenWhisk's own variable, or what owmesos itself brings."""
    from owmesos.openwhisk.embedded import embedded_manifest
    from owmesos.openwhisk.manifest import parse

    variable = config.variable("RUNTIMES_MANIFEST")
    if runtimes is not None:
        manifest = read_manifest(runtimes)
    elif variable is not None:
        manifest = parse(variable)
    else:
        manifest = embedded_manifest()
    return manifest.with_defaults(
        prefix=config.text("runtimes.default-image-prefix"), tag=config.text("runtimes.default-image-tag")
    )


def _without_credentials(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    on_the_line = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    if value is not None and on_the_line and "@" in value.partition("://")[2].partition("/")[0]:
        raise InvalidInput(
            "a command line is seen by everybody: give CouchDB's credentials by --couchdb-user and "
            f"--couchdb-password-file, or {COUCHDB_PASSWORD}"
        )
    return value


_POSITIVE = click.IntRange(min=1)
_SECONDS = click.FloatRange(min=0)
_OPTIONS = (
    click.option("--kafka", metavar="HOST:PORT", help="Be an invoker of OpenWhisk's, on its Kafka; several by comma."),
    click.option("--couchdb", metavar="URL", callback=_without_credentials, help="Where actions are, and records go."),
    click.option(
        "--id", "instance", type=click.IntRange(min=0), metavar="N", help="The invoker's; its topic is invokerN."
    ),
    click.option("--unique-name", metavar="U", help="Goes into pings and answers, as OpenWhisk's does."),
    click.option("--displayed-name", metavar="D", help="The same."),
    click.option(
        "--delivery",
        type=click.Choice(["at-most-once", "at-least-once"]),
        help="What a crash does to activations under way: lose or repeat them. [default: at-most-once]",
    ),
    click.option("--drain", type=_SECONDS, metavar="S", help="That activations have to end, at a stop. [default: 30]"),
    click.option("--couchdb-user", metavar="U", help="Who we are to CouchDB."),
    click.option("--couchdb-password-file", type=FILE, metavar="F", help=f"Or give {COUCHDB_PASSWORD}."),
    click.option("--couchdb-prefix", metavar="P", help="Of the databases' names: Pwhisks, Pactivations, Psubjects."),
    click.option(
        "--kafka-settings", type=FILE, metavar="F", help="TLS and login, by kafka-python's names, in TOML or JSON."
    ),
    click.option("--topic-prefix", metavar="P", help="Of the topics' names."),
    click.option("--event-prefix", metavar="P", help="Of the name of the topic of user events."),
    click.option("--user-memory", metavar="SIZE", help="To announce. [default: as much as a Controller can count]"),
    click.option("--tag", metavar="T", multiple=True, help="To announce. May be given more than once."),
    click.option("--dedicated-namespace", metavar="N", multiple=True, help="The same."),
    click.option("--max-activations", type=_POSITIVE, metavar="N", help="Taken from Kafka at once. [default: 1024]"),
    click.option("--max-activation-mb", type=_POSITIVE, metavar="MB", help="What they may weigh. [default: 64]"),
    click.option(
        "--pressure-after",
        type=_SECONDS,
        metavar="S",
        help="Turn Controllers away when nothing is launchable for so long. [default: never]",
    ),
    click.option("--user-events/--no-user-events", default=None, help="Tell the topic of user events. [default: no]"),
    click.option("--invoker-http", metavar="HOST:PORT", help="The invoker's own HTTP interface."),
    click.option("--invoker-credentials-file", type=FILE, metavar="F", help="USER:PASSWORD for it."),
    click.option(
        "--parameter-keys-file",
        type=FILE,
        metavar="F",
        help="Keys of encrypted parameters: aes-128, aes-256, in TOML or JSON.",
    ),
    click.option(
        "--launch-settings", type=FILE, metavar="F", help="How containers are launched, and [pool], in TOML or JSON."
    ),
)


def kafka_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command gets `kafka`, KafkaOptions, in place of the options."""

    @wraps(command)
    def with_kafka(*args: Any, **given: Any) -> Any:
        options = KafkaOptions(**{field.name: given.pop(field.name) for field in fields(KafkaOptions)})
        return command(*args, kafka=options, **given)

    for option in reversed(_OPTIONS):
        with_kafka = option(with_kafka)
    return with_kafka
