"""What must outlive the process: the framework id, each launch's intent before its ACCEPT, and how it ended.

A framework that loses its id leaves its tasks running for a week with nobody to stop them; one that loses its intents
launches twice. So a commit is durable when it returns, or it raises. SQLite keeps it on this machine, ZooKeeper on
several; both fulfil one protocol. Nothing here decides on launches. Which of several
processes leads is elected here too: in ZooKeeper, or by a Lease of Kubernetes.
"""

from owmesos.storage.memory import MemoryStore
from owmesos.storage.sqlite import SQLiteStore
from owmesos.storage.store import (
    Answer,
    ForgetAnswer,
    ForgetFramework,
    ForgetLaunch,
    Saved,
    SaveFramework,
    SaveLaunch,
    StateDamaged,
    StateInUse,
    StateTooNew,
    Store,
    StoreFailed,
    StoreTrouble,
    Write,
)

__all__ = [
    "Answer",
    "ForgetAnswer",
    "ForgetFramework",
    "ForgetLaunch",
    "MemoryStore",
    "SQLiteStore",
    "SaveFramework",
    "SaveLaunch",
    "Saved",
    "StateDamaged",
    "StateInUse",
    "StateTooNew",
    "Store",
    "StoreFailed",
    "StoreTrouble",
    "Write",
]
