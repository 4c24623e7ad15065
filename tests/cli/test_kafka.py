"""`owmesos run --kafka`: what its options, files and OpenWhisk's variables come to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest

from owmesos.cli.kafka import KafkaOptions
from owmesos.cli.options import with_options
from owmesos.errors import InvalidInput
from owmesos.invoker.kafka_settings import InvokerSettings
from owmesos.openwhisk.kafka.feed_settings import Delivery
from owmesos.openwhisk.store.couch_entities import Databases
from owmesos.openwhisk.whisk_config import WhiskConfig
from tests.cli.running import owmesos

LOGIN = 'sasl_mechanism = "PLAIN"\nsasl_plain_username = "u"\nsasl_plain_password = "p"'
LEAST = ("--kafka", "broker:9092", "--couchdb", "http://couch:5984", "--id", "3")


@click.command()
@with_options
def command(*, kafka: KafkaOptions) -> KafkaOptions:
    return kafka


def options(*arguments: str) -> KafkaOptions:
    found: KafkaOptions = command.main(arguments, standalone_mode=False)
    return found


def settings(*arguments: str, runtimes: Path | None = None, **variables: str) -> InvokerSettings:
    return options(*arguments).settings(runtimes, WhiskConfig(variables), variables)


def refused(*arguments: str, **variables: str) -> str:
    with pytest.raises(InvalidInput) as found:
        settings(*arguments, **variables)
    return str(found.value)


def private(file: Path, content: str) -> str:
    file.write_text(content)
    file.chmod(0o600)
    return str(file)


# -- what is given


def test_three_options_make_an_invoker() -> None:
    found = settings(*LEAST)
    assert found.broker.hosts == ("broker:9092",)
    assert found.broker.invoker_topic(found.invoker.instance).name == "invoker3"
    assert (found.couch.url, found.couch.user, found.couch.databases) == ("http://couch:5984", None, Databases())
    assert found.invoker.user_memory == "2147483647 MB"
    assert (found.invoker.tags, found.invoker.dedicated_namespaces) == ((), ())
    assert found.feed.delivery is Delivery.AT_MOST_ONCE
    assert found.pool.pressure_after is None
    assert found.http is None
    assert "python:3" in found.manifest.kinds


def test_all_that_can_be_given(tmp_path: Path) -> None:
    kafka = private(tmp_path / "kafka.toml", f'security_protocol = "SASL_SSL"\n{LOGIN}')
    launches = tmp_path / "launches.toml"
    launches.write_text('network = "host"\nconstraints = ["rack LIKE r1"]\n[pool]\nmax-starts = 7\n')
    runtimes = tmp_path / "runtimes.json"
    runtimes.write_text('{"runtimes": {"ruby": [{"kind": "ruby:3", "image": {"name": "ruby"}}]}}')
    found = settings(
        *("--kafka", "a:1,b:2", "--couchdb", "https://couch/", "--id", "0"),
        *("--unique-name", "u", "--displayed-name", "d", "--delivery", "at-least-once", "--drain", "5"),
        *("--couchdb-user", "who", "--couchdb-password-file", private(tmp_path / "couch", "secret\n")),
        *("--couchdb-prefix", "p_", "--kafka-settings", kafka, "--topic-prefix", "t-", "--event-prefix", "e-"),
        *("--user-memory", "2 GB", "--tag", "x", "--tag", "y", "--dedicated-namespace", "guest"),
        *("--max-activations", "9", "--max-activation-mb", "2", "--pressure-after", "4", "--user-events"),
        *("--invoker-http", "0.0.0.0:8080", "--invoker-credentials-file", private(tmp_path / "http", "u:p:q\n")),
        *("--launch-settings", str(launches)),
        runtimes=runtimes,
    )
    assert found.broker.hosts == ("a:1", "b:2")
    assert (found.broker.prefix, found.broker.event_prefix) == ("t-", "e-")
    access = found.broker.access.settings
    assert (access["security_protocol"], access["sasl_plain_password"]) == ("SASL_SSL", "p")
    assert str(found.invoker) == "invoker0/u/d"
    assert found.invoker.user_memory == "2048 MB"
    assert (found.invoker.tags, found.invoker.dedicated_namespaces) == (("x", "y"), ("guest",))
    assert (found.couch.user, found.couch.password) == ("who", "secret")
    assert found.couch.databases == Databases("p_whisks", "p_activations", "p_subjects")
    assert (found.feed.max_count, found.feed.max_weight) == (9, 2 * 2**20)
    assert found.feed.delivery is Delivery.AT_LEAST_ONCE
    assert (found.pool.pressure_after, found.pool.max_starts) == (4.0, 7)
    assert (found.launches.network, found.launches.constraints) == ("host", ("rack LIKE r1",))
    assert found.http is not None
    assert (found.http.host, found.http.port, found.http.user, found.http.password) == ("0.0.0.0", 8080, "u", "p:q")
    assert (found.user_events, found.drain) == (True, 5.0)
    assert found.manifest.kinds == ["ruby:3"]


def test_openwhisks_own_variables_come_last() -> None:
    variables = {
        "KAFKA_HOSTS": "kafka0:9093,kafka1:9093",
        "CONFIG_whisk_kafka_topics_prefix": "of-env-",
        "CONFIG_whisk_kafka_topics_userEvent_prefix": "events-",
        "CONFIG_whisk_kafka_replicationFactor": "3",
        "CONFIG_whisk_kafka_common_securityProtocol": "SSL",
        "CONFIG_whisk_couchdb_protocol": "http",
        "CONFIG_whisk_couchdb_host": "db",
        "CONFIG_whisk_couchdb_port": "5984",
        "CONFIG_whisk_couchdb_username": "whisk_admin",
        "CONFIG_whisk_couchdb_password": "some_passw0rd",
        "CONFIG_whisk_couchdb_databases_WhiskEntity": "w_whisks",
        "CONFIG_whisk_containerPool_userMemory": "2048m",
        "CONFIG_whisk_userEvents_enabled": "true",
        "CONFIG_whisk_invoker_username": "invoker.user",
        "CONFIG_whisk_invoker_password": "invoker.pass",
        "CONFIG_whisk_mesos_constraints_0": "rack LIKE r1",
        "CONFIG_whisk_runtimes_defaultImagePrefix": "openwhisk",
        "RUNTIMES_MANIFEST": json.dumps({"runtimes": {"ruby": [{"kind": "ruby:3", "image": {"name": "ruby"}}]}}),
    }
    found = settings("--id", "1", "--invoker-http", "127.0.0.1:0", **variables)
    assert found.broker.hosts == ("kafka0:9093", "kafka1:9093")
    assert (found.broker.prefix, found.broker.event_prefix) == ("of-env-", "events-")
    assert (found.broker.replication_factor, found.broker.access.settings["security_protocol"]) == (3, "SSL")
    assert (found.couch.url, found.couch.user, found.couch.password) == (
        "http://db:5984",
        "whisk_admin",
        "some_passw0rd",
    )
    assert found.couch.databases == Databases(actions="w_whisks")
    assert (found.invoker.user_memory, found.user_events) == ("2048 MB", True)
    assert found.http is not None
    assert (found.http.user, found.http.password) == ("invoker.user", "invoker.pass")
    assert found.launches.constraints == ("rack LIKE r1",)
    assert str(found.manifest.runtime("ruby:3").image) == "openwhisk/ruby"
    flags = ("--topic-prefix", "", "--no-user-events", "--user-memory", "1 GB", "--couchdb", "http://other:1")
    found = settings("--id", "1", "--kafka", "own:1", *flags, **variables)
    assert (found.broker.hosts, found.broker.prefix) == (("own:1",), "")
    assert (found.user_events, found.invoker.user_memory) == (False, "1024 MB")
    assert found.couch.url == "http://other:1"


def test_the_password_of_the_environment_comes_before_openwhisks() -> None:
    variables = {"OWMESOS_COUCHDB_PASSWORD": "ours", "CONFIG_whisk_couchdb_password": "theirs"}
    assert settings(*LEAST, **variables).couch.password == "ours"


def test_what_of_openwhisk_has_no_effect_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    variables = {"CONFIG_whisk_mesos_masterUrl": "http://m:5050", "CONFIG_whisk_containerPool_akkaClient": "true"}
    with caplog.at_level("INFO", "owmesos.run"):
        options(*LEAST).invoker(None, variables)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line == (
        "OpenWhisk settings ignored (give --master and --role): "
        "CONFIG_whisk_containerPool_akkaClient, CONFIG_whisk_mesos_masterUrl"
    )


# -- what is wrong


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--kafka", "broker:1", "--couchdb", "http://c"), "--kafka needs --id N"),
        (("--kafka", "broker:1", "--id", "0"), "--kafka needs --couchdb URL"),
        (("--couchdb", "http://c", "--id", "0"), "--id needs --kafka HOST:PORT"),
        ((*LEAST[:1], "broker", *LEAST[2:]), "'broker' is not the HOST:PORT of a Kafka broker"),
        ((*LEAST, "--user-memory", "much"), "'much' is not a size"),
        ((*LEAST, "--invoker-http", "127.0.0.1:0"), "--invoker-http needs --invoker-credentials-file"),
        ((*LEAST, "--invoker-http", "https://h:1"), "--invoker-http https://h:1: it has no TLS; serve it on loopback"),
        ((*LEAST, "--launch-settings", "/nowhere.toml"), "/nowhere.toml cannot be read: No such file"),
    ],
)
def test_what_is_missing_or_wrong(arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(*arguments)


AES = "YSBrZXkgb2YgMTYgYnl0ZQ=="


@pytest.mark.parametrize("by", ["file", "variable"])
def test_keys_of_encrypted_parameters(tmp_path: Path, by: str) -> None:
    if by == "file":
        file = private(tmp_path / "keys.toml", f'"aes-128" = "{AES}"')
        found = settings(*LEAST, "--parameter-keys-file", file)
    else:
        variables = {"CONFIG_whisk_parameterStorage_aes128": AES, "CONFIG_whisk_parameterStorage_current": "aes-128"}
        found = settings(*LEAST, **variables)
    assert set(found.ciphers) == {"noop", "aes-128"}


@pytest.mark.parametrize(
    ("content", "says"),
    [("aes-128 = 1", "must be strings in base64"), ('aes-192 = "AAAA"', "unknown cipher 'aes-192'")],
)
def test_keys_that_cannot_be_used(tmp_path: Path, content: str, says: str) -> None:
    assert says in refused(*LEAST, "--parameter-keys-file", private(tmp_path / "keys.toml", content))


def test_keys_that_others_can_read(tmp_path: Path) -> None:
    file = tmp_path / "keys.toml"
    file.write_text(f'aes-128 = "{AES}"')
    file.chmod(0o644)
    assert "can be read by others" in refused(*LEAST, "--parameter-keys-file", str(file))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('netwerk = "host"', "unknown field `netwerk`"),
        ("[pool]\nmax-start = 1", "[pool] has unknown settings; known settings: cpus-per-gb, drain-after"),
        ('[pool]\nmax-starts = "many"', "Expected `int`, got `str`"),
        ("= 1", "is not valid TOML"),
    ],
)
def test_launch_settings_that_cannot_be_used(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "launches.toml"
    file.write_text(content)
    said = refused(*LEAST, "--launch-settings", str(file))
    assert says in said
    assert str(file) in said


def test_kafkas_settings_are_for_their_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "kafka.json"
    login = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN", "sasl_plain_username": "u"}
    file.write_text(json.dumps({**login, "sasl_plain_password": "p"}))
    assert "chmod 600" in refused(*LEAST, "--kafka-settings", str(file))
    file.chmod(0o600)
    assert settings(*LEAST, "--kafka-settings", str(file)).broker.access.settings["sasl_plain_password"] == "p"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('bootstrap_servers = "x"', "bootstrap_servers is not a setting"),
        ('ssl_ciphers = "x"', "ssl_ciphers is not a setting"),
        ("ssl_cafile = 5", "ssl_cafile must be a string"),
        ('ssl_check_hostname = "no"', "ssl_check_hostname must be true or false"),
        ('security_protocol = "TLS"', "security_protocol 'TLS' is unknown: write PLAINTEXT, SSL"),
        ('security_protocol = "SASL_SSL"', "security_protocol SASL_SSL needs sasl_mechanism"),
        ('security_protocol = "SASL_SSL"\nsasl_mechanism = "PLIAN"', "sasl_mechanism 'PLIAN' is unknown"),
        ('security_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"', "PLAIN needs sasl_plain_username"),
        ('security_protocol = "SSL"\nssl_cafile = "/nowhere"', "ssl_cafile /nowhere cannot be used: No such file"),
        ('security_protocol = "SSL"\nssl_certfile = "/no.pem"', "cannot be used: /no.pem: No such file"),
        ('security_protocol = "SSL"\nssl_crlfile = "/no.crl"', "ssl_crlfile /no.crl cannot be used: No such file"),
        ("= 1", "is not valid TOML"),
    ],
)
def test_kafkas_settings_that_cannot_be_used(tmp_path: Path, content: str, says: str) -> None:
    file = private(tmp_path / "kafka.toml", content)
    said = refused(*LEAST, "--kafka-settings", file)
    assert says in said
    assert said.startswith(file)


def test_a_name_alone_makes_no_invoker() -> None:
    with pytest.raises(InvalidInput, match="--unique-name needs --id N"):
        _ = options("--unique-name", "u").wanted


@pytest.mark.parametrize("given", [("--couchdb", "http://c"), ("--tag", "x"), ("--no-user-events",)])
def test_options_of_an_invoker_need_one(given: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=f"{given[0].replace('--no-', '--')} needs --kafka"):
        _ = options(*given).wanted


def test_without_any_it_is_none() -> None:
    assert options().wanted is False


RUN = ("run", "--master", "127.0.0.1:1", "--admin", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--kafka", "b:1", "--couchdb", "http://user:secret@c", "--id", "0"), "give CouchDB's credentials by"),
        ((*LEAST, "--standalone"), "give --standalone or --kafka, not both"),
        (("--kafka", "b:1", "--couchdb", "ftp://c", "--id", "0"), "CouchDB's URL must be http://HOST:PORT"),
        (("--id", "-1"), "not in the range"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    ran = owmesos(*RUN, "--state", str(tmp_path / "state"), *arguments)
    assert (ran.code, says in ran.line) == (2, True), ran
    assert "secret" not in ran.line.replace("password", "")


def test_credentials_in_the_variable_are_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found: dict[str, Any] = {}
    monkeypatch.setenv("OWMESOS_COUCHDB", "http://user:secret@couch:5984")
    monkeypatch.setattr(KafkaOptions, "invoker", lambda self, *given, **more: found.update(url=self.couchdb) or _stop())
    ran = owmesos(*RUN, "--state", str(tmp_path / "state"), "--kafka", "b:1", "--id", "0")
    assert "stopped here" in ran.line
    assert found["url"] == "http://user:secret@couch:5984"


def _stop() -> None:
    raise InvalidInput("stopped here")
