"""The checks of `owmesos doctor` on servers: the master, our credentials there, clocks, Kafka and CouchDB."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from email.utils import parsedate_to_datetime
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp

from owmesos.cli.findings import Check, Finding
from owmesos.cli.run import RunOptions
from owmesos.errors import InvalidInput
from owmesos.mesos.wire.access import Access
from owmesos.mesos.wire.address import Masters, ServerAddress, parse_master, redirect_target
from owmesos.mesos.wire.detector import access_for, detector_for
from owmesos.mesos.wire.operator_client import OperatorClient, OperatorFailed, OperatorRefused
from owmesos.service.local_master import LOCAL
from owmesos.system.tasks import within

if TYPE_CHECKING:
    from owmesos.invoker.kafka_settings import InvokerSettings
    from owmesos.openwhisk.store.couchdb import CouchDB

_TESTED = "1.11"
_WITHIN = 5.0  # seconds; for one answer
_TIMEOUT = aiohttp.ClientTimeout(total=_WITHIN)
_PATH = "/api/v1/scheduler"
_REDIRECTIONS = 3
_SKEW = 3.0
"""Seconds: a Date header has whole seconds, and an answer takes some time."""
_MUCH_SKEW = 30.0
"""Seconds: beyond that, new activations are given up as too old (`owmesos.openwhisk.limits`)."""
_MASTER_MEND = "start the master, or give another --master; or check the firewalls between"
_CLOCK_MEND = "synchronize the clocks of all machines (chrony, systemd-timesyncd)"


class LeaderAnswer(NamedTuple):
    """`skew`: seconds that the server's clock is ahead of ours; None if the answer has no valid Date header."""

    address: ServerAddress
    status: int
    skew: float | None


def checks(options: RunOptions) -> list[Check]:
    found: list[Check] = []
    if options.cluster == "kubernetes":
        from owmesos.cli import kubernetes_checks

        found += kubernetes_checks.checks(options)
    elif options.master == LOCAL:
        said = Finding("master", "ok", "`owmesos run` starts a simulated cluster of its own")
        found.append(Check("master", lambda: (said,), ""))
    else:
        found += [
            Check("master", partial(_run, options, _master), _MASTER_MEND),
            Check("credentials", partial(_run, options, _credentials), _MASTER_MEND),
            Check("master's clock", partial(_run, options, _clock), _CLOCK_MEND),
        ]
    if options.kafka.wanted and all(find_spec(each) is not None for each in ("kafka", "cryptography")):
        found += [
            Check("kafka", partial(_kafka, options), "start Kafka, or give another --kafka HOST:PORT"),
            Check("couchdb", lambda: asyncio.run(_couchdb(options)), "start CouchDB, or give another --couchdb URL"),
        ]
    return found


# -- Mesos


class Mesos(NamedTuple):
    """The masters, and how to authenticate there."""

    masters: Any
    access: Access


def _run(options: RunOptions, check: Callable[[Mesos], Awaitable[Sequence[Finding]]]) -> Sequence[Finding]:
    """Nothing is found with settings that are not valid, which the check of the settings reports."""
    try:
        given = options.access.to_master()
    except InvalidInput:
        return ()
    masters = parse_master(options.mesos_master, credentials_allowed=True, tls=given.uses_tls)

    async def checked() -> Sequence[Finding]:
        return await check(Mesos(masters, access_for(masters, given)))

    return asyncio.run(checked())


async def _master(mesos: Mesos) -> Sequence[Finding]:
    detector = detector_for(mesos.masters)
    try:
        async with OperatorClient(detector, mesos.access, timeout=_WITHIN) as client:
            found = (await client.version()).version_info.version
            info = (await client.master()).master_info
    except OperatorRefused as error:
        mend = "give a --principal that may read, or check the master's ACLs" if error.status in (401, 403) else None
        return (Finding("master", "warn", f"{error}: its version is unknown", mend or _MASTER_MEND),)
    except OperatorFailed as error:
        if isinstance(mesos.masters, Masters):
            return (Finding("master", "fail", str(error), _tls_mend(error, mesos.masters) or _MASTER_MEND),)
        where = f"{mesos.masters.hosts}{mesos.masters.path}"
        mend = "check ZooKeeper, and that a master leads there (its flag --zk)"
        return (Finding("master", "fail", f"no master was found by zk://{where}: {error}", mend),)
    finally:
        await detector.close()
    said = f"{_place(info)} leads, Apache Mesos {found}"
    if not found.startswith(f"{_TESTED}."):
        return (Finding("master", "warn", said, f"owmesos is tested with Mesos {_TESTED}: try it out first"),)
    return (Finding("master", "ok", said),)


def _tls_mend(error: OperatorFailed, masters: Masters) -> str | None:
    """What to do where TLS is what the two sides do not agree on, or may be."""
    cause = error.__context__
    if isinstance(cause, aiohttp.ClientSSLError):
        return "check the scheme of --master, --tls-ca and the master's certificate"
    if not isinstance(cause, aiohttp.ServerDisconnectedError):
        return None
    if masters.scheme == "https":
        return "if the master asks for a client's certificate, give --tls-cert and --tls-key; else see its log"
    return "if the master speaks TLS, write https:// in --master; else see its log"


def _place(info: Any) -> str:
    address = info.address
    host = (address.hostname or address.ip) if address is not None else info.hostname
    return f"{host}:{address.port if address is not None else info.port}"


async def _credentials(mesos: Mesos) -> Sequence[Finding]:
    """Sends an empty call: credentials are checked before its content. A missing master is `_master`'s to report."""
    found = await _asked(mesos)
    if found is None:
        return ()
    who = mesos.access.credentials
    if found.status in (401, 403):
        if who is None:
            mend = "give --principal and --secret-file"
            return (Finding("credentials", "fail", f"{found.address} needs credentials, and none were given", mend),)
        mend = "check --principal, --secret-file (or OWMESOS_SECRET) and the master's --credentials"
        said = f"{found.address} rejects principal {who.principal} ({found.status})"
        return (Finding("credentials", "fail", said, mend),)
    does = f"accepts principal {who.principal}" if who is not None else "needs no credentials"
    return (Finding("credentials", "ok", f"{found.address} {does}"),)


async def _clock(mesos: Mesos) -> Sequence[Finding]:
    found = await _asked(mesos)
    return () if found is None else (_of_skew("master's clock", str(found.address), found.skew),)


async def _asked(mesos: Mesos) -> LeaderAnswer | None:
    """The leading master's answer to a framework; None if there is no leader, which `_master` reports."""
    detector = detector_for(mesos.masters)
    try:
        for address in await within(detector.candidates(), _WITHIN):
            found = await _asked_at(mesos.access, address)
            if found is not None:
                return found
    except asyncio.TimeoutError:
        pass  # ZooKeeper knows no leader, or does not answer
    finally:
        await detector.close()
    return None


async def _asked_at(access: Access, address: ServerAddress) -> LeaderAnswer | None:
    """Follows redirections to the leading master."""
    for _ in range(_REDIRECTIONS + 1):
        began = time.time()
        try:
            async with (
                access.session(secure=address.scheme == "https") as session,
                session.post(f"{address}{_PATH}", data=b"{}", allow_redirects=False, timeout=_TIMEOUT) as response,
            ):
                date, status = response.headers.get("Date"), response.status
                location = response.headers.get("Location", "")
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
            return None
        if status != 307:
            return LeaderAnswer(address, status, skew_of(date, began, time.time()))
        address = redirect_target(location, address)
    return None


# -- clocks


def skew_of(date: str | None, began: float, ended: float) -> float | None:
    """Seconds that the clock of a Date header is ahead of ours; 0 if the request's begin and end allow that."""
    try:
        said = parsedate_to_datetime(date or "").timestamp()
    except ValueError:
        return None
    if said + 1 < began:  # `date` is cut to whole seconds
        return said + 1 - began
    return max(0.0, said - ended)


def _of_skew(check: str, server: str, skew: float | None) -> Finding:
    if skew is None:
        return Finding(check, "ok", f"{server} sends no valid Date header")
    if abs(skew) < _SKEW:
        return Finding(check, "ok", f"{server} and this machine agree")
    said = f"the clock of {server} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    return Finding(check, "fail" if abs(skew) >= _MUCH_SKEW else "warn", said, _CLOCK_MEND)


# -- OpenWhisk's servers


def _invoker(options: RunOptions) -> InvokerSettings:
    """Raises InvalidInput."""
    from owmesos.openwhisk.whisk_config import WhiskConfig

    return options.kafka.settings(options.runtimes, WhiskConfig(os.environ))


def _kafka(options: RunOptions) -> Sequence[Finding]:
    from owmesos.openwhisk.kafka.broker import KafkaFailed, KafkaLog

    KafkaLog().install()
    settings = _invoker(options)
    broker = settings.broker
    try:
        there = broker.topic_names()
    except KafkaFailed as error:
        mend = error.advice or "start Kafka, or give another --kafka HOST:PORT"
        if error.advice is None and options.kafka.kafka_settings is None:
            mend += "; if that port speaks TLS, give --kafka-settings"
        return (Finding("kafka", "fail", f"{broker.address}: {error}", mend),)
    wanted = [broker.invoker_topic(settings.invoker.instance), broker.health_topic()]
    missing = [topic.name for topic in wanted if topic.name not in there]
    if missing:
        said = f"{broker.address} answers; no topic {' and '.join(missing)} yet: `owmesos run` creates them"
        mend = "create them if Kafka's user may not"
        return (Finding("kafka", "warn", said, mend),)
    return (Finding("kafka", "ok", f"{broker.address} answers, and has {' and '.join(each.name for each in wanted)}"),)


async def _couchdb(options: RunOptions) -> Sequence[Finding]:
    from owmesos.openwhisk.store.couchdb import CouchDB

    couch = _invoker(options).couch
    client = CouchDB(couch.url, user=couch.user, password=couch.password, timeout=_WITHIN)
    found: list[Finding] = []
    try:
        for name in (couch.databases.actions, couch.databases.activations, couch.databases.subjects):
            found.append(await _database(client, name))
            if client.reachability.down:
                break  # the others would fail the same way
    finally:
        await client.close()
    return [*found, *await _couch_clock(couch.url)]


async def _database(couch: CouchDB, name: str) -> Finding:
    from owmesos.openwhisk.store.couchdb import CouchFailed

    try:
        known = await couch.document(name, "")
    except CouchFailed as error:
        mend = couch.reachability.document()["advice"] or "start CouchDB, or give another --couchdb URL"
        return Finding("couchdb", "fail", str(error), mend)
    if known is None:
        mend = "OpenWhisk's deployment creates it (ansible/wipe.yml); or give --couchdb-prefix"
        return Finding("couchdb", "fail", f"there is no database {name}", mend)
    return Finding("couchdb", "ok", f"database {name} is there")


async def _couch_clock(url: str) -> Sequence[Finding]:
    began = time.time()
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            skew = skew_of(response.headers.get("Date"), began, time.time())
    except (aiohttp.ClientError, asyncio.TimeoutError, OSError):
        return ()  # reported by the databases' checks
    return (_of_skew("couchdb's clock", "CouchDB", skew),)
