"""OpenWhisk's own settings by the variables that its containers get."""

from __future__ import annotations

import pytest

from owmesos.errors import InvalidInput
from owmesos.openwhisk.limits import ForcedCompletion
from owmesos.openwhisk.store.couch_entities import Databases
from owmesos.openwhisk.whisk_config import (
    WhiskConfig,
    couch_databases,
    couch_url,
    forced_completion,
    launch_fields,
    pool_fields,
)

INVOKER = {
    "KAFKA_HOSTS": "kafka0:9093",
    "WHISK_API_HOST_PROTO": "https",
    "WHISK_API_HOST_PORT": "443",
    "WHISK_API_HOST_NAME": "172.17.0.1",
    "CONFIG_whisk_couchdb_protocol": "https",
    "CONFIG_whisk_couchdb_host": "db.example",
    "CONFIG_whisk_couchdb_port": "6984",
    "CONFIG_whisk_couchdb_databases_WhiskAuth": "whisk_local_subjects",
    "CONFIG_whisk_couchdb_databases_WhiskEntity": "whisk_local_whisks",
    "CONFIG_whisk_containerFactory_containerArgs_network": "bridge",
    "CONFIG_whisk_containerFactory_containerArgs_dnsServers_0": "10.0.0.1",
    "CONFIG_whisk_containerFactory_containerArgs_dnsServers_1": "10.0.0.2",
    "CONFIG_whisk_containerFactory_containerArgs_extraEnvVars_0": "A=b=c",
    "CONFIG_whisk_containerFactory_containerArgs_extraArgs_tmpfs_0": "/tmp",
    "CONFIG_whisk_containerFactory_runtimesRegistry_url": "registry.example",
    "CONFIG_whisk_mesos_constraints": '["rack LIKE r1", "zone UNLIKE z[12]"]',
    "CONFIG_whisk_mesos_timeouts_taskLaunch": "90 seconds",
    "CONFIG_whisk_mesos_healthCheck_interval": "2 s",
    "CONFIG_whisk_mesos_teardownOnExit": "true",
    "CONFIG_whisk_containerPool_clusterManagedResourceMaxStarts": "40",
    "CONFIG_whisk_containerPool_clusterManagedIdleGrace": "5 minutes",
    "CONFIG_whisk_containerProxy_timeouts_idleContainer": "600000",
    "CONFIG_whisk_containerProxy_timeouts_pauseGrace": "10 s",
    "CONFIG_akka_remote": "no setting of whisk's",
}


def test_an_invokers_environment_is_taken_over() -> None:
    config = WhiskConfig(INVOKER)
    assert couch_url(config) == "https://db.example:6984"
    assert couch_databases(config, None) == Databases("whisk_local_whisks", "activations", "whisk_local_subjects")
    assert launch_fields(config) == {
        "constraints": ("rack LIKE r1", "zone UNLIKE z[12]"),
        "task-launch": 90.0,
        "health-check": {"interval": 2.0},
        "network": "bridge",
        "dns-servers": ("10.0.0.1", "10.0.0.2"),
        "extra-args": {"tmpfs": ("/tmp",)},
        "extra-env-vars": {"A": "b=c"},
        "registry": "registry.example",
        "api-host": "https://172.17.0.1:443",
    }
    assert pool_fields(config) == {"max_starts": 40, "idle_grace": 300.0, "idle_timeout": 600.0}
    assert config.ignored() == [
        "CONFIG_whisk_containerProxy_timeouts_pauseGrace",
        "CONFIG_whisk_mesos_teardownOnExit",
    ]


def test_nothing_is_set_where_nothing_is_said() -> None:
    config = WhiskConfig({"PATH": "/bin", "CONFIG_whisk_couchdb_host": ""})
    assert couch_url(config) is None
    assert couch_databases(config, None) == Databases()
    assert launch_fields(config) == {}
    assert pool_fields(config) == {}
    assert config.ignored() == []


def test_a_prefix_of_our_own_comes_before_the_databases_names() -> None:
    assert couch_databases(WhiskConfig(INVOKER), "p_") == Databases("p_whisks", "p_activations", "p_subjects")


@pytest.mark.parametrize(
    ("value", "means"), [("a", ("a",)), ('["a", "b"]', ("a", "b")), ('[a, "b c"]', ("a", "b c")), ("[]", ())]
)
def test_lists(value: str, means: tuple[str, ...]) -> None:
    assert WhiskConfig({"CONFIG_whisk_mesos_constraints": value}).texts("mesos.constraints") == means


@pytest.mark.parametrize(
    ("value", "seconds"), [("10.5 minutes", 630.0), ("2.5s", 2.5), ("600000", 600.0), ("1 m", 60.0)]
)
def test_times(value: str, seconds: float) -> None:
    config = WhiskConfig({"CONFIG_whisk_containerProxy_timeouts_idleContainer": value})
    assert pool_fields(config) == {"idle_timeout": seconds}


def test_more_than_ten_of_a_list_keep_their_order() -> None:
    variables = {f"CONFIG_whisk_mesos_constraints_{number}": str(number) for number in range(12)}
    assert WhiskConfig(variables).texts("mesos.constraints") == tuple(map(str, range(12)))


def test_a_variable_may_stand_for_another() -> None:
    config = WhiskConfig({"CONFIG_whisk_couchdb_password": "$DB_PASSWORD", "DB_PASSWORD": "secret"})
    assert config.text("couchdb.password") == "secret"


@pytest.mark.parametrize(("value", "means"), [("true", True), ("off", False), ("Yes", True)])
def test_truth(value: str, means: bool) -> None:
    assert WhiskConfig({"CONFIG_whisk_userEvents_enabled": value}).flag("user-events.enabled") is means


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("CONFIG_whisk_couchdb_port", "none", "is not a whole number"),
        ("CONFIG_whisk_mesos_timeouts_taskLaunch", "soon", "is not a duration"),
        ("CONFIG_whisk_containerFactory_containerArgs_extraEnvVars_0", "A", "is not NAME=VALUE"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str, says: str) -> None:
    config = WhiskConfig({"CONFIG_whisk_couchdb_host": "db", name: value})
    with pytest.raises(InvalidInput, match=says) as found:
        (couch_url(config), launch_fields(config))
    assert name.removesuffix("_0") in str(found.value)


def test_the_controllers_patience_is_read_as_it_reads_it() -> None:
    assert forced_completion(WhiskConfig({})) == ForcedCompletion(factor=2, addon=60.0)
    for text, addon in (("1m", 60.0), ("90 seconds", 90.0), ("2 minutes", 120.0), ("5000", 5.0), ("500 ms", 0.5)):
        config = WhiskConfig(
            {"CONFIG_whisk_loadbalancer_timeoutFactor": "3", "CONFIG_whisk_loadbalancer_timeoutAddon": text}
        )
        assert forced_completion(config) == ForcedCompletion(factor=3, addon=addon)
        assert config.ignored() == []


@pytest.mark.parametrize(
    ("name", "text"),
    [("Factor", "-1"), ("Factor", "two"), ("Factor", "1001"), ("Addon", "-1"), ("Addon", "1 fortnight")],
)
def test_an_impossible_patience_is_refused_by_its_name(name: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"CONFIG_whisk_loadbalancer_timeout{name}: "):
        forced_completion(WhiskConfig({f"CONFIG_whisk_loadbalancer_timeout{name}": text}))
