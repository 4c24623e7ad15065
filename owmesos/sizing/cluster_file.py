"""Reads a cluster and its changes from a YAML file; what is wrong with it is said with its line.

agents:
  - {count: 10, cpus: 8, mem: 8192}              # agent1 … agent10; MB
  - {name: big, count: 2, cpus: 32, mem: 131072}  # big1, big2
changes:                                          # `at` in seconds
  - {at: 300, leave: agent3}                      # its operator removes it; a list of names, too
  - {at: 420, die: [agent4, big2]}                # its machine ends, which Mesos finds out later
  - {at: 600, join: {count: 2, cpus: 8, mem: 8192}}
  - {at: 700, join: agent3}                       # it comes back
  - {at: 900, neighbour_takes: 4096}              # another framework: MB
  - {at: 1500, neighbour_gives: 4096}
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from owmesos.errors import InvalidInput, os_errors_as_invalid_input
from owmesos.sizing.surroundings import Change, Foreign, Machine, Surroundings
from owmesos.sizing.trace import LONGEST

EXAMPLE = "[{count: 10, cpus: 8, mem: 8192}]"
LARGEST = 2**20
"""Bytes of a file."""
MOST_MACHINES = 50_000
MOST_MB = 2**30
MOST_TASKS = 100_000
MOST_CPUS = 10_000.0
TASK_MB = 1_024
"""A neighbour takes its memory in tasks of so much, as far as that goes."""
FOR_EVER = 10.0**7  # seconds; longer than any run
_WHAT = ("leave", "die", "join", "neighbour_takes", "neighbour_gives")
_AGENT = ("count", "cpus", "mem", "name")
_NAME_LENGTH = 60


def read_cluster(path: Path) -> Surroundings:
    """Raises InvalidInput."""
    return _ClusterFile(path).read()


class _ClusterFile:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._machines: dict[str, Machine] = {}
        self._there: set[str] = set()  # at the time of the change that is read
        self._absent: list[str] = []  # at the start
        self._changes: list[Change] = []
        self._foreign: list[Foreign] = []
        self._numbers: dict[str, int] = {}  # the last of each name
        self._held: deque[tuple[float, int]] = deque()  # what the neighbour holds: since when, and MB

    def read(self) -> Surroundings:
        top = self._mapping(self._composed(), "the file", ("agents", "changes"))
        if "agents" not in top:
            raise InvalidInput(f"{self._path}:1: `agents` is missing: a list such as {EXAMPLE}")
        for node in self._items(top["agents"], "agents", EXAMPLE):
            self._there |= {each.name for each in self._join(node)}
        if not self._machines:
            self._fail(top["agents"], f"`agents` is empty: write a list such as {EXAMPLE}")
        at = 0.0
        for node in self._items(top["changes"], "changes", "[{at: 300, leave: agent3}]") if "changes" in top else ():
            at = self._change(node, at)
        self._foreign += [Foreign(since, mem, FOR_EVER) for since, mem in self._held]
        foreign = tuple(sorted(self._foreign, key=lambda each: each.at))
        return Surroundings(tuple(self._machines.values()), tuple(self._absent), tuple(self._changes), foreign)

    def _composed(self) -> Any:
        import yaml  # type: ignore[import-untyped]

        with os_errors_as_invalid_input(f"{self._path} cannot be read"), self._path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise InvalidInput(f"{self._path} is larger than {LARGEST // 2**20} MB")
        try:
            node = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            raise InvalidInput(f"{self._path}:{line}: it is not valid YAML: {error.problem}") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            what = " ".join(str(error).split())[:200]
            raise InvalidInput(f"{self._path}: it is not valid YAML: {what}") from None
        if node is None:
            raise InvalidInput(f"{self._path}:1: it is empty: it must have `agents`")
        return node

    # -- changes

    def _change(self, node: Any, earlier: float) -> float:
        """When it is."""
        found = self._mapping(node, "a change", ("at", *_WHAT))
        what = [each for each in _WHAT if each in found]
        if "at" not in found or len(what) != 1:
            self._fail(node, f"a change has `at` and one of {', '.join(_WHAT)}")
        at = self._number(found["at"], "at", LONGEST, unit="seconds")
        if at < earlier:
            self._fail(found["at"], f"at {at:g} is before the change above it, at {earlier:g}: write them in order")
        value = found[what[0]]
        if what[0] == "join":
            self._joins(at, value)
        elif what[0] in ("leave", "die"):
            for name in self._names(value):
                self._leaves(at, name, value, removed=what[0] == "leave")
        elif what[0] == "neighbour_takes":
            self._takes(at, self._megabytes(value, what[0]), value)
        else:
            self._gives(at, self._megabytes(value, what[0]), value)
        return at

    def _joins(self, at: float, node: Any) -> None:
        if node.id == "mapping":
            new = [each.name for each in self._join(node)]
            self._absent += new
        else:
            new = list(self._names(node))
        for name in new:
            if name not in self._machines:
                self._fail(node, f"unknown agent {name!r}: one that is new needs {{cpus: …, mem: …}}")
            if name in self._there:
                self._fail(node, f"{name} is there already")
            self._there.add(name)
            self._changes.append(Change(at, name, up=True))

    def _leaves(self, at: float, name: str, node: Any, *, removed: bool) -> None:
        if name not in self._there:
            self._fail(node, f"there is no agent {name!r} then; there are {self._some()}")
        self._there.remove(name)
        self._changes.append(Change(at, name, up=False, removed=removed))

    def _some(self) -> str:
        named = [name for name in self._machines if name in self._there]
        return ", ".join(named[:5]) + (f" and {len(named) - 5} more" if len(named) > 5 else "") if named else "none"

    def _takes(self, at: float, mem: int, node: Any) -> None:
        if len(self._held) + mem // TASK_MB > MOST_TASKS:
            self._fail(node, f"the neighbour takes more than {MOST_TASKS * TASK_MB:,} MB")
        while mem > 0:
            self._held.append((at, min(mem, TASK_MB)))
            mem -= TASK_MB

    def _gives(self, at: float, mem: int, node: Any) -> None:
        """What it has held for the longest. A task of which a part is given back is two from the beginning."""
        held = sum(each for _, each in self._held)
        if mem > held:
            self._fail(node, f"the neighbour gives {mem} MB, but holds {held} MB then")
        while mem > 0:
            since, size = self._held.popleft()
            given = min(size, mem)
            mem -= given
            self._foreign.append(Foreign(since, given, at - since))
            if size > given:
                self._held.appendleft((since, size - given))

    # -- machines

    def _join(self, node: Any) -> list[Machine]:
        """New ones, named by their number."""
        found = self._mapping(node, "an agent", _AGENT)
        for key in ("cpus", "mem"):
            if key not in found:
                self._fail(node, f"`{key}` of an agent is missing")
        cpus = self._number(found["cpus"], "cpus", MOST_CPUS, least=0.001)
        mem = self._megabytes(found["mem"], "mem")
        count = self._number(found["count"], "count", MOST_MACHINES, least=1) if "count" in found else 1.0
        if count != int(count):
            self._fail(found["count"], f"count is {count:g}: write a whole number")
        prefix = self._text(found["name"]) if "name" in found else "agent"
        made = []
        for name in self._new_names(prefix, int(count), numbered="name" not in found or "count" in found):
            if name in self._machines:
                self._fail(node, f"there are two agents {name!r}: give them another `name`")
            if len(self._machines) == MOST_MACHINES:
                self._fail(node, f"there are more than {MOST_MACHINES:,} agents")
            made.append(Machine(name, cpus, mem))
            self._machines[name] = made[-1]
        return made

    def _new_names(self, prefix: str, count: int, *, numbered: bool) -> Iterator[str]:
        if not numbered:
            yield prefix
            return
        for _ in range(count):
            self._numbers[prefix] = self._numbers.get(prefix, 0) + 1
            yield f"{prefix}{self._numbers[prefix]}"

    # -- what YAML says

    def _mapping(self, node: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
        if node.id != "mapping":
            self._fail(node, f"{what} must be a mapping with {', '.join(keys)}")
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value) if key.id == "scalar" else "?"
            if name not in keys:
                self._fail(key, f"unknown key {name[:_NAME_LENGTH]!r}: {what} has {', '.join(keys)}")
            if name in found:
                self._fail(key, f"`{name}` is there twice")
            found[name] = value
        return found

    def _items(self, node: Any, what: str, example: str) -> list[Any]:
        if node.id != "sequence":
            self._fail(node, f"`{what}` must be a list such as {example}")
        return list(node.value)

    def _names(self, node: Any) -> list[str]:
        return [self._text(each) for each in node.value] if node.id == "sequence" else [self._text(node)]

    def _text(self, node: Any) -> str:
        if node.id != "scalar" or not 0 < len(node.value) <= _NAME_LENGTH:
            self._fail(node, f"it must be a name of at most {_NAME_LENGTH} characters")
        return str(node.value)

    def _megabytes(self, node: Any, what: str) -> int:
        return int(self._number(node, what, MOST_MB, least=1, unit="MB"))

    def _number(self, node: Any, what: str, most: float, *, least: float = 0.0, unit: str = "") -> float:
        text = node.value if node.id == "scalar" else ""
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not least <= value <= most:
            of = f" of {unit}" if unit else ""
            said = str(text)[:_NAME_LENGTH]
            self._fail(node, f"{what} is {said!r}: write a number{of} from {least:g} to {most:,.0f}")
        return value

    def _fail(self, node: Any, what: str) -> NoReturn:
        raise InvalidInput(f"{self._path}:{node.start_mark.line + 1}: {what}")
