"""The invoker with its warm activations, in a process of its own: what it costs is not the launches' lag."""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path

import msgspec

from owmesos.core.pool.settings import PoolSettings
from owmesos.invoker.standalone import Standalone
from owmesos.service.framework import Framework
from owmesos.system.tasks import cancel_all
from soak.child import Child, say
from soak.load import Invoking
from soak.meter import Meter, Seen
from soak.served import served


class Invoked(msgspec.Struct):
    """Counts of activations: asked for, answered, and failed, by reason."""

    asked: int
    done: int
    wrong: dict[str, int]
    seen: Seen


class InvokerProcess(Child):
    """`rate` warm activations a second, until it is told to stop."""

    def __init__(self, master: str, folder: Path, rate: float) -> None:
        super().__init__("soak.invoking", master, folder, rate)

    def __enter__(self) -> InvokerProcess:
        return self

    def look(self) -> Invoked:
        return self._asked("look")

    def settle(self) -> Invoked:
        """What it measured before does not count."""
        return self._asked("settle")

    def stop(self) -> Invoked:
        """When all that was asked for has an answer."""
        return self._asked("stop")

    def _asked(self, what: str) -> Invoked:
        return msgspec.json.decode(self.ask(what), type=Invoked)


async def _serve(master: str, folder: Path, rate: float) -> None:
    """Until its standard input ends."""
    standalone = Standalone(folder, settings=PoolSettings(max_starts=50, max_starts_on_agent=50))
    framework = Framework(
        master=master, name="invoker", state=folder / "invoker", new_framework=True, pool=standalone.pool
    )
    async with served("invoker", framework, standalone) as roots:
        invoking, meter = Invoking(standalone, rate), Meter(framework, roots)
        await invoking.deploy()
        measuring, answered = asyncio.ensure_future(meter.run()), asyncio.ensure_future(invoking.run())
        try:
            say("ready")
            while what := (await asyncio.to_thread(sys.stdin.readline)).strip():
                for task in (measuring, answered):
                    if task.done():
                        task.result()
                if what == "settle":
                    meter.settled()
                elif what == "stop":
                    invoking.stop()
                    await answered
                invoked = Invoked(invoking.asked, invoking.done, dict(invoking.failures), meter.seen())
                say(msgspec.json.encode(invoked).decode())
        finally:
            await cancel_all([measuring, answered])


if __name__ == "__main__":
    gc.freeze()  # as `owmesos run` does
    asyncio.run(_serve(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])))
