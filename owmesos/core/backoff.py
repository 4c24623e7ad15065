"""Whose fault is it when a start fails: the node's, or the launch's? And who waits because of it.

A broken node always looks free, so the best fit would choose it again and again. A launch that cannot start (its image
does not exist, its user is unknown) fails wherever it goes, and would make every node look broken. One failure does
not tell the one from the other, so both are written down and the next starts tell.

**Evidence.** A start *failed* or *ran*. A node keeps the launches that failed there since anything last ran there; a
launch keeps the nodes where it failed since it last ran anywhere. A launch stands here for all launches of its *key*:
whatever has the same image, user, command and URIs starts or fails alike.

**Judgement.** When a start fails:

======================== ============================= ==============================
..                       the launch ran elsewhere      it did not
======================== ============================= ==============================
others run on the node   these two do not go together  the launch is at fault
nothing runs there yet   counts twice against the node counts once against the node
======================== ============================= ==============================

In each case the launch avoids that node for a while, so that its next attempt is made elsewhere and brings evidence:
first on a node that is *proved*, where something ran and nothing failed since but a launch at fault, for any other node
may be broken too. So while there is room on such a node, a launch loses one attempt to broken nodes and no more.
What was open is settled later: the launch runs elsewhere, and the failure counts against the node; another launch
runs on the node, or the launch fails on a second node, and the launch is at fault.

- A *launch at fault* waits 1 s, twice as long after each further attempt, a minute at most, and is tried once at a
  time. After `launch_attempts` of them its launches end with the reason. No node is closed for it.
- A *node is at fault* after `failed_starts` attempts in a row, by as many different launches that run
  elsewhere, or by twice as many that never ran anywhere while others ran elsewhere. It gets no starts for 30 s, twice
  as long each time, ten minutes at most; then one start, which opens it if it runs.
- A node that is only doubted stays open, but for no more than `failed_starts` starts at a time.

**What counts once, and what does not count.** Attempts that were under way together are one: a failure counts when its
attempt began after the last that counted. So an outage is one failure, however many tasks it took. What the node
itself dropped (it was restarted, or cut off) is an `outage`, and says nothing of the launches. During a node's pause
nothing counts. A node that registers anew, or where anything runs, begins at zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Hashable, Iterable, Iterator, Set
from typing import Literal, NamedTuple

import msgspec

from owmesos.core.start_faults import NEVER, AgentFaults, Fault, LaunchFaults, PairFaults

_REMEMBERED = 600.0  # seconds after its pause that a launch still prefers other nodes to one where it failed
_RECENT = 60.0  # seconds: what ran on a node so long ago still says that it works
_NEWS = 10.0  # seconds after its pause that it is still told that a launch is at fault
_NAMED = 3  # launches or nodes that a reason names
_KNOWN = 1000  # launches that are remembered


AtFault = Literal["agent", "launch", "unknown"]
"""Whose fault a failed start was, as far as was known at once."""


class BackoffLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Times in seconds."""

    failed_starts: int = 3  # in a row, of different launches, until a node is at fault; a doubted node gets as many
    backoff_first: float = 30.0  # a node's first pause; each next one is twice as long
    backoff_most: float = 600.0  # its longest
    launch_backoff_first: float = 1.0  # the first pause of a launch at fault; each next one is twice as long
    launch_backoff_most: float = 60.0  # its longest
    launch_attempts: int = 4  # of a launch at fault, until its launches end


class Avoided(NamedTuple):
    """Nodes that a launch does not use now (`never`), and all that it uses if there is no other (`last_choice`).

    A launch that failed begins with nodes that are `proved`, where it did not fail: any other one may be broken too.
    """

    never: frozenset[str] = frozenset()
    last_choice: frozenset[str] = frozenset()
    proved: Set[str] = frozenset()

    @property
    def choices(self) -> Iterator[Container[str]]:
        """What is avoided at the first choice, at the next, and at the last."""
        if self.proved:
            yield _AllBut(self.proved, self.last_choice)
        yield self.last_choice
        if self.never != self.last_choice:
            yield self.never


class _AllBut:
    """Every node but these, and of these the `avoided` ones."""

    def __init__(self, agent_ids: Set[str], avoided: Set[str]) -> None:
        self._agent_ids = agent_ids
        self._avoided = avoided

    def __contains__(self, agent_id: object) -> bool:
        return agent_id not in self._agent_ids or agent_id in self._avoided


class Backoff:
    """Decides who is at fault. A launch's key is any hashable value; `str` of it names the launch in a reason.

    `noun` is what a reason calls a node.
    """

    def __init__(self, limits: BackoffLimits | None = None, noun: str = "node") -> None:
        self.limits = limits or BackoffLimits()
        self._noun = noun
        self._agents: dict[str, AgentFaults] = {}
        self._launches: dict[Hashable, LaunchFaults] = {}
        self._suspects: set[Hashable] = set()  # launches that failed, or that avoid a node
        self._doubted: set[str] = set()
        self._proved: set[str] = set()  # something ran there, and nothing failed since
        self._outages = 0
        self.failures: Counter[AtFault] = Counter()
        """Failed starts since the process began."""

    # -- what happened

    def ran(self, agent_id: str, key: Hashable, now: float) -> list[Fault]:
        """A start succeeded: the node and the launch begin at zero, and what was open about others is settled."""
        agent, launch = self._agent(agent_id), self._launch(key)
        elsewhere = [each for each in launch.failing if each != agent_id]
        launch.failing, launch.outcast, launch.strikes = {}, set(), 0
        launch.struck_at = launch.until = NEVER
        launch.failed_at = NEVER
        launch.pairs.pop(agent_id, None)
        launch.ran_on = (*(each for each in launch.ran_on if each != agent_id), agent_id)[-2:]
        if not launch.pairs:
            self._suspects.discard(key)
        failed_here = [each for each in agent.failing if each != key]
        self._agents[agent_id] = AgentFaults(
            ran_at=now, usable_at=agent.usable_at, unusable=agent.unusable, unusable_since=agent.unusable_since
        )
        self._doubted.discard(agent_id)
        self._proved.add(agent_id)
        found = [fault for each in failed_here for fault in self._outcast(each, agent_id, now)]
        for each in elsewhere:
            if key in self._agent(each).failing:
                self._agent(each).failing[key] = True
                found += self._judge(each, now, "")
        return found

    def failed(self, agent_id: str, key: Hashable, begun: float, now: float, why: str) -> list[Fault]:
        """An attempt that was made at `begun` did not run. `why` is the reason that was given."""
        agent, launch = self._agent(agent_id), self._launch(key)
        if agent.pause is not None or begun < agent.anew_at:
            self.failures["agent"] += 1
            return []
        others_run = not agent.failing and begun - agent.ran_at < _RECENT
        was_at_fault, trusted = launch.at_fault, launch.ran_elsewhere(agent_id)
        self._suspects.add(key)
        launch.failed_at = now
        launch.failing.pop(agent_id, None)
        launch.failing[agent_id] = why  # the last in order
        self._pair(launch, agent_id, begun, now)
        if others_run and not trusted and launch.ran_on[-1:] != (agent_id,):
            launch.outcast.add(agent_id)
        if not trusted:  # it fails elsewhere too: what failed there says no more than that
            for each in (self._agents[each] for each in launch.failing if each in self._agents):
                each.failing = {other: runs and other != key for other, runs in each.failing.items()}
        if begun >= launch.struck_at:
            launch.strikes, launch.struck_at = launch.strikes + 1, now
            launch.until = now + self._launch_waits(launch.strikes)
        if not launch.at_fault:
            self._proved.discard(agent_id)
        self._strike(agent_id, key, trusted, begun, now)
        found = self._judge(agent_id, now, why)
        self.failures["agent" if found or trusted else "launch" if launch.at_fault else "unknown"] += 1
        return [self._fault_of(key)] if not found and launch.at_fault and not was_at_fault else found

    def outage(self, agent_id: str, begun: float, now: float, why: str) -> list[Fault]:
        """The node itself dropped an attempt that was made at `begun`, which says nothing of the launch."""
        self.failures["agent"] += 1
        agent = self._agent(agent_id)
        if agent.pause is not None or begun < max(agent.struck_at, agent.anew_at):
            return []
        self._outages += 1
        self._proved.discard(agent_id)
        self._strike(agent_id, ("outage", self._outages), True, begun, now)
        return self._judge(agent_id, now, why)

    def usable(self, agent_id: str, now: float) -> None:
        """Note that a container there could be used."""
        agent = self._agent(agent_id)
        agent.usable_at, agent.unusable = now, 0

    def unusable(self, agent_id: str, now: float, why: str) -> list[Fault]:
        """A container ran there and could not be used: another process may have its port. The node is at fault after
        `failed_starts` of them in a row, if meanwhile others could be used elsewhere."""
        agent = self._agent(agent_id)
        if agent.pause is not None:
            return []
        if not agent.unusable:
            agent.unusable_since = now
        agent.unusable += 1
        others = any(each.usable_at >= agent.unusable_since for name, each in self._agents.items() if name != agent_id)
        if agent.unusable < self.limits.failed_starts or not others:
            return []
        ran = f"{self._noun} {agent_id} ran {agent.unusable} containers in a row"
        reason = f"{ran} that could not be used; last error: {why}"
        return [self._close(agent_id, now, reason)]

    def began_anew(self, agent_id: str, now: float) -> None:
        """The node was lost, and may come back: then nothing is known of it, nor of what failed there."""
        self._agents[agent_id] = AgentFaults(anew_at=now)
        self._doubted.discard(agent_id)
        self._proved.discard(agent_id)
        for key in list(self._suspects):
            launch = self._launches[key]
            if launch.failing.keys() == {agent_id}:
                launch.failed_at = NEVER
            self._acquit(key, agent_id)

    def forget(self, agent_id: str) -> None:
        """Forget a node that is gone for good."""
        self.began_anew(agent_id, NEVER)
        del self._agents[agent_id]

    def pause_over(self, agent_id: str) -> None:
        """The node's pause is over. The next one is longer, unless a start succeeds."""
        agent = self._agents.get(agent_id)
        if agent is not None and agent.pause is not None:
            agent.pause = None
            self._doubted.add(agent_id)
            for key in list(self._suspects):
                launch = self._launches[key]
                if not launch.failing:
                    launch.failed_at = NEVER
                    self._calm_down(key)

    # -- what follows

    @property
    def calm(self) -> bool:
        """Whether nothing is suspected, of any launch or node."""
        return not self._suspects and not self._doubted

    def agent_pause(self, agent_id: str) -> Fault | None:
        agent = self._agents.get(agent_id)
        return agent.pause if agent is not None else None

    def doubt(self, agent_id: str) -> str | None:
        """Why a doubted node gets few starts at a time, as a sentence."""
        most = self.most_starts(agent_id)
        if most is None:
            return None
        what = "it failed starts" if self._agents[agent_id].pauses else "different launches failed"
        return f"{what} there in a row and nothing ran since: {most} start{'s' if most > 1 else ''} at a time"

    def most_starts(self, agent_id: str) -> int | None:
        """How many starts a doubted node gets at a time; None when that is not bounded."""
        if agent_id not in self._doubted:
            return None
        return 1 if self._agents[agent_id].pauses else self.limits.failed_starts

    def doubted(self) -> frozenset[str]:
        """The nodes whose starts are bounded."""
        return frozenset(self._doubted)

    def suspected(self, key: Hashable) -> bool:
        """Whether the launch failed and has not run since: it gets one attempt at a time."""
        return key in self._suspects and bool(self._launches[key].failing)

    def launch_pause(self, key: Hashable, now: float) -> Fault | None:
        """The launch's fault, while it gets no start because of it."""
        fault = self.at_fault(key)
        return fault if fault is not None and fault.until > now else None

    def at_fault(self, key: Hashable) -> Fault | None:
        """The launch's fault, also when it may be tried now."""
        return self._fault_of(key) if self._known(key).at_fault else None

    def explain(self, key: Hashable) -> str | None:
        """What failed of launches like it, and what is done about it, as a sentence; None when nothing did."""
        fault = self.at_fault(key)
        if fault is not None:
            return f"{fault.reason}; it is tried again {fault.seconds:g} s after the last attempt, once at a time"
        if not self.suspected(key):
            return None
        agent_id, said = next(reversed(self._launches[key].failing.items()))
        error = f" ({said})" if said else ""
        where = f"{self._noun} {agent_id}"
        return f"{_name(key)} failed to start on {where}{error}; it is tried once at a time, elsewhere first"

    def exhausted(self, key: Hashable) -> bool:
        """Whether no attempts are left: what waits for the launch ends with its reason."""
        launch = self._known(key)
        return launch.at_fault and launch.strikes >= self.limits.launch_attempts

    def avoided(self, key: Hashable, now: float) -> Avoided:
        """The nodes where the launch failed."""
        if key not in self._suspects:
            return Avoided()
        launch = self._launches[key]
        pairs = launch.pairs
        if now > launch.failed_at + _REMEMBERED:
            launch.failed_at = NEVER
        for agent_id in [each for each, pair in pairs.items() if now > pair.until + _REMEMBERED]:
            del pairs[agent_id]
        self._calm_down(key)
        never = frozenset(each for each, pair in pairs.items() if now < pair.until)
        return Avoided(never, frozenset(pairs), self._proved if launch.failed_at > NEVER else frozenset())

    def wakes_at(self, key: Hashable, now: float) -> float | None:
        """The next time at which the launch may be tried where it may not now."""
        launch = self._known(key)
        times = [pair.until for pair in launch.pairs.values()] + ([launch.until] if launch.at_fault else [])
        return min((each for each in times if each > now), default=None)

    # -- within

    def _agent(self, agent_id: str) -> AgentFaults:
        return self._agents.setdefault(agent_id, AgentFaults())

    def _known(self, key: Hashable) -> LaunchFaults:
        """What is known of the launch; not to be changed."""
        return self._launches.get(key) or LaunchFaults()

    def _launch(self, key: Hashable) -> LaunchFaults:
        """The launch's faults, moved to the end: the first are forgotten."""
        launch = self._launches[key] = self._launches.pop(key) if key in self._launches else LaunchFaults()
        while len(self._launches) > _KNOWN:
            oldest = next(iter(self._launches))
            del self._launches[oldest]
            self._suspects.discard(oldest)
        return launch

    def _launch_waits(self, times: int) -> float:
        """Seconds that a launch waits after `times` failures."""
        return _doubled(self.limits.launch_backoff_first, self.limits.launch_backoff_most, times)

    def _pair(self, launch: LaunchFaults, agent_id: str, begun: float, now: float) -> None:
        pair = launch.pairs.setdefault(agent_id, PairFaults())
        if begun >= launch.struck_at or not pair.failed:
            pair.failed += 1
            pair.until = now + self._launch_waits(pair.failed)

    def _strike(self, agent_id: str, key: Hashable, trusted: bool, begun: float, now: float) -> None:
        agent = self._agent(agent_id)
        if not agent.failing:
            agent.since = now
        agent.failing[key] = trusted
        if begun >= agent.struck_at:
            agent.strikes, agent.struck_at = agent.strikes + 1, now
        if agent.doubted:
            self._doubted.add(agent_id)

    def _outcast(self, key: Hashable, agent_id: str, now: float) -> list[Fault]:
        """Another launch runs where this one failed. That is news only while somebody may still try it."""
        launch = self._known(key)
        if agent_id not in launch.failing or launch.ran_elsewhere(agent_id):
            return []
        was_at_fault = launch.at_fault
        launch.outcast.add(agent_id)
        return [] if was_at_fault or now > launch.until + _NEWS else [self._fault_of(key)]

    def _acquit(self, key: Hashable, agent_id: str) -> None:
        """What failed there says nothing of the launch."""
        launch = self._launches.get(key)
        if launch is None:
            return
        launch.failing.pop(agent_id, None)
        launch.outcast.discard(agent_id)
        launch.pairs.pop(agent_id, None)
        if not launch.failing:
            launch.strikes, launch.struck_at, launch.until = 0, NEVER, NEVER
        self._calm_down(key)

    def _calm_down(self, key: Hashable) -> None:
        launch = self._known(key)
        if not launch.failing and not launch.pairs and launch.failed_at == NEVER:
            self._suspects.discard(key)

    def _judge(self, agent_id: str, now: float, why: str) -> list[Fault]:
        """Whether what failed there speaks against the node by now."""
        agent, limits = self._agent(agent_id), self.limits
        against = {key: runs for key, runs in agent.failing.items() if not self._known(key).outcast}
        run_elsewhere = sum(against.values())
        weight = len(against) + run_elsewhere
        if agent.pauses:  # it was at fault, and nothing ran there since
            guilty = agent.strikes > 0 and (run_elsewhere > 0 or weight >= limits.failed_starts)
        else:
            guilty = agent.strikes >= limits.failed_starts and weight >= 2 * limits.failed_starts
        if agent.pause is not None or not guilty or not (run_elsewhere or self._others_ran(agent_id, agent.since)):
            return []
        which = "different launches" if len(against) > 1 else "a launch"
        ran = "that run elsewhere" if run_elsewhere else "while others ran elsewhere"
        last = f"; last error: {why}" if why else ""
        failed = f"{self._noun} {agent_id} failed {agent.strikes} starts in a row"
        return [self._close(agent_id, now, f"{failed} of {which} {ran} ({_named(map(_name, against))}){last}")]

    def _close(self, agent_id: str, now: float, reason: str) -> Fault:
        """Give the node no starts for a while."""
        agent = self._agent(agent_id)
        pause = _doubled(self.limits.backoff_first, self.limits.backoff_most, agent.pauses + 1)
        keys = list(agent.failing)
        fault = Fault(agent_id, pause, now + pause, reason)
        self._agents[agent_id] = AgentFaults(
            struck_at=now, pauses=agent.pauses + 1, pause=fault, usable_at=agent.usable_at
        )
        self._doubted.discard(agent_id)
        self._proved.discard(agent_id)
        for key in keys:
            self._acquit(key, agent_id)
        return fault

    def _others_ran(self, agent_id: str, since: float) -> bool:
        return any(each != agent_id and agent.ran_at >= since for each, agent in self._agents.items())

    def _fault_of(self, key: Hashable) -> Fault:
        launch = self._launches[key]
        agents, noun = _named(launch.failing), self._noun
        several = len(launch.failing) > 1
        where = f"on {len(launch.failing)} {noun}s ({agents})" if several else f"on {noun} {agents}, where others run"
        error = next(reversed(launch.failing.values()), "")
        reason = f"{_name(key)} failed to start {where}" + (f"; last error: {error}" if error else "")
        return Fault(None, launch.until - launch.struck_at, launch.until, reason)


def _doubled(first: float, most: float, times: int) -> float:
    return min(most, first * 2.0 ** min(times - 1, 30))


def _name(key: Hashable) -> str:
    return "its own outage" if isinstance(key, tuple) and key[:1] == ("outage",) else str(key)


def _named(names: Iterable[str]) -> str:
    """The first of them."""
    listed = list(names)
    return ", ".join(listed[:_NAMED]) + (", …" if len(listed) > _NAMED else "")
