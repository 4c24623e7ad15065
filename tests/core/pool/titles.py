"""The titles of today's invoker's own pool tests, and of the tests of its fork for clusters.

Each title in TESTED is the name of a test in this folder, which says in its docstring where the rule of a cluster
takes the place of the fixed user-memory's. ELSEWHERE and NOT_TESTED say what became of the others.
"""

from __future__ import annotations

import re

CONTAINER_POOL = (
    "reuse a warm container",
    "reuse a warm container when action is the same even if revision changes",
    "create a container if it cannot find a matching container",
    "remove a container to make space if the pool is full and a different action arrives",
    "remove several containers to make space if full and a different large action arrives",
    "cache a container if there is still space in the pool",
    "remove a container to make space if full and another action with different invocation namespace arrives",
    "reschedule job when container is removed prematurely without sending message to feed",
    "not start a new container if there is not enough space in the pool",
    "not create prewarm container when used memory reaches the limit",
    "create prewarmed containers on startup",
    "use a prewarmed container and create a new one to fill its place",
    "use a prewarmed container and create a new one to fill its place with ttl",
    "not use a prewarmed container if it doesn't fit the kind",
    "not use a prewarmed container if it doesn't fit memory wise",
    "not reuse a container which is scheduled for deletion",
    "first put messages into the queue and retry them then put messages only into the queue",
    "process activations in the order they are arriving",
    "process runbuffer instead of requesting new messages",
    "process runbuffer when container is removed",
    "process runbuffered items only once",
    "increase activation counts when scheduling to containers whose actions support concurrency",
    "schedule concurrent activations to different containers for different namespaces",
    "decrease activation counts when receiving NeedWork for actions that support concurrency",
    "backfill prewarms when prewarm containers are removed",
    "adjust prewarm container run well without reactive config",
    "adjust prewarm container run well with reactive config",
)
SCHEDULE = (
    "none if idle pool is empty",
    "reuse applicable warm one container",
    "reuse applicable warm several applicable",
    "reuse applicable warm several different",
    "not from non-warm",
    "not with different invocation namespace",
    "not with different action name",
    "not with different version",
    "not when active >= maxConcurrent",
    "use warming when active < max",
    "prefer warm to warming",
    "use warmingCold",
    "prefer warm to warmingCold",
    "prefer warming to warmingCold",
)
REMOVE = (
    "nothing if pool empty",
    "nothing from busy pool with non-warm",
    "nothing if not enough capacity",
    "single free container",
    "oldest of several",
    "list of the oldest if several needed",
    "oldest excluding concurrently busy",
    "expired in order of expiration",
    "only prewarmExpirationLimit of expired",
    "only the expired regardless of minCount",
)
FORK = (
    "init prewarms only when InitPrewarms is sent",
    "limit the number of container prewarm starts",
    "request space from cluster if no resources available",
    "process runbuffer on ResourceUpdate",
    "release reservation on ContainerStarted",
    "release reservation on ContainerRemoved",
    "not remove container younger than idle grace instant",
    "not block warm usage if cluster has no capacity",
    "not block warm usage if cluster has no capacity with single prewarm",
    "capacity for 256 with 256 reserved",
    "no capacity for 4096",
    "update nodestats async",
)
TESTED = (*CONTAINER_POOL, *SCHEDULE, *REMOVE, *FORK)

_GOSSIP = "invokers tell each other nothing here: each has its own framework, and the master arbitrates"
NOT_TESTED = {
    "update unused when container capacity is available": _GOSSIP,
    "request space from cluster on NeedResources": _GOSSIP,
    "remove unused on ReleaseFree": _GOSSIP,
    "not remove unused on ReleaseFree if idleGrace has not passed": _GOSSIP,
    "find idles to remove, but only the matching and unused": _GOSSIP,
    "remote 4096 blackbox reservation blocks blackbox canLaunch(256), not managed": _GOSSIP,
    "remove any amount of space when freeing unused": "an empty body there, and a part of ReleaseFree",
}
_CONTAINERS = "how one container lives is its own matter, not the pool's"
_FACTORY = "how a container is started on Mesos is the factory's matter, not the pool's"
ELSEWHERE = {
    "resend on ClusterResourceError": _CONTAINERS,
    "Subscribe on init": _FACTORY,
    "SubmitTask with constraints on create": _FACTORY,
    "DeleteTask on destroy": _FACTORY,
    "static log message": _FACTORY,
    "ClusterResourceError on mesos resource failure": _FACTORY,
    "retry on DockerRunFailure or DockerPullFailure": _FACTORY,
}


def name_of_test(title: str) -> str:
    """`not when active >= maxConcurrent` → `test_not_when_active_at_least_max_concurrent`."""
    words = title.replace("'", "").replace(">=", "at least").replace("<", "below")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words)
    return "test_" + re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")
