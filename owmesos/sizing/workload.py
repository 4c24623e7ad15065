"""The activations of one run: which actions there are, and when each is invoked and for how long.

Published, of all of Azure Functions in July 2019 (Shahrad et al., "Serverless in the Wild", USENIX ATC 2020):
invocation rates span eight orders of magnitude, 45 % of the applications are invoked at most once an hour and 81 % at
most once a minute; a function's average duration is log-normal with log mean -0.38 and sigma 2.36 (seconds); an
application's average memory is Burr-distributed with c 11.652, k 0.221 and scale 107.083 (MB); 16 % of the functions
have a timer as their trigger, and the times between invocations are regular, as of a Poisson process, or burstier.

Ours, where nothing is published or a run has no use for it: rates above `hottest` are cut, and all are scaled alike to
the load that is asked for; a single invocation's duration varies around its function's average (sigma 0.5) and ends
at the action's time-out; memory is rounded up to OpenWhisk's usual limits, 128 to 2,048 MB; of the actions without
a timer half are Poisson and half come in bursts (coefficient of variation 4). Each distribution is cut into as many
equal parts as there are actions and each part is used once, in an order by seed: so every seed has its hot, its long
and its large actions.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist

from owmesos.core.pool.containers import ContainerShape, PoolAction

DAY = 86_400.0
RATES = ((0.0, 1.0), (0.45, 24.0), (0.81, 1_440.0), (1.0, 1e8))  # share of the functions, at most so often a day
DURATION_LOG_MEAN, DURATION_SIGMA = -0.38, 2.36
MEMORY_C, MEMORY_K, MEMORY_SCALE = 11.652, 0.221, 107.083
TIMERS = 0.16
BURST_CV = 4.0
WITHIN_SIGMA = 0.5
LIMITS = (128, 256, 512, 1_024, 2_048)  # MB
TIMEOUT = 60.0  # OpenWhisk's default limit


@dataclass(frozen=True)
class Load:
    """How much there is to do. `busy` is the memory, in MB, of the containers that run at once on average."""

    seconds: float
    busy: float
    actions: int = 300
    hottest: float = 1.0  # invocations a second, before all rates are scaled


@dataclass(frozen=True)
class Function:
    """An action and the namespace that invokes it."""

    action: PoolAction
    namespace: str


@dataclass(frozen=True)
class DrawnFunction(Function):
    """With its rate (invocations a second) and average duration in seconds.

    `cv` is the coefficient of variation of the times between invocations.
    """

    rate: float
    duration: float
    cv: float

    @property
    def busy(self) -> float:
        """MB that it keeps busy on average."""
        return self.rate * self.duration * self.action.shape.memory


@dataclass(frozen=True, order=True)
class Invocation:
    """`at` in seconds from the beginning, `duration` in seconds."""

    at: float
    number: int
    function: int
    duration: float


def rate_at(share: float) -> float:
    """Invocations a day that this share of the functions stay below: between the published points by powers."""
    for (low, below), (high, above) in pairwise(RATES):
        if share <= high:
            part = (share - low) / (high - low)
            return math.exp(math.log(below) + part * (math.log(above) - math.log(below)))
    raise ValueError(f"{share} is not a share")


def duration_at(share: float) -> float:
    """Average seconds that this share of the functions stay below."""
    return math.exp(NormalDist(DURATION_LOG_MEAN, DURATION_SIGMA).inv_cdf(share))


def memory_at(share: float) -> int:
    """The limit in MB that this share of the functions need at most."""
    return limit_for(MEMORY_SCALE * ((1 - share) ** (-1 / MEMORY_K) - 1) ** (1 / MEMORY_C))


def limit_for(used: float) -> int:
    """The limit in MB of an action that uses so much."""
    return next((limit for limit in LIMITS if used <= limit), LIMITS[-1])


def functions(load: Load, seed: int) -> list[DrawnFunction]:
    """The actions, the same for the same arguments."""
    chance = random.Random(seed)
    count = load.actions
    rates = _drawn(count, chance, lambda share: min(rate_at(share) / DAY, load.hottest))
    durations = _drawn(count, chance, lambda share: min(duration_at(share), TIMEOUT / 2))
    memories = _drawn(count, chance, memory_at)
    triggers = _drawn(
        count, chance, lambda share: 0.0 if share < TIMERS else 1.0 if share < (1 + TIMERS) / 2 else BURST_CV
    )
    made = [
        DrawnFunction(
            PoolAction(f"action{n}", "0.0.1", ContainerShape("python:3", int(memories[n])), timeout=TIMEOUT),
            f"namespace{n % 20}",
            rates[n],
            durations[n],
            triggers[n],
        )
        for n in range(count)
    ]
    factor = load.busy / sum(each.busy for each in made)
    return [DrawnFunction(each.action, each.namespace, each.rate * factor, each.duration, each.cv) for each in made]


def _drawn(count: int, chance: random.Random, at: Callable[[float], float]) -> list[float]:
    """One value from each of `count` equal parts of the distribution, shuffled."""
    values = [at((n + chance.uniform(0.05, 0.95)) / count) for n in range(count)]
    chance.shuffle(values)
    return values


def activations(of: list[DrawnFunction], load: Load, seed: int) -> list[Invocation]:
    """All invocations, in order."""
    chance = random.Random(seed + 1_000_003)
    found: list[Invocation] = []
    for index, function in enumerate(of):
        mu = math.log(function.duration) - WITHIN_SIGMA**2 / 2
        for at in arrivals(function.rate, function.cv, load.seconds, chance):
            duration = min(chance.lognormvariate(mu, WITHIN_SIGMA), TIMEOUT)
            found.append(Invocation(at, 0, index, duration))
    found.sort()
    return [Invocation(each.at, number, each.function, each.duration) for number, each in enumerate(found)]


def arrivals(rate: float, cv: float, seconds: float, chance: random.Random) -> Iterator[float]:
    """Times within `seconds`: regular (cv 0), Poisson (1), or hyperexponential with balanced means (above 1)."""
    at = chance.random() / rate if cv == 0 else chance.expovariate(rate)
    often = (1 + math.sqrt((cv**2 - 1) / (cv**2 + 1))) / 2 if cv > 1 else 1.0
    while at < seconds:
        yield at
        if cv == 0:
            at += 1 / rate
        elif cv == 1 or chance.random() < often:
            at += chance.expovariate(2 * often * rate if cv > 1 else rate)
        else:
            at += chance.expovariate(2 * (1 - often) * rate)
