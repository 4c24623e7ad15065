"""The documents that others script against, as the library, the admin API and `-o json` give them.

Their names, fields and order are a contract (docs/cli.md). They are TypedDicts: dicts to who reads them, checked by
mypy, and known to msgspec, which makes their JSON schema. The columns of the command line, docs/cli.md and the OpenAPI
document are checked against this module, and `owmesos.openwhisk.documents` beside it; the docstrings are the
descriptions in the latter. It imports only `typing`, so that the command line starts quickly.

cpus are a float, mem and disk MB, ports `[[begin, end], …]`; times ISO 8601 UTC; None is what is not known.
"""

from __future__ import annotations

from typing import Literal, TypedDict, final

LivingState = Literal["PENDING", "RESERVED", "SUBMITTED", "STAGING", "RUNNING", "UNREACHABLE"]
EndedState = Literal["FINISHED", "FAILED", "KILLED", "LOST", "ERROR"]
LaunchState = Literal[LivingState, EndedState]
ServerState = Literal["up", "down", "unknown"]
NodeStateWord = Literal["fresh", "stale", "unknown", "draining", "closed", "backoff", "gone"]
ContainerStateWord = Literal["starting", "prewarmed", "warming", "warm", "busy", "stopping", "gone"]


class Amounts(TypedDict):
    """Amounts of the resources that can be added up over nodes."""

    cpus: float
    mem: float  # MB
    disk: float  # MB
    gpus: float


class Sum(Amounts):
    """Amounts of several nodes."""

    pods: int  # 0 on Mesos


class Vector(Amounts):
    """An amount of each resource."""

    ports: list[list[int]]  # [begin, end], both included
    pods: int  # 0 on Mesos


class UnavailabilityDocument(TypedDict):
    """An agent's maintenance. `duration_s` None is without end."""

    start: str | None
    duration_s: float | None


class NodeDocument(TypedDict):
    """An agent's room in one allocation role."""

    agent_id: str | None
    hostname: str
    role: str  # allocation role
    attributes: dict[str, list[str]]  # the canonical texts of all values of each
    state: NodeStateWord
    total: Vector | None
    used: Vector  # by our tasks; with --master, by all frameworks'
    free: Vector  # what offers showed
    reserved: Vector  # for starts that are not yet in an ACCEPT
    buffer: Vector  # kept free
    available: Vector  # free - reserved - buffer, at least 0
    unavailability: UnavailabilityDocument | None
    observed_at: str | None  # when `free` was seen
    age_s: float | None  # seconds since then
    reason: str | None  # why it gets few or no starts


class OfferDocument(TypedDict):
    """An offer in hand, or the last one of an agent. `filter_s`: seconds that a decline asked for."""

    offer_id: str
    agent_id: str
    hostname: str
    role: str  # allocation role
    resources: Vector
    state: Literal["outstanding", "accepted", "declined", "rescinded", "void"]
    reason: str | None  # why it was let go
    filter_s: float | None  # an ACCEPT asks too
    launch_ids: list[str]  # started on it
    received_at: str | None
    ended_at: str | None
    age_s: float  # seconds since it came


class ReservationDocument(TypedDict):
    """A start that is not confirmed, or a stop whose room was not seen yet."""

    launch_id: str
    task_id: str | None  # None until the start is in an ACCEPT
    agent_id: str
    hostname: str
    kind: Literal["start", "stop"]
    state: Literal["decided", "cut", "stopping", "overdue"]
    resources: Vector
    since: str | None
    age_s: float  # seconds since then


class LaunchDocument(TypedDict):
    """A launch. `late_s`: seconds after its deadline that it ran, or ended without."""

    launch_id: str
    task_id: str | None  # of the present attempt
    name: str
    state: LaunchState
    attempts: int
    agent_id: str | None
    hostname: str | None
    ports: list[list[int]]  # [begin, end], those it has
    resources: Vector
    queue_position: int | None  # 0 is the head; None if it does not wait
    submitted_at: str | None
    deadline_at: str | None
    started_at: str | None  # when it was first seen RUNNING
    ended_at: str | None
    overdue: bool  # its deadline passed before it ran
    late_s: float | None
    reason: str | None  # Mesos's or our word for why it is in this state
    message: str | None  # the same for a person
    summary: str | None  # why it waits, or until when its unreachable agent may come back


class KillDocument(LaunchDocument):
    """A launch, and what a kill did about it."""

    outcome: Literal["killing", "killed", "ended"]


class UnknownKillDocument(TypedDict):
    """What a kill did about an id that no launch has."""

    launch_id: str
    message: str
    outcome: Literal["unknown"]


class UnreadableDocument(TypedDict):
    """A stored launch that is set aside."""

    launch_id: str
    reason: str


class ContainerDocument(TypedDict):
    """A container of the pool. `memory` in MB, `active` runs; `action` and `address` None where there is none yet."""

    container_id: str
    action: str | None
    kind: str
    state: ContainerStateWord
    agent_id: str
    hostname: str
    address: str | None
    memory: int
    active: int
    last_used: str | None


@final
class LaunchExplanation(TypedDict):
    """Why a launch waits: `failed` counts the `agents` by the first reason that applies. None if it does not wait."""

    launch_id: str
    state: LaunchState
    queue_position: int | None
    agents: int | None  # that are known
    failed: dict[str, int]
    nearest: str | None  # which comes closest, and what it lacks
    summary: str


@final
class ActivationExplanation(TypedDict):
    """Why an activation waits, or where it runs."""

    activation_id: str
    state: Literal["waiting", "running"]
    agents: int | None
    failed: dict[str, int]
    nearest: str | None
    summary: str


class StoryEntry(TypedDict):
    """One thing that happened to a launch."""

    at: str | None
    state: LaunchState
    text: str


class ActivationStoryEntry(TypedDict):
    """One thing that happened to an activation, or to the container that was started for it."""

    at: str | None
    state: str  # of the activation, or of the container's launch
    text: str


@final
class ActivationStory(TypedDict):
    """An activation's history, as far as it is known."""

    activation_id: str
    state: Literal["waiting", "running", "ended"]
    container_id: str | None
    story: list[ActivationStoryEntry]


@final
class StoryDocument(TypedDict):
    """A launch's whole history."""

    launch_id: str
    state: LaunchState
    story: list[StoryEntry]


class WaitingDocument(TypedDict):
    """What waits for room: a launch, a container of the pool or an activation. `reason` may be some seconds old."""

    id: str
    kind: Literal["launch", "container", "activation"]
    name: str
    position: int  # 0 is the head of its queue
    cpus: float
    mem: float  # MB
    since: str | None
    reason: str | None  # None if not yet known
    nearest: str | None  # which node comes closest, and what it lacks


class TimelineDocument(TypedDict):
    """When a launch, a container of the pool or an activation waited, started, ran and ended."""

    id: str
    kind: Literal["launch", "container", "activation"]
    name: str
    state: str  # a LaunchState; of an activation: waiting, starting, running or ended
    start: Literal["warm", "prewarmed", "cold"] | None  # how an activation got its container
    agent_id: str | None
    hostname: str | None
    container_id: str | None  # of an activation
    waiting_at: str | None
    starting_at: str | None
    running_at: str | None
    ended_at: str | None
    failed: bool
    message: str | None


class StartsDocument(TypedDict):
    """What happened in the 10 s from `at` on."""

    at: str | None
    warm: int  # activations
    prewarmed: int
    cold: int
    launched: int  # launches that came to run
    failed: int  # launches and activations
    waiting: int  # launches and activations that waited for room at the end


class EventsDocument(TypedDict, total=False):
    """The data of an event: rows that are new or changed, and in `gone` the keys of rows that were removed.

    A row's key is its `id`, `launch_id` or `at`; a node's is its `agent_id` and `role`, separated by a blank.
    """

    at: str | None  # the process's time
    rest: int  # rows that still follow in other events of this snapshot
    status: StatusDocument
    left_out: dict[str, int]  # how many more there are than the rows of a kind
    nodes: list[NodeDocument]
    reservations: list[ReservationDocument]
    waiting: list[WaitingDocument]
    timeline: list[TimelineDocument]
    starts: list[StartsDocument]
    gone: dict[str, list[str]]  # keys of removed rows, by list


class ServerDocument(TypedDict):
    """Kafka or CouchDB. `state` is `unknown` while nobody has tried; `advice` is what to do."""

    state: ServerState
    since: str | None
    address: str
    reason: str | None  # why it is down
    advice: str | None  # None if it will pass by itself


class InvokerDocument(TypedDict):
    """An invoker of OpenWhisk. `refuses` is why it takes no activations, None if it takes them."""

    invoker: str
    enabled: bool
    refuses: str | None
    kafka: ServerDocument
    couchdb: ServerDocument
    held: int  # activations
    held_bytes: int  # of their messages
    records_waiting: int
    records_written: int
    records_dropped: int


class InvokerStatus(TypedDict):
    """What an invoker says of itself. `invoker` to `couchdb` are None in standalone mode; see InvokerDocument."""

    invoker: str | None
    refuses: str | None
    kafka: ServerDocument | None
    couchdb: ServerDocument | None
    records_waiting: int  # activation records that are not written yet


class OldestDocument(TypedDict):
    """The launch or activation that has waited longest."""

    id: str
    name: str  # of the launch, or of the activation's action
    since: str | None
    wait_s: float  # seconds since then
    reason: str  # the summary of its explanation


class QueueDocument(TypedDict):
    """What waits. `oldest` is None if nothing waits."""

    length: int
    oldest: OldestDocument | None


class RunsDocument(QueueDocument):
    """The activations of an invoker: `length` wait for a container, `running` have one."""

    running: int


class SumsDocument(TypedDict):
    """The sums of NodeDocument's amounts over all nodes that are not gone."""

    total: Sum  # of the nodes whose total is known
    used: Sum
    free: Sum
    reserved: Sum
    buffer: Sum
    available: Sum


class NodeTrouble(TypedDict):
    """A node that gets few or no starts, and why."""

    agent_id: str
    hostname: str
    state: NodeStateWord
    reason: str


class NodesStatus(TypedDict):
    """The nodes, in all allocation roles together."""

    states: dict[NodeStateWord, int]  # how many nodes are in each state
    in_trouble: int
    trouble: list[NodeTrouble]  # the first 100 of those, by hostname
    sums: SumsDocument


class CheckDocument(TypedDict):
    """A finding of `owmesos doctor`."""

    check: str
    state: Literal["ok", "warn", "fail"]
    message: str
    mend: str | None  # what to do; None if it is ok


class ClusterStatus(TypedDict):
    """The connection to the cluster manager. `since`: when `connected` became what it is."""

    manager: Literal["mesos", "kubernetes"]
    address: str  # of the master; while there is no connection, of those that are asked
    connected: bool
    since: str | None
    silent_since: str | None  # when it was last heard, once its heartbeats are overdue
    reason: str | None  # why there is no connection, or what slows it down


class StateTrouble(TypedDict):
    """What keeps the state from being written: nothing new is launched or ended meanwhile."""

    reason: str
    since: str | None


class StatusDocument(TypedDict):
    """What somebody on call looks at first. Counts are by state, without states that nothing is in."""

    version: str  # of owmesos
    started_at: str | None  # when the process started
    cluster: ClusterStatus
    framework_id: str | None
    name: str
    roles: list[str]
    launches: dict[LaunchState, int]
    unreadable: int  # stored launches that are set aside
    state_trouble: StateTrouble | None  # None while the state can be written
    queue: QueueDocument  # launches that wait for room
    containers: dict[ContainerStateWord, int]
    runs: RunsDocument | None  # None without a pool of containers
    invoker: InvokerStatus | None
    nodes: NodesStatus


class _Servers(TypedDict, total=False):
    kafka: ServerState
    couchdb: ServerState


class HealthDocument(_Servers):
    """Whether Mesos's master has us; of an invoker also whether its servers are `up`, `down` or `unknown`."""

    subscribed: bool
    framework_id: str | None


class StandbyDocument(TypedDict):
    """What a standby says of itself. `leader`: the URL of the leader's admin API; None while that is not known."""

    standby: bool
    leader: str | None


class _UnknownPath(TypedDict, total=False):
    unknown_path: str


class ErrorDocument(_UnknownPath):
    """What went wrong, and what to do, in one line. `unknown_path`: what this framework does not serve at all."""

    error: str


class AliveDocument(TypedDict):
    """For liveness probes."""

    alive: bool


class TeardownDocument(TypedDict):
    """The framework that was torn down."""

    framework_id: str


class _ServerName(TypedDict):
    server: str


class ServerRow(_ServerName, ServerDocument):
    """A server in the table of `owmesos invoker`."""


class SimulationDocument(TypedDict):
    """What `owmesos simulate` found of one setting. Waits in seconds, memory in MB; `cold`, `memory_used` and
    `memory_busy` are shares."""

    setting: str
    user_memory: int | None  # None: the cluster is asked
    activations: int
    wait_median_s: float  # until the run begins, /init included
    wait_p99_s: float
    wait_max_s: float
    long_waits: int  # over a minute
    failed: int  # activations
    lost: int  # with their agents
    starts: int  # of containers
    overprovisioned: int  # starts that the cluster had no room for
    refused: int  # starts whose room was gone
    failed_starts: int
    cold: float  # activations that needed /init
    evictions: int
    memory_used: float  # by containers, of that of all agents
    memory_busy: float  # of these, with an activation
    memory_peak: int  # that containers held at once
