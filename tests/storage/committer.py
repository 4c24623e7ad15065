"""A process that commits for ever and says what is committed: to be killed in the middle.

Each commit holds a launch and its twin, so that half a commit shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

from owmesos.storage import SaveFramework, SaveLaunch, SQLiteStore
from tests.storage.records import a_record


def main(folder: str) -> None:
    store = SQLiteStore(Path(folder))
    store.commit([SaveFramework("framework-1")])
    number = 0
    while True:
        pair = [a_record(f"launch-{number}{half}", place=2 * number + index) for index, half in enumerate("ab")]
        store.commit([SaveLaunch(record.id, record.stored_form()) for record in pair])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    main(sys.argv[1])
