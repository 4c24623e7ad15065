"""`owmesos run --kafka`: its options, and what is made of them.

Each setting comes from the flag, else its `OWMESOS_*` variable, else the configuration file, else OpenWhisk's own
variable. Passwords come from files or variables, since every user can read a command line.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import click

from owmesos.cli.connection import Endpoint
from owmesos.cli.options import Option
from owmesos.cli.settings import read_table
from owmesos.errors import NOT_READABLE, InvalidInput, os_errors_as_invalid_input
from owmesos.system.private_files import read_private

if TYPE_CHECKING:
    from owmesos.core.pool.settings import PoolSettings
    from owmesos.invoker.kafka import KafkaInvoker
    from owmesos.invoker.kafka_settings import CouchSettings, HttpSettings, InvokerSettings
    from owmesos.openwhisk.arguments import Decrypt
    from owmesos.openwhisk.container_specs import LaunchSettings
    from owmesos.openwhisk.kafka.access import KafkaAccess
    from owmesos.openwhisk.kafka.broker import Broker
    from owmesos.openwhisk.kafka.feed_settings import FeedSettings
    from owmesos.openwhisk.limits import PayloadLimits
    from owmesos.openwhisk.manifest import Manifest
    from owmesos.openwhisk.whisk_config import WhiskConfig
    from owmesos.system.lease import Lease

_log = logging.getLogger("owmesos.run")

COUCHDB_PASSWORD = "OWMESOS_COUCHDB_PASSWORD"
_INSTALL = "--kafka needs kafka-python and cryptography: pip install 'owmesos[openwhisk]'"
_HOST_NETWORK = (
    "network = host works only with images that listen on the port in the variable PORT; OpenWhisk's own listen on"
    " 8080 and need a bridge or a named network"
)
_OF_STANDALONE_TOO = ("drain", "launch_settings")
_OF_THE_FRAMEWORK = ("CONFIG_whisk_mesos_masterUrl", "CONFIG_whisk_mesos_role")


def _without_credentials(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    on_the_line = ctx.get_parameter_source(param.name or "") is click.core.ParameterSource.COMMANDLINE
    if value is not None and on_the_line and "@" in value.partition("://")[2].partition("/")[0]:
        raise InvalidInput(
            "every user can read a command line: give CouchDB's credentials by --couchdb-user and "
            f"--couchdb-password-file, or {COUCHDB_PASSWORD}"
        )
    return value


_Seconds = Annotated[float | None, click.FloatRange(min=0)]
_Positive = Annotated[int | None, click.IntRange(min=1)]


@dataclass(frozen=True)
class KafkaOptions:
    """None for what was not given. `--runtimes` is not among them, since --standalone uses it too, as it does `--drain`
    and `--launch-settings`."""

    kafka: Annotated[
        str | None, Option("Run an invoker of OpenWhisk on this Kafka; several by comma.", "HOST:PORT")
    ] = None
    couchdb: Annotated[
        str | None, Option("CouchDB with actions and activation records.", "URL", callback=_without_credentials)
    ] = None
    instance: Annotated[
        int | None, Option("Id of the invoker; its topic is invokerN.", "N", "--id", type=click.IntRange(min=0))
    ] = None
    unique_name: Annotated[str | None, Option("Unique name to send in pings and acknowledgements.", "U")] = None
    displayed_name: Annotated[str | None, Option("Displayed name to send in pings and acknowledgements.", "D")] = None
    delivery: Annotated[
        Literal["at-most-once", "at-least-once"] | None,
        Option(
            "What a crash does to activations that had begun: end them with an error, or repeat them."
            " [default: at-most-once]"
        ),
    ] = None
    drain: Annotated[_Seconds, Option("Seconds to wait for running activations on shutdown. [default: 30]", "S")] = None
    couchdb_user: Annotated[str | None, Option("User of CouchDB.", "U")] = None
    couchdb_password_file: Annotated[Path | None, Option(f"File with its password; or {COUCHDB_PASSWORD}.", "F")] = None
    couchdb_prefix: Annotated[str | None, Option("Prefix of the names of the three databases.", "P")] = None
    kafka_settings: Annotated[Path | None, Option("TOML or JSON file with TLS and login for kafka-python.", "F")] = None
    topic_prefix: Annotated[str | None, Option("Prefix of the topics' names.", "P")] = None
    event_prefix: Annotated[str | None, Option("Prefix of the name of the user event topic.", "P")] = None
    user_memory: Annotated[str | None, Option("Memory to announce in pings. [default: 2147483647 MB]", "SIZE")] = None
    tag: Annotated[tuple[str, ...], Option("Tag to announce in pings. May be repeated.", "T")] = ()
    dedicated_namespace: Annotated[tuple[str, ...], Option("Namespace to announce. May be repeated.", "N")] = ()
    max_activations: Annotated[_Positive, Option("Most activations to hold at once. [default: 1024]", "N")] = None
    max_activation_mb: Annotated[_Positive, Option("Most MB of messages to hold at once. [default: 64]", "MB")] = None
    pressure_after: Annotated[
        _Seconds, Option("Seconds without room before Controllers are turned away. [default: never]", "S")
    ] = None
    user_events: Annotated[bool | None, Option("Send user events to Kafka. [default: no]")] = None
    invoker_http: Annotated[str | None, Option("Address of the invoker's HTTP interface.", "HOST:PORT")] = None
    invoker_credentials_file: Annotated[Path | None, Option("File with USER:PASSWORD for --invoker-http.", "F")] = None
    parameter_keys_file: Annotated[Path | None, Option("TOML or JSON file with the keys aes-128, aes-256.", "F")] = None
    launch_settings: Annotated[
        Path | None, Option("TOML or JSON file on containers and the [pool], for --standalone or --kafka.", "F")
    ] = None

    @property
    def wanted(self) -> bool:
        """Whether this process is to be an invoker. Raises InvalidInput for options that only an invoker has."""
        if self.kafka is not None or self.instance is not None:
            return True
        if self.unique_name is not None:
            raise InvalidInput("--unique-name needs --id N: ZooKeeper does not assign ids")
        for field in fields(self):
            if field.name not in _OF_STANDALONE_TOO and getattr(self, field.name) not in (None, ()):
                raise InvalidInput(f"--{field.name.replace('_', '-')} needs --kafka")
        return False

    def invoker(
        self,
        runtimes: Path | None,
        environment: Mapping[str, str] = os.environ,
        *,
        folder: Path | None = None,
        lease: Lease | None = None,
    ) -> KafkaInvoker:
        """`folder`: the framework's state; `lease`: with --ha. Logs which of OpenWhisk's own settings are ignored.
        Raises InvalidInput."""
        try:
            import cryptography  # noqa: F401
            import kafka  # noqa: F401
        except ImportError:
            raise InvalidInput(_INSTALL) from None
        from owmesos.invoker.kafka import KafkaInvoker
        from owmesos.openwhisk.whisk_config import WhiskConfig

        config = WhiskConfig(environment)
        invoker = KafkaInvoker(self.settings(runtimes, config, environment), folder, lease)
        ignored = config.ignored()
        if ignored:
            hint = " (give --master and --role)" if any(name in ignored for name in _OF_THE_FRAMEWORK) else ""
            _log.info("OpenWhisk settings ignored%s: %s", hint, ", ".join(ignored))
        return invoker

    def settings(
        self, runtimes: Path | None, config: WhiskConfig, environment: Mapping[str, str] = os.environ
    ) -> InvokerSettings:
        """Raises InvalidInput."""
        from owmesos.invoker.extension import DRAIN
        from owmesos.invoker.kafka_settings import InvokerSettings
        from owmesos.openwhisk.messages import invoker_id
        from owmesos.openwhisk.sizes import MAX_USER_MEMORY, parse_megabytes
        from owmesos.openwhisk.whisk_config import forced_completion, payload_limits

        if self.instance is None:
            raise InvalidInput(
                "--kafka needs --id N, a number that no other invoker has: ZooKeeper does not assign ids"
            )
        memory = parse_megabytes(self.user_memory) if self.user_memory is not None else None
        memory = _first(memory, config.read("container-pool.user-memory", parse_megabytes), MAX_USER_MEMORY)
        launches, pool = self.containers(config)
        payload = payload_limits(config)
        return InvokerSettings(
            invoker=invoker_id(
                self.instance,
                user_memory=memory,
                tags=self.tag,
                dedicated_namespaces=self.dedicated_namespace,
                unique_name=self.unique_name,
                displayed_name=self.displayed_name,
            ),
            broker=self._broker(config, payload),
            couch=self.couch(config, environment),
            manifest=_manifest(runtimes, config),
            launches=launches,
            pool=pool,
            feed=self._feed(),
            forced=forced_completion(config),
            http=self.http(config),
            user_events=_first(self.user_events, config.flag("user-events.enabled"), False),
            drain=_first(self.drain, DRAIN),
            ciphers=self.ciphers(config),
            payload=payload,
        )

    def _broker(self, config: WhiskConfig, payload: PayloadLimits) -> Broker:
        from owmesos.openwhisk.kafka.broker import Broker, parse_hosts

        hosts = self.kafka or config.variable("KAFKA_HOSTS")
        if hosts is None:
            raise InvalidInput("--id needs --kafka HOST:PORT")
        return Broker(
            hosts=parse_hosts(hosts),
            prefix=_first(self.topic_prefix, config.text("kafka.topics.prefix"), ""),
            event_prefix=_first(self.event_prefix, config.text("kafka.topics.user-event.prefix"), ""),
            replication_factor=_first(config.number("kafka.replication-factor"), 1),
            max_message=payload.max_message,
            access=self.kafka_access(config),
        )

    def kafka_access(self, config: WhiskConfig) -> KafkaAccess:
        """TLS and login. Raises InvalidInput."""
        from owmesos.openwhisk.kafka.access import KafkaAccess

        protocol, file = config.text("kafka.common.security-protocol"), self.kafka_settings
        settings = {"security_protocol": protocol} if protocol is not None else {}
        if file is not None:
            settings |= read_table(file, private=True)
        try:
            return KafkaAccess(settings)
        except InvalidInput as error:
            raise InvalidInput(f"{file or 'CONFIG_whisk_kafka_common_securityProtocol'}: {error}") from None

    def _feed(self) -> FeedSettings:
        from owmesos.openwhisk.kafka.feed_settings import Delivery, FeedSettings

        usual = FeedSettings()
        weight = self.max_activation_mb
        return FeedSettings(
            max_count=_first(self.max_activations, usual.max_count),
            max_weight=weight * 2**20 if weight is not None else usual.max_weight,
            delivery=Delivery(self.delivery) if self.delivery is not None else usual.delivery,
        )

    def couch(self, config: WhiskConfig, environment: Mapping[str, str]) -> CouchSettings:
        from owmesos.invoker.kafka_settings import CouchSettings
        from owmesos.openwhisk.whisk_config import couch_databases, couch_url

        named = couch_url(config)
        url = self.couchdb or named
        if url is None:
            raise InvalidInput("--kafka needs --couchdb URL, for actions and activation records")
        user, password = config.text("couchdb.username"), config.text("couchdb.password")
        secret = environment.get(COUCHDB_PASSWORD) or None
        if self.couchdb_password_file is not None:
            secret = read_private(self.couchdb_password_file)
        return CouchSettings(
            url=url,
            user=self.couchdb_user or user,
            password=secret or password,
            databases=couch_databases(config, self.couchdb_prefix),
        )

    def ciphers(self, config: WhiskConfig) -> dict[str, Decrypt]:
        from owmesos.openwhisk.ciphers import ciphers

        config.text("parameter-storage.current")  # only the Controller encrypts
        named = {"aes-128": config.text("parameter-storage.aes128"), "aes-256": config.text("parameter-storage.aes256")}
        keys: dict[str, Any] = {name: key for name, key in named.items() if key is not None}
        if self.parameter_keys_file is not None:
            keys |= read_table(self.parameter_keys_file, private=True)
        if not all(isinstance(key, str) for key in keys.values()):
            raise InvalidInput("parameter keys must be strings in base64")
        return ciphers(keys)

    def http(self, config: WhiskConfig) -> HttpSettings | None:
        from owmesos.invoker.kafka_settings import HttpSettings

        user, password = config.text("invoker.username"), config.text("invoker.password")
        if self.invoker_http is None:
            return None
        host, port, scheme = Endpoint.parse(self.invoker_http)
        if scheme == "https":
            raise InvalidInput(
                f"--invoker-http {self.invoker_http}: it has no TLS; serve it on loopback, behind a proxy that has"
            )
        if self.invoker_credentials_file is not None:
            user, _, password = read_private(self.invoker_credentials_file).partition(":")
        if not user or not password:
            raise InvalidInput("--invoker-http needs --invoker-credentials-file: USER:PASSWORD on one line")
        return HttpSettings(host=host, port=port, user=user, password=password)

    def containers(self, config: WhiskConfig) -> tuple[LaunchSettings, PoolSettings]:
        """How containers are launched, and the pool's settings. Raises InvalidInput."""
        import msgspec

        from owmesos.core.pool.settings import PoolSettings
        from owmesos.openwhisk.container_specs import LaunchSettings
        from owmesos.openwhisk.whisk_config import launch_fields, pool_fields

        file = self.launch_settings
        table = read_table(file) if file is not None else {}
        of_pool = table.pop("pool", {})
        where = f"{file}: " if file is not None else ""
        known = set(PoolSettings.__struct_fields__) - {"constraints", "blackbox_constraints"}
        if not isinstance(of_pool, dict) or {name.replace("-", "_") for name in of_pool} - known:
            names = ", ".join(sorted(name.replace("_", "-") for name in known))
            raise InvalidInput(f"{where}[pool] has unknown settings; known settings: {names}")
        pool = pool_fields(config) | {name.replace("-", "_"): value for name, value in of_pool.items()}
        if self.pressure_after is not None:
            pool["pressure_after"] = self.pressure_after
        try:
            launches = msgspec.convert(launch_fields(config) | table, LaunchSettings)
            settings = msgspec.convert(pool, PoolSettings)
        except NOT_READABLE as error:
            raise InvalidInput(f"{where}{error}") from None
        if launches.network == "host":
            _log.warning(_HOST_NETWORK)
        return launches, settings


def _first(*values: Any) -> Any:
    """The first that is not None."""
    return next(value for value in values if value is not None)


def read_manifest(file: Path) -> Manifest:
    """OpenWhisk's runtimes manifest. Raises InvalidInput."""
    from owmesos.openwhisk.manifest import parse

    with os_errors_as_invalid_input(f"the runtimes manifest {file} cannot be read"):
        data = file.read_bytes()
    try:
        return parse(data)
    except InvalidInput as error:
        raise InvalidInput(f"{file}: {error}") from None


def _manifest(runtimes: Path | None, config: WhiskConfig) -> Manifest:
    """From the file, else from OpenWhisk's own variable, else the one that owmesos contains."""
    from owmesos.openwhisk.embedded_manifest import embedded_manifest
    from owmesos.openwhisk.manifest import parse

    variable = config.variable("RUNTIMES_MANIFEST")
    if runtimes is not None:
        manifest = read_manifest(runtimes)
    elif variable is not None:
        manifest = parse(variable)
    else:
        manifest = embedded_manifest()
    local = config.text("runtimes.local-image-prefix")
    return manifest.with_defaults(
        prefix=config.text("runtimes.default-image-prefix"),
        tag=config.text("runtimes.default-image-tag"),
        local_prefix=local if config.flag("runtimes.bypass-pull-for-local-images") else None,
    )
