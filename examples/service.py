#!/usr/bin/env python3
"""A service: keeps a web server running on each rack, and replaces what ends.

    examples/service.py 127.0.0.1:5050 --racks r1 r2 --seconds 20

It shows constraints, ports, an edited TaskInfo (kill policy), and launches and NodeStats as they change. With `--state`
the servers outlive this program: start it again with the same folder and it finds them running. With the master `local`
it brings a cluster of its own.
"""

import argparse
import asyncio
import contextlib
import sys

import owmesos
from owmesos.mesos.messages import DurationInfo, KillPolicy

SERVER = "exec python3 -m http.server --bind $HOST $PORT"


def patient(task: owmesos.TaskInfo) -> None:
    """Give a server five seconds to answer what it has begun."""
    task.kill_policy = KillPolicy(DurationInfo(5_000_000_000))


def server(rack: str) -> owmesos.Launch:
    return owmesos.Launch(
        SERVER, name=f"web-{rack}", mem=64, ports=1, constraints=[f"rack == {rack}"], task_info=patient
    )


async def tell_launches(framework: owmesos.Framework) -> None:
    told: dict[str, str] = {}
    async for row in framework.launch_changes():
        if told.get(row["launch_id"]) == row["state"]:
            continue
        told[row["launch_id"]] = row["state"]
        if row["state"] == "RUNNING":
            print(f"{row['name']} serves at http://{row['hostname']}:{row['ports'][0][0]}/", flush=True)
        elif row["ended_at"]:
            print(f"{row['name']} ended: {row['state']} {row['message'] or ''}".rstrip(), flush=True)
            del told[row["launch_id"]]


async def tell_nodes(framework: owmesos.Framework) -> None:
    last: dict[str, float] = {}
    async for update in framework.node_stats():
        for stats in update.changed:
            if stats.state is owmesos.NodeState.UNKNOWN:
                continue  # no offer of it was seen yet
            if last.get(stats.agent_id) != stats.available.mem:
                last[stats.agent_id] = stats.available.mem
                print(f"{stats.hostname} has {stats.available.mem:g} MB for us", flush=True)


async def serve(options: argparse.Namespace) -> None:
    async with (
        owmesos.Framework(master=options.master, name="web", state=options.state) as framework,
        contextlib.AsyncExitStack() as stack,
    ):
        for rack in options.racks:
            await stack.enter_async_context(framework.keep(server(rack), 1))
        work = [asyncio.create_task(each) for each in (tell_launches(framework), tell_nodes(framework))]
        finished = asyncio.create_task(framework.finished())
        await asyncio.wait([*work, finished], timeout=options.seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in [*work, finished]:
            task.cancel()
        await asyncio.gather(*work, finished, return_exceptions=True)
        if framework.stopped is not None:
            raise owmesos.FrameworkStopped(framework.stopped)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master", help="host:port[,…], https://…, zk://…/path or local")
    parser.add_argument("--racks", nargs="+", default=["r1", "r2"])
    parser.add_argument("--seconds", type=float, help="stop after so long (default: never)")
    parser.add_argument("--state", help="a folder: the servers then outlive this program")
    owmesos.run(serve(parser.parse_args()))


if __name__ == "__main__":
    try:
        main()
    except owmesos.OwmesosError as error:
        sys.exit(f"service: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
