"""`owmesos run --cluster kubernetes`: what cannot be meant, and its life as a process on a fake API server."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from owmesos.system.private_files import write_private
from tests.cli.running import Running, owmesos, owmesos_process, running
from tests.fakes.api_server import FakeApiServer
from tests.service.kubernetes.scene import fake_node
from tests.waiting import eventually_async

ON_KUBERNETES = ("--cluster", "kubernetes", "--standalone")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    server = await FakeApiServer(None).start()
    for name in ("n1", "n2"):
        server.put("nodes", fake_node(name))
    server.put("nodes", fake_node("n3", unschedulable=True))
    yield server
    await server.stop()


def content(url: str, token: str = "t") -> str:
    """Of a kubeconfig."""
    return f"""\
apiVersion: v1
kind: Config
current-context: test
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
clusters: [{{name: test, cluster: {{server: "{url}"}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
"""


@pytest.fixture
def kubeconfig(server: FakeApiServer, tmp_path: Path) -> Path:
    file = tmp_path / "kubeconfig"
    write_private(file, content(server.url))
    return file


def options(kubeconfig: Path) -> tuple[str, ...]:
    return (*ON_KUBERNETES, "--kubeconfig", str(kubeconfig), "--state", str(kubeconfig.parent / "state"))


# -- what cannot be meant


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--cluster", "kubernetes"], "--cluster kubernetes needs --standalone or --kafka"),
        (
            [*ON_KUBERNETES, "--master", "h:1"],
            "--master is an option for Mesos: it has no effect with --cluster",
        ),
        ([*ON_KUBERNETES, "--role", "r"], "--role is an option for Mesos"),
        ([*ON_KUBERNETES, "--driver", "pymesos"], "--driver is an option for Mesos"),
        ([*ON_KUBERNETES, "--gpus"], "--gpus is an option for Mesos"),
        ([*ON_KUBERNETES, "--principal", "p"], "--principal is an option for Mesos"),
        (["--master", "h:1", "--namespace", "n"], "--namespace is an option for Kubernetes: it has no effect with"),
        (["--master", "h:1", "--node-selector", "a=b"], "--node-selector is an option for Kubernetes"),
        ([*ON_KUBERNETES, "--kubeconfig", "/nothing"], "/nothing"),
        (["--cluster", "nomad"], "'nomad' is not one of 'mesos', 'kubernetes'"),
    ],
)
def test_what_cannot_be_meant(flags: list[str], reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    ran = owmesos("run", *flags)
    assert ran.code == 2
    assert reason in ran.line


def test_an_option_in_the_environment_is_named_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWMESOS_MASTER", "h:1")
    ran = owmesos("run", *ON_KUBERNETES)
    assert (ran.code, "--master (from the environment) is an option for Mesos" in ran.line) == (2, True)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--node-selector", "zone"], "--node-selector 'zone' must be NAME=VALUE"),
        (["--namespace", "No_Name"], "the namespace must be at most 63 of a-z, 0-9 and -"),
        (["--invoker-name", "a b"], "not 'a b': choose one with --invoker-name"),
        (["--context", "other"], "other"),
        (["--pod-template", "/nothing"], "the pod template /nothing cannot be read"),
    ],
)
async def test_settings_that_no_cluster_can_have(kubeconfig: Path, flags: list[str], reason: str) -> None:
    ran = owmesos("run", *options(kubeconfig), *flags)
    assert ran.code == 2
    assert reason in ran.line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "is not valid YAML"),
        ("[]", "is not a Pod: it must be one mapping"),
        ("spec: {nodeName: n1}", "nodeName"),
    ],
)
async def test_a_pod_template_that_cannot_be_used(kubeconfig: Path, tmp_path: Path, text: str, reason: str) -> None:
    template = tmp_path / "pod.yaml"
    template.write_text(text)
    ran = owmesos("run", *options(kubeconfig), "--pod-template", str(template))
    assert ran.code == 2
    assert reason in ran.line


async def test_a_missing_right_ends_it_with_the_rule(server: FakeApiServer, kubeconfig: Path) -> None:
    server.denied.add(("create", "pods"))
    ran = await owmesos_process("run", *options(kubeconfig), "--admin", "127.0.0.1:0")
    assert ran.code == 1
    assert "RBAC does not allow owmesos to create pods (a Role in namespace default)" in ran.err


# -- its life


async def test_it_shows_the_cluster_until_a_signal(server: FakeApiServer, kubeconfig: Path) -> None:
    bare = fake_node("n4")
    bare["status"]["allocatable"] = {}
    server.put("nodes", bare)
    async with running(*options(kubeconfig)) as process:
        await process.said("the cluster is known")
        rows = (await process.ask("nodes", "-o", "json")).json
        assert [(row["hostname"], row["state"], row["total"]["pods"]) for row in rows] == [
            ("n1", "fresh", 110),
            ("n2", "fresh", 110),
            ("n3", "draining", 110),
            ("n4", "fresh", 0),
        ]
        table = (await process.ask("nodes")).out
        titles = "HOST ROLE STATE CPUS MEM PODS USED RESERVED BUFFER SEEN WHY"
        assert " ".join(table.splitlines()[0].split()) == titles
        assert "it is cordoned" in table
        status = await process.ask("status")
        assert (status.code, f"s, {server.url}, namespace default" in status.out) == (0, True)
        assert "Launches" not in status.out
        assert re.search(r"^pods +330 +0 +0 +0 +220$", status.out, re.MULTILINE)
        assert re.search(r"^IN TROUBLE +STATE +WHY$", status.out, re.MULTILINE)
        for command in ("reservations", "containers"):
            assert (await process.ask(command, "-o", "json")).json == []
        ended = await process.end(signal.SIGTERM)
        assert (ended.code, ended.out, "Traceback" in ended.err) == (0, "", False)


async def test_credentials_in_the_kubeconfig_are_renewed(server: FakeApiServer, kubeconfig: Path) -> None:
    server.tokens = {"t"}
    async with running(*options(kubeconfig)) as process:
        await process.said("the cluster is known")
        server.tokens = {"t", "second"}  # the process still asks for its rights, and ends where its token is rejected
        write_private(kubeconfig, content(server.url, "second"))
        await process.hang_up("renewed: the credentials for Kubernetes")
        server.tokens = {"second"}
        server.cut_watches("nodes", "pods")
        server.put("nodes", fake_node("n9"))
        await eventually_async(lambda: _shows(process, "n9"))
        assert server.headers[-1]["Authorization"] == "Bearer second"

        write_private(kubeconfig, content("http://127.0.0.1:1"))
        await process.hang_up("not renewed: the credentials for Kubernetes: context test of .* has another server")
        write_private(kubeconfig, "{")
        await process.hang_up("not renewed: the credentials for Kubernetes: ")
        server.put("nodes", fake_node("n10"))
        await eventually_async(lambda: _shows(process, "n10"))
        assert (await process.end()).code == 0


async def _shows(process: Running, node: str) -> bool:
    asked = await process.ask("nodes", "-o", "json")
    return asked.code == 0 and node in [row["hostname"] for row in asked.json]  # else its API has not begun


@pytest.mark.parametrize("command", [("offers",), ("launches",), ("launch", "--command", "true"), ("kill", "a")])
async def test_commands_of_mesos_say_that_there_is_none(kubeconfig: Path, command: tuple[str, ...]) -> None:
    async with running(*options(kubeconfig)) as process:
        ran = await process.ask(*command)
        assert ran.code == 1
        assert "is not available on Kubernetes" in ran.line


async def test_doctor_checks_the_cluster(server: FakeApiServer, kubeconfig: Path) -> None:
    ran = await asyncio.to_thread(owmesos, "doctor", *options(kubeconfig), "-o", "json")
    found = {each["check"]: each for each in ran.json}
    assert found["api server"]["state"] == "ok"
    assert found["rights"]["state"] == "ok"
    server.denied.add(("delete", "pods"))
    ran = await asyncio.to_thread(owmesos, "doctor", *options(kubeconfig), "-o", "tsv")
    assert ran.code == 1
    assert "delete pods (a Role in namespace default)" in ran.out


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--kubeconfig", "/nothing"), "no kubeconfig: /nothing does not exist"),
        (("--node-selector", "zone"), "--node-selector 'zone' must be NAME=VALUE"),
        (("--pod-template", "pod.yaml"), "spec.nodeName: owmesos chooses the node"),
    ],
)
async def test_doctor_says_once_that_a_setting_cannot_be_used(
    kubeconfig: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], reason: str
) -> None:
    (kubeconfig.parent / "pod.yaml").write_text("spec: {nodeName: n1}")
    monkeypatch.chdir(kubeconfig.parent)
    ran = await asyncio.to_thread(owmesos, "doctor", *options(kubeconfig), *flags, "-o", "json")
    failed = [each for each in ran.document if each["state"] == "fail"]
    assert [each["check"] for each in failed] == ["settings"]
    assert reason in failed[0]["message"]


async def test_doctor_warns_of_runtimes_that_no_pod_has(kubeconfig: Path) -> None:
    manifest = kubeconfig.parent / "runtimes.json"
    manifest.write_text('{"runtimes": {}}')
    warned = []
    for flags in ((), ("--runtimes", str(manifest))):
        ran = await asyncio.to_thread(owmesos, "doctor", *options(kubeconfig), *flags, "-o", "json")
        warned.append([each["message"] for each in ran.document if each["check"] == "runtimes"])
    assert warned == [
        ["without --runtimes, actions run by commands of this machine's Python and node, which a pod's image lacks"],
        [],
    ]
