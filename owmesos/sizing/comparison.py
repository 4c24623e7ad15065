"""One workload on one cluster, for each setting in a process of its own: so many at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from owmesos.errors import OwmesosError
from owmesos.sizing.summary import Summary, summarize
from owmesos.sizing.surroundings import Surroundings
from owmesos.sizing.trace import Trace
from owmesos.sizing.trial import Setting, Trial

OnProgress = Callable[[str, float], None]
"""Told how far a setting has come, by its name, from 0 to 1."""
POINTS = 600
"""Samples of a run that are kept, more or less: as many as a plot can show."""
_STEP = 0.005


class SimulationFailed(OwmesosError):
    """A setting's process has ended without a result."""


@dataclass(frozen=True)
class Case:
    """What every setting meets. The `seed` decides on what the simulated cluster leaves to chance."""

    trace: Trace
    around: Surroundings
    seed: int = 1


def run_setting(case: Case, setting: Setting, progress: Callable[[float], None] = lambda share: None) -> Summary:
    """In this process."""
    seconds, said = case.trace.seconds, 0.0

    def sampled(at: float) -> None:
        nonlocal said
        if at / seconds >= said + _STEP:
            said = at / seconds
            progress(said)

    trial = Trial(setting, case.trace.functions, case.trace.invocations, case.around, case.seed, sampled=sampled)
    outcome = trial.run(seconds)
    neighbour, memory = bool(case.around.foreign), setting.memory_on(case.around)
    return summarize(
        outcome,
        setting=setting.name,
        seed=case.seed,
        neighbour=neighbour,
        user_memory=memory,
        every=max(1, len(outcome.samples) // POINTS),
    )


def compare(case: Case, settings: Sequence[Setting], jobs: int, on_progress: OnProgress) -> list[Summary]:
    """In the order of the settings. Raises SimulationFailed."""
    waiting, running = list(reversed(settings)), dict[Connection, _Running]()
    found: dict[str, Summary] = {}
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                started = _Running(case, waiting.pop())
                running[started.connection] = started
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                each = running[ready]
                heard = each.hear()
                if isinstance(heard, Summary):
                    found[each.setting.name] = heard
                    del running[ready]
                    each.end()
                    heard = 1.0
                on_progress(each.setting.name, heard)
    finally:
        for each in running.values():
            each.end()
    return [found[setting.name] for setting in settings]


class _Running:
    """The process of one setting. `connection` can be read when it has said something, or has ended."""

    def __init__(self, case: Case, setting: Setting) -> None:
        self.setting = setting
        context = multiprocessing.get_context("spawn")
        self.connection, ours = context.Pipe(duplex=False)
        arguments = (ours, case, setting, Path.cwd())
        self._process: SpawnProcess = context.Process(target=_work, args=arguments, daemon=True)
        # Ctrl-C goes to all of a terminal: that process inherits that it does not hear it, and this one ends it. What
        # starts the tracker of resources would let it through again, so that is there before.
        with _where_nobody_puts_modules():
            resource_tracker.ensure_running()
            before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
            try:
                self._process.start()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        ours.close()

    def hear(self) -> float | Summary:
        """Raises SimulationFailed."""
        try:
            heard = self.connection.recv()
        except EOFError:
            self._process.join()
            code = self._process.exitcode
            what = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
            more = ": is there enough memory?" if code == -signal.SIGKILL else ""
            raise SimulationFailed(f"the process of {self.setting.name!r} {what}{more}") from None
        if isinstance(heard, str):
            raise SimulationFailed(f"internal error in {self.setting.name!r}, please report it: {heard}")
        assert isinstance(heard, (float, Summary))
        return heard

    def end(self) -> None:
        self._process.terminate()
        self._process.join()
        self._process.close()
        self.connection.close()


@contextmanager
def _where_nobody_puts_modules() -> Iterator[None]:
    """`python -c`, by which multiprocessing starts both, imports from the working folder first, which may be /tmp."""
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.chdir("/")
        yield
    finally:
        os.fchdir(folder)
        os.close(folder)


def _work(connection: Connection, case: Case, setting: Setting, folder: Path) -> None:
    os.chdir(folder)
    try:
        connection.send(run_setting(case, setting, connection.send))
    except BrokenPipeError:
        pass  # the command has ended
    except Exception as error:  # noqa: BLE001  (the command says it in one line)
        connection.send(f"{type(error).__name__}: {error}")
