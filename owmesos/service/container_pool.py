"""A framework's container pool: what `Framework(pool=…)` takes to become an invoker's.

The scheduler comes first, since the pool's room is the scheduler's books; so this is a recipe that it carries
out when it starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import msgspec

from owmesos.core.pool import Pool
from owmesos.core.pool_settings import PoolSettings
from owmesos.mesos.container_factory import PooledScheduler
from owmesos.mesos.scheduler import Scheduler
from owmesos.openwhisk.launching import Launching, LaunchSettings
from owmesos.openwhisk.manifest import Manifest


def container_pool(
    manifest: Manifest, launches: LaunchSettings | None = None, settings: PoolSettings | None = None
) -> Callable[[Scheduler], PooledScheduler]:
    """Containers are started as `launches` says, and prewarmed as the manifest's stem cells do. Where containers may
    live is from `launches`, whatever `settings` says of it. Raises InvalidInput for settings that no launch can have.
    """
    launches = launches or LaunchSettings()
    launching = Launching(launches, manifest)
    decided = msgspec.structs.replace(
        settings or PoolSettings(),
        constraints=launches.parsed_constraints(),
        blackbox_constraints=launches.parsed_blackbox_constraints(),
    )

    def build(scheduler: Scheduler) -> PooledScheduler:
        # Containers are launches, and their ids are kept: those of an earlier life must not come again.
        prefix = f"{secrets.token_hex(4)}-"
        pool = Pool(scheduler.books.capacity, decided, manifest.prewarm(), prefix=prefix)
        return PooledScheduler(scheduler, pool, launching)

    return build
