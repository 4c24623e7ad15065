#!/usr/bin/env python3
"""A framework as they are written for pymesos: runs tasks, kills the one that lingers, reconciles, and ends.

    examples/pymesos_framework.py 127.0.0.1:5050 --tasks 5

To run it on pymesos itself, change one import:

    from pymesos import MesosSchedulerDriver, Scheduler

`owmesos local` lets pymesos in, which gives no credentials of its own, if it is started with --without-credentials.
"""

# ruff: noqa: N802, N803  (the names are pymesos's)

import argparse
import getpass
import sys
import uuid

from owmesos.compat.pymesos import MesosSchedulerDriver, Scheduler

CPUS, MEM = 0.1, 32
HOUR = 3600
FINAL = ("TASK_FINISHED", "TASK_FAILED", "TASK_KILLED", "TASK_ERROR", "TASK_LOST", "TASK_DROPPED", "TASK_GONE")


class Batch(Scheduler):
    def __init__(self, tasks):
        self.waiting = ["sleep 600", *["echo hello"] * (tasks - 1)]  # the first one lingers
        self.states = {}

    def registered(self, driver, frameworkId, masterInfo):
        print(f"registered as {frameworkId['value']} at {masterInfo['hostname']}:{masterInfo['port']}")

    def reregistered(self, driver, masterInfo):
        print(f"registered again at {masterInfo['hostname']}")
        driver.reconcileTasks(
            [{"task_id": {"value": task}} for task, state in self.states.items() if state not in FINAL]
        )

    def disconnected(self, driver):
        print("disconnected")

    def resourceOffers(self, driver, offers):
        for offer in offers:
            tasks = []
            while self.waiting and fits(offer, len(tasks) + 1):
                tasks.append(task_for(offer, self.waiting.pop(0)))
                self.states[tasks[-1]["task_id"]["value"]] = "TASK_STAGING"
            if tasks:
                driver.launchTasks(offer["id"], tasks, {"refuse_seconds": 0 if self.waiting else HOUR})
            else:
                driver.declineOffer(offer["id"], {"refuse_seconds": HOUR})

    def statusUpdate(self, driver, update):
        task, state = update["task_id"]["value"], update["state"]
        reconciled = update.get("reason") == "REASON_RECONCILIATION"
        print(f"{task} is {state}" + (" as the master says" if reconciled else ""))
        self.states[task] = state
        left = [task for task, state in self.states.items() if state not in FINAL]
        if not self.waiting and not left:
            driver.suppressOffers()
            driver.stop()
        elif not self.waiting and len(left) == 1 and state != "TASK_KILLING":
            if reconciled:
                driver.killTask({"value": left[0]})
            elif self.states[left[0]] == "TASK_RUNNING":
                driver.reconcileTasks([{"task_id": {"value": left[0]}}])

    def error(self, driver, message):
        print(f"the master says: {message}", file=sys.stderr)


def fits(offer, tasks):
    free = {each["name"]: each["scalar"]["value"] for each in offer["resources"] if each["type"] == "SCALAR"}
    return free.get("cpus", 0) >= tasks * CPUS and free.get("mem", 0) >= tasks * MEM


def task_for(offer, command):
    return {
        "task_id": {"value": f"task-{uuid.uuid4().hex[:8]}"},
        "agent_id": offer["agent_id"],
        "name": "batch",
        "command": {"value": command},
        "resources": [
            {"name": "cpus", "type": "SCALAR", "scalar": {"value": CPUS}},
            {"name": "mem", "type": "SCALAR", "scalar": {"value": MEM}},
        ],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("master")
    parser.add_argument("--tasks", type=int, default=5)
    options = parser.parse_args()
    framework = {"user": getpass.getuser(), "name": "batch", "failover_timeout": 60}
    batch = Batch(options.tasks)
    driver = MesosSchedulerDriver(batch, framework, options.master)
    try:
        driver.run()
    except KeyboardInterrupt:
        driver.stop()  # and with it the tasks
        return 130
    ended = list(batch.states.values())
    print(f"{ended.count('TASK_FINISHED')} finished, {ended.count('TASK_KILLED')} killed")
    return 0 if ended.count("TASK_FINISHED") == options.tasks - 1 and "TASK_KILLED" in ended else 1


if __name__ == "__main__":
    sys.exit(main())
