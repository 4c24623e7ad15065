"""The checks of `owmesos doctor` on a Kubernetes cluster: whether it answers, our rights there, a pod like ours."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from owmesos.cli.findings import Check, Finding
from owmesos.cli.run import RunOptions
from owmesos.errors import InvalidInput
from owmesos.kubernetes.leases import lease_name
from owmesos.kubernetes.wire.access import ClusterAccess
from owmesos.kubernetes.wire.api_client import RIGHTS, ApiClient, Right
from owmesos.kubernetes.wire.api_errors import ApiRequestFailed
from owmesos.kubernetes.wire.lease_client import lease_rights
from owmesos.service.kubernetes.checks import dry_run, missing_text

CheckOfCluster = Callable[[ApiClient, ClusterAccess, str], Awaitable[Sequence[Finding]]]
_MEND = "check --kubeconfig, --context, and that kubectl reaches the cluster"
_RUNTIMES_MEND = "give --runtimes FILE, OpenWhisk's manifest (needless on a cluster of `scripts/kubernetes`)"


def checks(options: RunOptions) -> list[Check]:
    rights = partial(_rights, options=options)
    return [
        Check("runtimes", partial(_runtimes, options), _RUNTIMES_MEND),
        Check("api server", partial(_on, options, rights), _MEND),
        Check("pods", partial(_on, options, _pods), "see the reason: a quota, a policy, or an admission webhook"),
    ]


def _runtimes(options: RunOptions) -> Sequence[Finding]:
    """The kinds that owmesos contains are commands, and a pod finds no Python of ours unless nodes are this machine."""
    if options.runtimes is not None or (options.kafka.wanted and "RUNTIMES_MANIFEST" in os.environ):
        return ()
    said = "without --runtimes, actions run by commands of this machine's Python and node, which a pod's image lacks"
    return (Finding("runtimes", "warn", said, _RUNTIMES_MEND),)


def _on(options: RunOptions, check: CheckOfCluster) -> Sequence[Finding]:
    """Nothing where the settings cannot be used, which the check of them reports. Raises ApiRequestFailed."""
    try:
        access = options.kubernetes.access()
        options.kubernetes_settings(access)
    except InvalidInput:
        return ()

    async def checked() -> Sequence[Finding]:
        async with ApiClient(access) as api:
            return await check(api, access, options.kubernetes.namespace or access.namespace)

    return asyncio.run(checked())


async def _rights(api: ApiClient, access: ClusterAccess, namespace: str, *, options: RunOptions) -> Sequence[Finding]:
    of_lease = _of_lease(options.kubernetes_settings(access).invoker, ha=options.ha)
    needed = (*RIGHTS, *of_lease)
    missing = await api.missing_rights(namespace, needed)
    answers = Finding("api server", "ok", f"{access.server} answers; by {access.source}")
    if missing:
        text, advice = missing_text(missing, namespace), "give owmesos these rights"
        if not options.ha and all(each in of_lease for each in missing):
            text = f"another process with the same invoker name would not be noticed: {text}"
            return (answers, Finding("rights", "warn", text, advice))
        return (answers, Finding("rights", "fail", text, advice))
    return (answers, Finding("rights", "ok", f"all {len(needed)} that owmesos needs in namespace {namespace}"))


def _of_lease(invoker: str, *, ha: bool) -> tuple[Right, ...]:
    """None for a name that can have no Lease, where it needs none. Raises InvalidInput."""
    try:
        return lease_rights(lease_name(invoker))
    except InvalidInput:
        if ha:
            raise
        return ()


async def _pods(api: ApiClient, access: ClusterAccess, namespace: str) -> Sequence[Finding]:
    """What fails altogether the other check reports."""
    try:
        found = await dry_run(api, namespace)
    except ApiRequestFailed as error:
        if error.failure.reason == "NotFound":
            return (Finding("pods", "fail", str(error), f"kubectl create namespace {namespace}"),)
        return ()
    if found:
        return tuple(Finding("pods", "warn", each, "see the reason") for each in found)
    return (Finding("pods", "ok", f"a pod can be created in namespace {namespace} (asked as a dry run)"),)
