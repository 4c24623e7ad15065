"""Runs every case on every cluster and with every driver that was asked for, and reports what ran.

`--conformance-clusters` and `--conformance-drivers` choose, `--conformance-report FILE` writes the report as JSON.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Container, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from owmesos.local.toolchain import BuildError
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.operator_client import OperatorClient
from tests.conformance.clusters import Cluster, Engine, Setup, default_engines, engines
from tests.conformance.drivers import DRIVERS, USUAL, find_master
from tests.conformance.framework import Framework
from tests.conformance.operating import Ticks
from tests.conformance.pool import Pool
from tests.conformance.report import ConformanceReport, Place
from tests.conformance.subscribing import Subscriber

_report = pytest.StashKey[ConformanceReport]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("conformance")
    group.addoption("--conformance-clusters", help=f"comma-separated: {', '.join(engines())}")
    group.addoption("--conformance-drivers", help=f"comma-separated: {', '.join(DRIVERS)}")
    group.addoption("--conformance-report", type=Path, help="write which cases ran where to this file, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "setup(Setup, fresh=False): the cluster that a conformance case needs")
    config.addinivalue_line("markers", "freezes: a conformance case that freezes executors")
    report = config.stash[_report] = ConformanceReport(config.getoption("conformance_report", None))
    config.pluginmanager.register(report, "conformance")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    known = engines()
    clusters = [
        pytest.param(known[name], id=name, marks=[getattr(pytest.mark, mark) for mark in known[name].marks])
        for name in _chosen(metafunc.config, "conformance_clusters", default_engines(), known)
    ]
    drivers = _chosen(metafunc.config, "conformance_drivers", USUAL, DRIVERS)
    metafunc.parametrize("engine", clusters, scope="session")
    metafunc.parametrize("driver_name", drivers, scope="session")


def _chosen(config: pytest.Config, option: str, default: list[str], known: Container[str]) -> list[str]:
    asked: str | None = config.getoption(option, None)
    chosen = asked.split(",") if asked else default
    for name in chosen:
        if name not in known:
            raise pytest.UsageError(f"--{option.replace('_', '-')}: there is no {name} here")
    return chosen


# Before the mark `cluster` is given out and looked at.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Takes out the cases that need what their cluster cannot do, notes all, and brings together those of one setup."""
    report, here = config.stash[_report], Path(__file__).parent
    cases = [item for item in items if isinstance(item, pytest.Function) and here in item.path.parents]
    left_out: set[pytest.Item] = set()
    for case in cases:
        engine: Engine = case.callspec.params["engine"]
        place = Place(engine.name, case.callspec.params["driver_name"])
        reason = engine.lacks_control() if case.get_closest_marker("setup") else None
        if reason is None and case.get_closest_marker("freezes"):
            reason = engine.lacks_freezing()
        if reason is None:
            report.collected(case, place)
        else:
            report.not_collected(case, place, reason)
            left_out.add(case)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
    among, ordered = set(cases), iter(_by_setup(cases))
    items[:] = [next(ordered) if item in among else item for item in items]
    items[:] = [item for item in items if item not in left_out]


def _by_setup(cases: list[pytest.Function]) -> list[pytest.Function]:
    """In another order: a cluster of another shape takes its time to come up."""
    setups: list[Setup] = []

    def key(case: pytest.Function) -> int:
        mark = case.get_closest_marker("setup")
        if mark is None:
            return -1
        if mark.args[0] not in setups:
            setups.append(mark.args[0])
        return setups.index(mark.args[0])

    return sorted(cases, key=key)


@pytest.fixture(scope="session")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def _where(engine: Engine, driver_name: str) -> None:
    """Makes every case one for each of these."""


@pytest.fixture
def setup_of_case(request: pytest.FixtureRequest) -> tuple[Setup | None, bool]:
    """What the mark `setup` says."""
    mark = request.node.get_closest_marker("setup")
    return (mark.args[0], bool(mark.kwargs.get("fresh"))) if mark else (None, False)


@pytest.fixture
def cluster(engine: Engine, pool: Pool, setup_of_case: tuple[Setup | None, bool]) -> Iterator[Cluster]:
    """A running cluster; of a case with the mark `setup` that one, and with `fresh` for this case alone."""
    setup, fresh = setup_of_case
    try:
        cluster = pool.take(engine, setup, fresh=fresh)
    except BuildError as error:
        pytest.skip(str(error))
    yield cluster
    if fresh:
        pool.drop(cluster)


@pytest.fixture
async def operator(cluster: Cluster) -> AsyncIterator[OperatorClient]:
    detector, access = find_master(cluster.master, Access())
    async with OperatorClient(detector, access) as operator:
        yield operator
    await detector.close()


@pytest.fixture
async def afterwards(operator: OperatorClient) -> AsyncIterator[AsyncExitStack]:
    """What a case wants undone when its frameworks are gone."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def subscribe(
    request: pytest.FixtureRequest,
    cluster: Cluster,
    driver_name: str,
    operator: OperatorClient,
    afterwards: AsyncExitStack,
    setup_of_case: tuple[Setup | None, bool],
) -> AsyncIterator[Subscriber]:
    """Makes frameworks; at the end of the case all of them are torn down."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.originalname.removeprefix("test_")).strip("-")
    subscriber = Subscriber(cluster, DRIVERS[driver_name], name)
    yield subscriber
    await subscriber.close(None if setup_of_case[1] else operator)


@pytest.fixture
async def framework(subscribe: Subscriber) -> Framework:
    """One that is subscribed, in a role of its own."""
    return await subscribe()


@pytest.fixture
def tick(operator: OperatorClient) -> Ticks:
    return Ticks(operator)
