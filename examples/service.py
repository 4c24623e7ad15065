#!/usr/bin/env python3
"""A service: keeps N copies of a web server running, each on another rack, and replaces those that end.

    examples/service.py 127.0.0.1:5050 --copies 2 --racks r1 r2 --seconds 20

It shows constraints, ports, an edited TaskInfo (kill policy) and NodeStats as they change. With `--state` the service
outlives this program: start it again with the same folder and it finds its copies running.
"""

import argparse
import asyncio
import sys

import owmesos
from owmesos.mesos.messages import DurationInfo, KillPolicy, TaskInfo

SERVER = "exec python3 -m http.server --bind $HOST $PORT"


def patient(task: TaskInfo) -> None:
    """Give a copy five seconds to answer what it has begun."""
    task.kill_policy = KillPolicy(DurationInfo(5_000_000_000))


async def keep_one(framework: owmesos.Framework, rack: str) -> None:
    """One copy on one rack, for as long as we run."""
    name = f"web-{rack}"
    alive = [row for row in framework.launches() if row["name"] == name and not row["ended_at"]]
    while True:
        if alive:
            launch = owmesos.LaunchHandle(framework, alive.pop()["launch_id"])
        else:
            launch = await framework.launch(
                owmesos.Launch(
                    name=name, command=SERVER, mem=64, ports=1, constraints=[f"rack == {rack}"], task_info=patient
                )
            )
        try:
            row = await launch.running()
            print(f"{name} serves at http://{row['hostname']}:{row['ports'][0][0]}/", flush=True)
            row = await launch.ended()
            print(f"{name} ended: {row['state']} {row['message'] or ''}; starting another", flush=True)
        except owmesos.LaunchFailed as failure:
            print(f"{failure}; trying again", flush=True)
        await asyncio.sleep(1)  # what ends at once must not be started in a tight loop


async def watch(framework: owmesos.Framework) -> None:
    last: dict[str, float] = {}
    async for update in framework.node_stats():
        for stats in update.changed:
            if last.get(stats.agent_id) != stats.available.mem:
                last[stats.agent_id] = stats.available.mem
                print(f"{stats.hostname} has {stats.available.mem:g} MB for us ({stats.state.value})", flush=True)


async def serve(options: argparse.Namespace) -> None:
    racks = [options.racks[copy % len(options.racks)] for copy in range(options.copies)]
    async with owmesos.Framework(master=options.master, name="web", state=options.state) as framework:
        work = [asyncio.create_task(watch(framework)), *(asyncio.create_task(keep_one(framework, r)) for r in racks)]
        finished = asyncio.create_task(framework.finished())
        await asyncio.wait([*work, finished], timeout=options.seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in [*work, finished]:
            task.cancel()
        await asyncio.gather(*work, finished, return_exceptions=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master")
    parser.add_argument("--copies", type=int, default=2)
    parser.add_argument("--racks", nargs="+", default=["r1", "r2"])
    parser.add_argument("--seconds", type=float, help="stop after so long (default: never)")
    parser.add_argument("--state", help="a folder: the copies then outlive this program")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    try:
        main()
    except owmesos.OwmesosError as error:
        sys.exit(f"service: {error}")
