"""Where the state of `run` is by its options, and what `doctor` and `state check` say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import click

from owmesos.cli.findings import Finding
from owmesos.cli.options import Option, not_empty
from owmesos.errors import InvalidInput
from owmesos.system.user_folders import is_url, user_state_folder

if TYPE_CHECKING:
    from owmesos.storage.places import Place

StateOption = Annotated[
    str | None,
    Option(
        "Folder for launches and framework id, or zk://host:port[,...]/path. [default: NAME in your state folder]",
        "DIR",
        callback=not_empty,
    ),
]
LocalFolder = Annotated[
    Path | None,
    Option(
        "Folder for what stays on this machine with --state zk://...: the admin API's token, an invoker's"
        " journal, actions. [default: NAME in your state folder]",
        "DIR",
    ),
]


def in_zookeeper(state: str | None) -> bool:
    return state is not None and is_url(state)


def place_of_state(state: str | None, name: str) -> Place:
    """In a command, not from its command line where that holds a password. Raises InvalidInput."""
    if state is None or not in_zookeeper(state):
        return folder_of_state(state, None, name)
    from owmesos.mesos.wire.address import parse_zookeeper

    context = click.get_current_context(silent=True)  # none in the threads of `doctor`, which has checked it before
    source = context.get_parameter_source("state") if context is not None else None
    return parse_zookeeper(state, credentials_allowed=source is not click.core.ParameterSource.COMMANDLINE)


def folder_of_state(state: str | None, local_folder: Path | None, name: str) -> Path:
    """The folder of the state, or, where that is in ZooKeeper, of what stays on this machine. Raises InvalidInput."""
    if state is not None and not in_zookeeper(state):
        if local_folder is not None:
            raise InvalidInput(f"--local-folder {local_folder} needs --state zk://…: all is in the folder {state}")
        return Path(state)
    if state is not None:
        place_of_state(state, name)
    elif local_folder is not None:
        raise InvalidInput(f"--local-folder {local_folder} needs --state zk://…: give the folder to --state")
    if local_folder is not None:
        return local_folder
    try:
        return user_state_folder() / quote(name, safe=" ")
    except InvalidInput as error:
        raise InvalidInput(f"{error}, or give {'--state' if state is None else '--local-folder'}") from None


def state_findings(place: Place) -> Sequence[Finding]:
    """What is stored, and what of it cannot be read. Raises InvalidInput if there is no state, and StoreFailed."""
    from owmesos.storage.places import look_at

    seen = look_at(place)
    if seen is None:
        raise InvalidInput(f"there is no state in {place}")
    counts = seen.counts
    said = f"{place}: {'framework ' + counts.framework_id if counts.framework_id else 'no framework'}"
    said += f", {counts.launches} launches, {counts.answers} answers to requests with a key"
    if seen.holder is not None:
        said += f"; {seen.holder} uses it"
    mend = "its task is left alone: look at it by hand; to be rid of the record, export the state without its line"
    return (
        Finding("state", "ok", said),
        *(Finding("launch", "fail", f"{each.launch_id}: {each.reason}", mend) for each in counts.unreadable),
        *(
            Finding("answer", "fail", each, "a repetition of that request is carried out again")
            for each in counts.unreadable_answers
        ),
    )
