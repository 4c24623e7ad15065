#!/usr/bin/env python3
"""A batch framework: runs every line of a file as a command on the cluster, a few at a time, and retries failures.

    examples/batch.py 127.0.0.1:5050 commands.txt --retries 2
    examples/batch.py local commands.txt

No state is kept, so leaving the block tears the framework down: nothing is left behind, whatever happens.
"""

import argparse
import asyncio
import pathlib
import sys

import owmesos


async def run_one(framework: owmesos.Framework, number: int, command: str, retries: int) -> bool:
    for attempt in range(1 + retries):
        launch = await framework.launch(owmesos.Launch(command, name=f"batch-{number}", cpus=0.1, mem=32, deadline=120))
        end = await launch.ended()
        print(f"{command!r} on {end['hostname']}: {end['state']} {end['message'] or ''}".rstrip(), flush=True)
        if end["state"] == "FINISHED":
            return True
        print(f"attempt {attempt + 1} of {1 + retries} failed", flush=True)
    return False


async def run_all(master: str, commands: list[str], retries: int) -> int:
    async with owmesos.Framework(master=master, name="batch") as framework:
        done = await asyncio.gather(
            *(run_one(framework, number, command, retries) for number, command in enumerate(commands))
        )
    print(f"{sum(done)} of {len(done)} commands finished")
    return 0 if all(done) else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master", help="host:port[,…], https://…, zk://…/path or local")
    parser.add_argument("file", type=pathlib.Path, help="one shell command a line")
    parser.add_argument("--retries", type=int, default=1)
    options = parser.parse_args()
    try:
        commands = [line for line in options.file.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        parser.error(f"{options.file} cannot be read: {error}")
    return owmesos.run(run_all(options.master, commands, options.retries))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except owmesos.OwmesosError as error:
        sys.exit(f"batch: {error}")
    except KeyboardInterrupt:
        sys.exit(130)  # the framework is torn down already
