"""The commands against a framework: what they print, and their exit codes."""

from __future__ import annotations

import asyncio
import csv
import io
from importlib.metadata import version

import pytest
import yaml

from owmesos.cli import columns
from owmesos.cli.client import AdminClient, AdminRequest
from owmesos.service.framework import Framework
from tests.cli.conftest import Ask
from tests.cli.running import SLEEP, Ran, owmesos
from tests.fakes.cluster import FakeCluster
from tests.waiting import eventually_async

TOO_MUCH = (*SLEEP, "--mem", "1800", "--constraint", "rack == r1")
LISTINGS = ("nodes", "offers", "reservations", "launches")


def table(ran: Ran) -> list[list[str]]:
    assert ran.code == 0, ran.err
    return [line.split() for line in ran.out.splitlines()]


def rows_of_tsv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE))


# -- launch, kill, teardown


async def test_launch_prints_the_launches_and_can_wait_until_they_run(ask: Ask, fake_cluster: FakeCluster) -> None:
    launches = (await ask(*SLEEP, "--count", "3", "--name", "web", "--wait", "running", "-o", "json")).json
    assert [launch["state"] for launch in launches] == ["RUNNING"] * 3
    assert {launch["name"] for launch in launches} == {"web"}
    assert sorted(fake_cluster.running()) == sorted(launch["task_id"] for launch in launches)


async def test_more_can_be_waited_for_than_one_request_names(ask: Ask) -> None:
    flags = ("--count", "250", "--cpus", "0.01", "--mem", "1", "--wait", "running", "-o", "json")
    assert {launch["state"] for launch in (await ask(*SLEEP, *flags)).json} == {"RUNNING"}


def test_what_has_ended_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be forgotten by then."""
    ids = [f"launch-{number}" for number in range(150)]
    shown: set[str] = set()
    ended: set[str] = set(ids[50:])  # those of the second request, and some of the first

    def ask_again(self: AdminClient, request: AdminRequest) -> object:
        assert request.parameters is not None
        asked = request.parameters["id"]
        assert not shown.intersection(asked), "404: forgotten"
        rows = [{"launch_id": each, "ended_at": 1.0 if each in ended else None} for each in asked]
        shown.update(ended.intersection(asked))
        if shown == ended:
            ended.update(ids)
        return rows

    monkeypatch.setattr(AdminClient, "ask_again", ask_again)
    rows = AdminClient.__new__(AdminClient).wait(ids, "ended")
    assert [row["launch_id"] for row in rows] == ids


async def test_ctrl_c_while_launches_are_waited_for_says_that_they_go_on(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: AdminClient, ids: list[str], until: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(AdminClient, "wait", interrupted)
    ran = await ask(*TOO_MUCH, "--wait", "running")
    (row,) = (await ask("launches", "-o", "json")).json
    says = f"owmesos launch: interrupted: launch {row['launch_id']} goes on; `owmesos kill {row['launch_id']}` ends it"
    assert (ran.code, ran.line) == (130, says)
    assert "interrupted: 2 launches go on, " in (await ask(*TOO_MUCH, "--count", "2", "--wait", "ended")).line


async def test_a_launch_that_waits_says_why_in_the_listing(ask: Ask) -> None:
    (launch,) = (await ask(*TOO_MUCH, "-o", "json")).json
    explained = (await ask("explain", launch["launch_id"], "-o", "json")).json
    (row,) = (await ask("launches", "-o", "json")).json
    assert row["summary"] == explained["summary"]
    assert "1 lacks memory" in (await ask("launches")).out


async def test_launches_can_be_chosen_and_the_latest_come_first(ask: Ask) -> None:
    for name in ("web", "db", "web"):
        await ask(*SLEEP, "--name", name, "--wait", "running")
    await ask(*TOO_MUCH, "--name", "web")
    rows = (await ask("launches", "-o", "json")).json
    assert [row["name"] for row in rows] == ["web", "web", "db", "web"]
    assert rows[0]["state"] == "PENDING"
    running = (await ask("launches", "--state", "running", "--name", "web", "--limit", "1", "-o", "json")).json
    assert running == [rows[1]]
    assert (await ask("launches", "--unreadable", "--limit", "1")).line == (
        "owmesos launches: give either --unreadable or --limit (see owmesos launches --help)"
    )


async def test_a_name_or_the_beginning_of_an_id_stands_for_a_launch(ask: Ask, framework: Framework) -> None:
    (db,) = (await ask(*SLEEP, "--name", "db", "--wait", "running", "-o", "json")).json
    webs = (await ask(*SLEEP, "--name", "web", "--count", "2", "--wait", "running", "-o", "json")).json
    assert (await ask("story", "db", "-o", "json")).json["launch_id"] == db["launch_id"]
    assert (await ask("explain", webs[0]["launch_id"][:-2], "-o", "json")).json["launch_id"] == webs[0]["launch_id"]
    ambiguous = (await ask("kill", "db", "web")).line
    assert ambiguous.startswith("owmesos kill: web is ambiguous: ")
    assert all(f"{row['launch_id']} (RUNNING)" in ambiguous for row in webs)
    assert {row["state"] for row in (await ask("launches", "-o", "json")).json} == {"RUNNING"}
    assert (await ask("kill", "db", "-o", "json")).json[0]["launch_id"] == db["launch_id"]
    (again,) = (await ask(*SLEEP, "--name", "db", "--wait", "running", "-o", "json")).json
    await eventually_async(lambda: framework.launches([db["launch_id"]])[0]["ended_at"])
    assert (await ask("explain", "db", "-o", "json")).json["launch_id"] == again["launch_id"]


async def test_without_a_master_the_listings_say_since_when(
    ask: Ask, framework: Framework, fake_cluster: FakeCluster
) -> None:
    await ask(*TOO_MUCH)
    await fake_cluster.master.stop()
    await eventually_async(lambda: not framework.subscribed)
    for command in ("nodes", "launches"):
        assert "not connected to a master since 20" in (await ask(command)).out


async def test_launch_without_a_wait_answers_at_once(ask: Ask) -> None:
    (launch,) = (await ask(*TOO_MUCH, "-o", "json")).json
    assert launch["state"] == "PENDING"


async def test_every_flag_reaches_the_task(ask: Ask, framework: Framework, fake_cluster: FakeCluster) -> None:
    flags = (
        *("--cpus", "0.5", "--mem", "128", "--disk", "10", "--ports", "2", "--constraint", "rack LIKE r[12]"),
        *("--constraint", "@hostname != node1", "--env", "A=b=c", "--env", "B=", "--label", "k=v", "--uri", "http://x"),
        *("--user", "nobody", "--kill-grace", "2", "--deadline", "20", "--image", "busybox", "--network", "bridge"),
        *("--force-pull", "--docker-parameter", "dns=1.1.1.1", "--container-port", "80"),
    )
    (launch,) = (await ask(*SLEEP, *flags, "--wait", "running", "-o", "json")).json
    assert (launch["hostname"], len(launch["resources"]["ports"])) == ("node2", 1)
    record = framework.record(launch["launch_id"])
    assert record.deadline_at - record.submitted_at == 20
    info = fake_cluster.info_of(launch["task_id"])
    docker = info["container"]["docker"]
    variables = {each["name"]: each["value"] for each in info["command"]["environment"]["variables"]}
    assert (docker["image"], docker["network"], docker["force_pull_image"]) == ("busybox", "BRIDGE", True)
    assert docker["port_mappings"][0]["container_port"] == 80
    assert docker["parameters"] == [{"key": "dns", "value": "1.1.1.1"}, {"key": "user", "value": "nobody"}]
    assert (variables["A"], variables["B"], variables["OWMESOS_LAUNCH_ID"]) == ("b=c", "", launch["launch_id"])
    assert info["labels"] == {"labels": [{"key": "k", "value": "v"}]}
    assert info["command"]["user"] == "nobody"
    assert info["command"]["uris"] == [{"value": "http://x"}]
    assert info["kill_policy"]["grace_period"] == {"nanoseconds": 2_000_000_000}


async def test_launch_waits_for_the_end(ask: Ask, fake_cluster: FakeCluster) -> None:
    waiting = asyncio.create_task(ask(*SLEEP, "--count", "2", "--wait", "ended", "-o", "json"))
    await eventually_async(lambda: len(fake_cluster.running()) == 2)
    for task_id in fake_cluster.running():
        await fake_cluster.update(task_id, "TASK_FINISHED")
    assert [launch["state"] for launch in (await waiting).json] == ["FINISHED", "FINISHED"]


async def test_one_that_fails_is_exit_code_1_and_all_are_printed(ask: Ask, fake_cluster: FakeCluster) -> None:
    waiting = asyncio.create_task(ask(*SLEEP, "--count", "2", "--wait", "ended", "-o", "json"))
    await eventually_async(lambda: len(fake_cluster.running()) == 2)
    good, bad = fake_cluster.running()
    await fake_cluster.update(good, "TASK_FINISHED")
    await fake_cluster.update(bad, "TASK_FAILED", "exit status 3")
    ran = await waiting
    assert ran.code == 1
    assert [launch["state"] for launch in yaml.safe_load(ran.out)] == ["FINISHED", "FAILED"]
    assert ran.err == f"owmesos launch: 1 of 2 failed: {bad.rpartition('.')[0]} is FAILED: exit status 3\n"


async def test_one_that_does_not_run_in_time_is_exit_code_1(ask: Ask) -> None:
    ran = await ask(*TOO_MUCH, "--deadline", "0.2", "--wait", "running")
    assert ran.code == 1
    assert "lacks memory" in ran.err
    assert "FAILED" in ran.out


async def test_a_launch_larger_than_any_agent_is_refused(ask: Ask) -> None:
    ran = await ask(*SLEEP, "--mem", "100000", "--wait", "running")
    assert ran.code == 1
    assert "larger than any agent" in ran.err


async def test_kill_by_launch_and_task_id(ask: Ask, fake_cluster: FakeCluster) -> None:
    launches = (await ask(*SLEEP, "--count", "3", "--wait", "running", "-o", "json")).json
    killed = (await ask("kill", launches[0]["launch_id"], launches[1]["task_id"], "-o", "json")).json
    assert [launch["launch_id"] for launch in killed] == [launch["launch_id"] for launch in launches[:2]]
    await eventually_async(lambda: fake_cluster.running() == [launches[2]["task_id"]])


async def test_kill_says_which_ids_are_unknown_and_kills_the_others(ask: Ask, fake_cluster: FakeCluster) -> None:
    (launch,) = (await ask(*SLEEP, "--wait", "running", "-o", "json")).json
    ran = await ask("kill", "nothing", launch["launch_id"], "neither", "-o", "json")
    assert ran.code == 1
    assert ran.err == "owmesos kill: 2 of 3 are not killed: unknown launch or task nothing, neither\n"
    rows = ran.document
    assert [row["outcome"] for row in rows] == ["unknown", "killing", "unknown"]
    assert (rows[0]["state"], rows[1]["launch_id"]) == (None, launch["launch_id"])
    await eventually_async(lambda: fake_cluster.running() == [])
    for style in ("table", "tsv", "yaml"):
        ran = await ask("kill", "nothing", launch["launch_id"], "-o", style)
        assert (ran.code, "ended" in ran.out) == (1, True)


async def test_kill_by_name_by_state_and_all(ask: Ask, fake_cluster: FakeCluster) -> None:
    for name in ("one", "two"):
        await ask(*SLEEP, "--name", name, "--wait", "running")
        await ask(*TOO_MUCH, "--name", name)

    async def killed(*options: str) -> list[str]:
        return [f"{row['name']} {row['outcome']}" for row in (await ask("kill", *options, "-o", "json")).json]

    assert await killed("--name", "one", "--state", "pending") == ["one killed"]
    assert await killed("--state", "RUNNING", "--name", "two") == ["two killing"]
    assert await killed("--name", "one") == ["one killing"]
    await eventually_async(lambda: fake_cluster.running() == [])
    assert await killed("--all") == ["two killed"]
    assert await killed("--all") == []


@pytest.mark.parametrize(("style", "start"), [("json", "{"), ("yaml", "framework_id: "), ("tsv", "framework_id\n")])
async def test_teardown(ask: Ask, framework: Framework, style: str, start: str) -> None:
    framework_id = str(framework.framework_id)
    ran = await ask("teardown", "-o", style)
    assert ran.code == 0
    assert ran.out.startswith(start)
    assert framework_id in ran.out


# -- listings, in every form


@pytest.mark.parametrize("name", LISTINGS)
async def test_json_yaml_and_tsv_say_the_same(ask: Ask, name: str) -> None:
    await ask(*SLEEP, "--ports", "1", "--wait", "running")
    await ask(*TOO_MUCH)
    rows = (await ask(name, "-o", "json")).json
    listing = getattr(columns, name.upper())
    assert all(list(row) == list(listing.fields) for row in rows)
    again = yaml.safe_load((await ask(name, "-o", "yaml")).out)
    assert [list(row) for row in again] == [list(row) for row in rows]
    lines = rows_of_tsv((await ask(name, "-o", "tsv")).out)
    assert len(lines) == len(rows)
    assert all(line["agent_id"] == (row["agent_id"] or "") for line, row in zip(lines, rows, strict=True))


@pytest.mark.parametrize("name", LISTINGS)
async def test_tables_fit_a_window(ask: Ask, name: str) -> None:
    await ask(*SLEEP, "--count", "2", "--ports", "1", "--wait", "running")
    ran = await ask(name)
    assert all(len(line) <= 100 for line in ran.out.splitlines())
    assert all(line == line.rstrip() for line in ran.out.splitlines())


async def test_the_table_of_nodes(ask: Ask) -> None:
    await ask(*SLEEP, "--cpus", "0.5", "--mem", "320", "--wait", "running")
    heading, first, second = table(await ask("nodes"))
    assert " ".join(heading) == "HOST AGENT ROLE STATE CPUS MEM PORTS USED RESERVED BUFFER SEEN"
    assert first[:5] == ["node1", "agent-S1", "*", "known", "1.5"]
    assert "0.5 / 320" in " ".join(first)
    assert "2 of 2" not in " ".join(first)
    assert second[4:7] == ["4", "of", "4"]


async def test_the_table_of_launches_says_why_one_failed(ask: Ask, fake_cluster: FakeCluster) -> None:
    (launch,) = (await ask(*SLEEP, "--wait", "running", "-o", "json")).json
    await fake_cluster.update(launch["task_id"], "TASK_FAILED", "exit status 3")
    await eventually_async(lambda: launch["task_id"] not in fake_cluster.running())

    async def shown() -> bool:
        return "exit status 3" in (await ask("launches")).out

    await eventually_async(shown)


async def test_a_framework_that_is_not_an_invoker_says_so(ask: Ask) -> None:
    assert "runs without --kafka" in (await ask("invoker")).line


async def test_an_empty_listing(ask: Ask) -> None:
    ran = await ask("launches")
    assert (ran.code, ran.out, ran.err) == (0, "", "no launch is known\n")
    for choice in (("--state", "running"), ("--name", "web")):
        assert (await ask("launches", *choice)).err == "no launch matches\n"
    assert (await ask("launches", "-o", "json")).out == "[]\n"
    assert (await ask("launches", "-o", "yaml")).out == "[]\n"
    (heading,) = (await ask("launches", "-o", "tsv")).out.splitlines()
    assert heading.split("\t")[:3] == ["launch_id", "task_id", "name"]
    assert "resources.mem" in heading.split("\t")


async def test_only_outstanding_offers(ask: Ask, framework: Framework) -> None:
    await eventually_async(lambda: len(framework.offers()) == 2)
    assert len((await ask("offers", "-o", "json")).json) == 2
    assert (await ask("offers", "--outstanding", "-o", "json")).json == []


async def test_explain(ask: Ask) -> None:
    (launch,) = (await ask(*TOO_MUCH, "-o", "json")).json
    ran = await ask("explain", launch["launch_id"])
    first, second = ran.out.splitlines()
    assert first == f"{launch['launch_id']} is PENDING, at the head of the queue"
    assert "lacks memory" in second
    explained = (await ask("explain", launch["launch_id"], "-o", "json")).json
    assert explained["failed"]["memory"] == 1
    assert yaml.safe_load((await ask("explain", launch["launch_id"], "-o", "yaml")).out) == explained
    lines = dict(line.split("\t") for line in (await ask("explain", launch["launch_id"], "-o", "tsv")).out.splitlines())
    assert lines["summary"] == explained["summary"]


async def test_story(ask: Ask) -> None:
    (launch,) = (await ask(*SLEEP, "--wait", "running", "-o", "json")).json
    told = (await ask("story", launch["launch_id"], "-o", "json")).json
    assert [line["state"] for line in told["story"]] == ["PENDING", "RESERVED", "SUBMITTED", "RUNNING"]
    assert (await ask("story", launch["task_id"], "-o", "json")).json == told
    assert len(table(await ask("story", launch["launch_id"]))) == 5
    assert len(rows_of_tsv((await ask("story", launch["launch_id"], "-o", "tsv")).out)) == 4


# -- errors


@pytest.mark.parametrize("command", ["explain", "story", "kill"])
async def test_an_unknown_id(ask: Ask, command: str) -> None:
    ran = await ask(command, "nothing/at all?")
    assert (ran.code, ran.line) == (1, f"owmesos {command}: unknown launch or task nothing/at all?")


@pytest.mark.parametrize("command", [*LISTINGS, "teardown", "explain x", "story x", "kill x", "launch --command x"])
def test_no_framework(command: str) -> None:
    ran = owmesos(*command.split(maxsplit=1 if "launch" not in command else 2), "--admin", "http://127.0.0.1:1")
    assert ran.code == 1
    assert "no framework answers at http://127.0.0.1:1: start one with `owmesos run` or give --admin" in ran.line


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--mem", "-1"], "mem must be 0 to 9007199254740, not -1"),
        (["--mem", "nan"], "mem must be a finite number, not nan"),
        (["--cpus", "inf"], "cpus must be a finite number, not inf"),
        (["--mem", "1e300"], "mem must be 0 to 9007199254740, not 1e+300"),
        (["--cpus", "much"], "Invalid value for '--cpus': 'much' is not a valid float"),
        (["--cpus", "0", "--mem", "0"], "Mesos runs no task without any"),
        (["--ports", "-1"], "ports must be 0 to 10000, not -1"),
        (["--constraint", "rack"], "bad constraint 'rack': write ATTRIBUTE OPERATOR VALUE"),
        (["--constraint", "rack LIKE r[1"], "bad pattern 'r[1' in a constraint"),
        (["--env", "A"], "'A' is not NAME=VALUE"),
        (["--count", "0"], "Invalid value for '--count'"),
        (["--name", "a b"], "name 'a b' must be"),
        (["--deadline", "0"], "deadline must be 0.001 to 31536000, not 0"),
        (["--wait", "soon"], "Invalid value for '--wait'"),
        (["--containerizer", "podman"], "Invalid value for '--containerizer'"),
        (["--admin", "https://x"], "'https://x' is not an address of an admin API"),
        (["--admin", "127.0.0.1:99999"], "is not an address of an admin API"),
    ],
)
def test_a_launch_that_cannot_be_meant(flags: list[str], reason: str) -> None:
    ran = owmesos("launch", "--command", "true", *flags)
    assert ran.code == 2
    assert reason in ran.line


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["launch"], "owmesos launch: a launch needs --command, --image or both"),
        (["explain"], "owmesos explain: Missing argument 'ID'"),
        (["nodes", "--nothing"], "owmesos nodes: No such option"),
        (["nodes", "-o", "xml"], "owmesos nodes: Invalid value for '-o'"),
        (["nothing"], "owmesos: No such command 'nothing'"),
        (["nods"], "owmesos: No such command 'nods': did you mean nodes? (see owmesos --help)"),
        (
            ["action", "crate"],
            "owmesos action: No such command 'crate': did you mean create? (see owmesos action --help)",
        ),
        (
            ["launches", "--stat"],
            "owmesos launches: No such option '--stat': did you mean --state or --watch? (see owmesos launches --help)",
        ),
        (["action", "create"], "owmesos action: Missing argument 'NAME' (see owmesos action create --help)"),
        (["--nothing"], "owmesos: No such option"),
        (["kill"], "owmesos kill: give either IDs, or --name or --state or both, or --all"),
        (["kill", "x", "--all"], "owmesos kill: give either IDs, or --name or --state or both, or --all"),
        (
            ["invoke", "x", "--param", "y"],
            "owmesos invoke: Option '--param' requires 2 arguments (see owmesos invoke --help)",
        ),
        (["launch", "--mem"], "owmesos launch: Option '--mem' requires an argument (see owmesos launch --help)"),
        (["kill", "--state", "KILLED"], "owmesos kill: Invalid value for '--state'"),
        (["demo", "--engine", "mesos", "--master", "x"], "owmesos demo: give --engine or --master, not both"),
        (["demo", "--engine", "nothing"], "owmesos demo: Invalid value for '--engine'"),
    ],
)
def test_wrong_usage(arguments: list[str], reason: str) -> None:
    ran = owmesos(*arguments)
    assert ran.code == 2
    assert ran.line.startswith(reason)


@pytest.mark.parametrize("command", ["", "action", "activation", "state"])
def test_a_command_that_needs_another_shows_its_help_in_lines(command: str) -> None:
    ran = owmesos(*command.split())
    shown = ran.out + ran.err
    assert shown.startswith(f"Usage: owmesos {command}".strip())
    assert "\nCommands:\n" in shown


def test_help_and_version() -> None:
    from owmesos.cli.main import _COMMANDS

    ran = owmesos("--help")
    assert ran.code == 0
    assert all(name in ran.out for name in _COMMANDS)
    for name in _COMMANDS:
        assert owmesos(name, "--help").code == 0
    first, made_for, on, for_kafka = owmesos("--version").out.splitlines()
    assert first == f"owmesos, version {version('owmesos')}"
    assert made_for == "made for Apache Mesos 1.11 (v1 API); Kubernetes 1.37; OpenWhisk 1.0 and 2.0"
    assert f"msgspec {version('msgspec')}" in on
    assert f"kafka-python {version('kafka-python')}" in for_kafka
