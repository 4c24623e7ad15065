"""A process that commits for ever and says what is committed: to be killed, or frozen, in the middle.

Each commit holds a launch and its twin, so that half a commit shows. With a number of bytes as the second argument
both are that large.
"""

from __future__ import annotations

import sys

from owmesos.errors import OwmesosError
from owmesos.storage import SaveFramework
from owmesos.storage.places import open_store, place_of
from tests.storage.records import a_record, save


def main(place: str, size: int = 0) -> None:
    store = open_store(place_of(place))
    store.commit([SaveFramework("framework-1")])
    number = 0
    while True:
        pair = [a_record(f"launch-{number}{half}", place=2 * number + index) for index, half in enumerate("ab")]
        for record in pair:
            record.message = "m" * size
        store.commit([save(record) for record in pair])
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:]))
    except OwmesosError as error:
        sys.exit(str(error))
