"""`/metrics` of a running process, and all that names its metrics: docs/metrics.md, the dashboard and the alert rules.

`python -m tests.deploy.test_monitoring` writes the table in docs/metrics.md anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
import socket
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from owmesos.system.task_ports import free_ports
from tests.cli.running import running
from tests.docs.test_links import headings
from tests.servers.debian import PackageMissing, unpacked
from tests.waiting import eventually_async

pytestmark = pytest.mark.one_python
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "metrics.md"
RULES = ROOT / "deploy" / "prometheus" / "owmesos.rules.yml"
CONFIG = ROOT / "deploy" / "prometheus" / "prometheus.yml"
RULES_TEST = ROOT / "tests" / "deploy" / "owmesos.rules.test.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana" / "owmesos.json").read_text(encoding="utf-8"))
ALERTS: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
BEGIN, END = "<!-- begin: metrics -->\n", "<!-- end: metrics -->"
OWN = ("owmesos_", "counter_", "gauge_", "histogram_")
NODE, CLUSTER = "owmesos_node_", "owmesos_cluster_"
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus adds to every series."""
NAME = r"\b(?:owmesos|counter|gauge|histogram|process|python)_[A-Za-z0-9_]+\b(?!\()|\bup\b"


async def scraped(folder: Path) -> str:
    """What a process answers that is an invoker with all that can be measured, while Kafka and CouchDB are away."""
    with socket.socket() as nobody:  # bound and not listening: connections are refused
        nobody.bind(("127.0.0.1", 0))
        away = f"127.0.0.1:{nobody.getsockname()[1]}"
        invoker = ("--kafka", away, "--couchdb", f"http://{away}", "--id", "0")
        async with running("--master", "local", "--state", str(folder), *invoker) as process:
            reading = {"Authorization": f"Bearer {(folder / 'admin-read.token').read_text().strip()}"}
            async with aiohttp.ClientSession(process.url, headers=reading) as session:

                async def answered() -> str | None:
                    async with session.get("/metrics") as response:
                        assert response.status == 200
                        text = await response.text()
                    return text if "\nowmesos_node_cpus_free{" in text else None

                return await eventually_async(answered)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return asyncio.run(scraped(tmp_path_factory.mktemp("scraped") / "state"))


@pytest.fixture(scope="module")
def series(text: str) -> dict[str, dict[str, set[str]]]:
    """By name of the series, each label with its values."""
    found: dict[str, dict[str, set[str]]] = {"up": {}}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, defaultdict(set))
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found


def table(text: str) -> str:
    """Our own and OpenWhisk's: prometheus-client documents the rest."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for family in text_string_to_metric_families(text):
        if family.name.startswith(OWN) and not family.name.startswith(NODE):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
            lines.append(f"| `{name}` | {family.type} | {', '.join(labels)} | {family.documentation} |")
    lines.append(f"| `{NODE}…` | gauge | agent_id, hostname | The same of each node as `{CLUSTER}…` of all. |")
    return "\n".join(lines) + "\n"


def expressions() -> Iterator[tuple[str, str]]:
    """Where each is, and PromQL."""
    for rule in ALERTS:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def unknown_in(expression: str, series: dict[str, dict[str, set[str]]]) -> list[str]:
    """Names, labels and values of an expression that no series has."""
    unknown = []
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = re.findall(NAME, bare)
    assert names, expression
    unknown += [name for name in names if name not in series]
    for name, matchers in re.findall(rf"({NAME})\{{([^}}]*)\}}", expression):
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            values = series.get(name, {}).get(label)
            if label in OF_PROMETHEUS:
                continue
            if values is None:
                unknown.append(f"{name}{{{label}}}")
            elif operator in ("=", "=~"):
                alternatives = value.split("|") if operator == "=~" else [value]
                unknown += [f'{name}{{{label}="{each}"}}' for each in alternatives if each not in values]
    known = {label for name in names for label in series.get(name, {})} | OF_PROMETHEUS
    for grouping in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", bare):
        unknown += [f"by {label}" for label in re.findall(r"\w+", grouping) if label not in known]
    return unknown


@pytest.mark.parametrize(("where", "expression"), list(expressions()))
def test_dashboard_and_alerts_name_series_that_a_process_has(
    where: str, expression: str, series: dict[str, dict[str, set[str]]]
) -> None:
    assert unknown_in(expression, series) == []


@pytest.mark.parametrize(
    ("expression", "unknown"),
    [
        ("owmesos_no_such > 0", ["owmesos_no_such"]),
        ('owmesos_nodes{state="sleepy"}', ['owmesos_nodes{state="sleepy"}']),
        ('owmesos_nodes{stat="fresh"}', ["owmesos_nodes{stat}"]),
        ("sum by (colour) (owmesos_nodes)", ["by colour"]),
    ],
)
def test_a_name_that_nothing_has_is_seen(
    expression: str, unknown: list[str], series: dict[str, dict[str, set[str]]]
) -> None:
    assert unknown_in(expression, series) == unknown


def test_legends_and_texts_name_labels_that_their_expression_has(series: dict[str, dict[str, set[str]]]) -> None:
    texts = [(rule["expr"], rule["annotations"]["summary"], r"\$labels\.(\w+)") for rule in ALERTS]
    for panel in DASHBOARD["panels"]:
        texts += [(each["expr"], each["legendFormat"], r"\{\{(\w+)\}\}") for each in panel.get("targets", [])]
    for expression, shown, pattern in texts:
        known = {label for name in re.findall(NAME, expression) for label in series[name]} | OF_PROMETHEUS
        assert set(re.findall(pattern, shown)) <= known, shown


def test_the_page_has_every_metric(text: str) -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page.split(BEGIN)[1].split(END)[0] == table(text), "write it anew: python -m tests.deploy.test_monitoring"


def test_nodes_have_the_metrics_of_the_cluster(series: dict[str, dict[str, set[str]]]) -> None:
    of_cluster = {name.removeprefix(CLUSTER) for name in series if name.startswith(CLUSTER)}
    assert {name.removeprefix(NODE) for name in series if name.startswith(NODE)} == of_cluster
    assert all(set(labels) == {"agent_id", "hostname"} for name, labels in series.items() if name.startswith(NODE))


def test_each_alert_leads_to_what_it_means() -> None:
    for rule in ALERTS:
        file, _, heading = rule["annotations"]["runbook"].partition("#")
        assert heading == rule["alert"].lower()
        assert heading in headings(ROOT / file)
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_names_follow_the_conventions_of_prometheus(text: str) -> None:
    for family in text_string_to_metric_families(text):
        if family.name.startswith("owmesos_"):
            assert re.fullmatch(r"[a-z][a-z_]*", family.name)
            assert family.documentation.endswith(".")
            # A unit stands last, and is a base unit.
            assert not re.search(r"_(mb|kb|ms|milliseconds|minutes|count|total)(_|$)", family.name)
            assert family.type != "histogram" or family.name.endswith("_seconds")


def test_panels_do_not_overlap_and_have_ids_of_their_own() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_dashboard_has_what_the_classic_json_model_demands() -> None:
    """grafana.com/docs/grafana/latest/visualizations/dashboards/build-dashboards/view-dashboard-json-model."""
    assert isinstance(DASHBOARD["schemaVersion"], int)
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,40}", DASHBOARD["uid"])
    assert "id" not in DASHBOARD  # the importing Grafana gives it
    assert {"title", "tags", "timezone", "editable", "refresh", "time", "annotations", "links"} <= DASHBOARD.keys()
    variables = {each["name"] for each in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval"} <= variables
    for panel in DASHBOARD["panels"]:
        assert {"id", "type", "title", "gridPos"} <= panel.keys()
        assert panel["gridPos"].keys() == {"x", "y", "w", "h"}
    for panel in PANELS:
        assert panel["type"] in ("stat", "timeseries")
        assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
        assert all(each["datasource"] == panel["datasource"] for each in panel["targets"])
        references = [each["refId"] for each in panel["targets"]]
        assert references == sorted(set(references))


@pytest.mark.cluster
async def test_every_query_of_the_dashboard_has_data_in_a_prometheus_that_scrapes_a_process(tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if program is None:
        try:
            program = str(unpacked("prometheus", ["prometheus"], ["usr/bin/prometheus"]) / "usr/bin/prometheus")
        except PackageMissing as reason:
            pytest.skip(f"no prometheus: {reason}")
    state, config = tmp_path / "state", tmp_path / "prometheus.yml"
    invoker = ("--kafka", "127.0.0.1:1", "--couchdb", "http://127.0.0.1:1", "--id", "0")
    async with running("--master", "local", "--state", str(state), *invoker) as process:
        job = {
            "job_name": "owmesos",
            "authorization": {"credentials_file": str(state / "admin-read.token")},
            "static_configs": [{"targets": [process.url.removeprefix("http://")]}],
        }
        config.write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [job]}), encoding="utf-8")
        at = f"127.0.0.1:{free_ports()}"
        server = await asyncio.create_subprocess_exec(
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={at}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert await without_data(f"http://{at}") == []
        finally:
            server.terminate()
            await server.wait()


async def without_data(url: str) -> list[str]:
    """The queries that have had no data after a minute, each with its panel."""
    left = [(panel["title"], each["expr"]) for panel in PANELS for each in panel["targets"]]
    async with aiohttp.ClientSession(url) as session:

        async def empty(expression: str) -> bool:
            query = expression.replace("$instance", ".*").replace("$__rate_interval", "1m")
            try:
                async with session.get("/api/v1/query", params={"query": query}) as response:
                    return (
                        response.status == 503 or not (await response.json())["data"]["result"]
                    )  # 503: it is starting
            except aiohttp.ClientConnectorError:
                return True

        async def all_there() -> bool:
            nonlocal left
            left = [each for each in left if await empty(each[1])]
            return not left

        with contextlib.suppress(AssertionError):
            await eventually_async(all_there, interval=1.0)
    return [f"{title}: {expression}" for title, expression in left]


@pytest.fixture(scope="module")
def promtool() -> Callable[..., None]:
    """Prometheus's own checks, by Debian's package: run with these arguments, and with `given` on stdin."""
    program = shutil.which("promtool")
    if program is None:
        try:
            program = str(unpacked("prometheus", ["prometheus"], ["usr/bin/promtool"]) / "usr/bin/promtool")
        except PackageMissing as reason:
            pytest.skip(f"no promtool: {reason}")

    def check(*arguments: str, given: str | None = None) -> None:
        ran = subprocess.run([program, *arguments], input=given, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stdout + ran.stderr

    return check


@pytest.mark.cluster
def test_prometheus_takes_the_rules_and_the_configuration(promtool: Callable[..., None]) -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", "--syntax-only", str(CONFIG))


@pytest.mark.cluster
def test_each_alert_fires_when_it_should(promtool: Callable[..., None]) -> None:
    promtool("test", "rules", str(RULES_TEST))
    tested = {each["alertname"] for each in yaml.safe_load(RULES_TEST.read_text())["tests"][0]["alert_rule_test"]}
    assert tested == {rule["alert"] for rule in ALERTS}


@pytest.mark.cluster
def test_prometheus_finds_nothing_wrong_with_our_own_metrics(text: str, promtool: Callable[..., None]) -> None:
    promtool("check", "metrics", given="".join(re.findall(r"^(?:# \w+ )?owmesos_.*\n", text, re.MULTILINE)))


def main() -> None:
    with TemporaryDirectory() as folder:
        text = asyncio.run(scraped(Path(folder) / "state"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{table(text)}{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
