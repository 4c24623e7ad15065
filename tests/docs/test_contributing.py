"""The table "to change X, open Y" in CONTRIBUTING.md leads to files and names that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEAST_ROWS = 60


def rows() -> list[tuple[str, str]]:
    """What to change, and where, of each row below the heading."""
    table = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n## To change X, open Y\n")[1]
    found = re.findall(r"^\| (.+?) \| (.+) \|$", table, flags=re.MULTILINE)
    return [(what, where) for what, where in found if what != "to change"]


def names_in(file: Path) -> set[str]:
    """Functions, classes, constants, and members of classes as `Class.member`."""

    def defined(body: list[ast.stmt]) -> set[str]:
        names: set[str] = set()
        for node in body:
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                names.add(node.name)
            elif isinstance(node, ast.ClassDef):
                names |= {node.name} | {f"{node.name}.{member}" for member in defined(node.body)}
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(node.target.id)
            elif isinstance(node, ast.Assign):
                names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        return names

    return defined(ast.parse(file.read_text(encoding="utf-8")).body)


def faults_of(where: str) -> list[str]:
    """What the cell names and is not there. A name belongs to the file before it."""
    faults, file, first = [], ROOT, True
    for span in re.findall(r"`([^`]+)`", where):
        if "/" in span or (ROOT / span).is_file():
            file, first = ROOT / span, False
            if not file.exists():
                faults.append(f"{span} does not exist")
        elif first:
            faults.append(f"{span} stands before any file")
        elif file.suffix == ".py" and file.exists():
            if span not in names_in(file):
                faults.append(f"{file.relative_to(ROOT)} has no {span}")
        elif file.is_file() and span not in file.read_text(encoding="utf-8"):
            faults.append(f"{file.relative_to(ROOT)} does not mention {span}")
    return faults if not first else ["no file is named"]


def test_every_row_leads_to_files_and_names_that_exist() -> None:
    faults = [f"{what}: {fault}" for what, where in rows() for fault in faults_of(where)]
    assert not faults, "\n".join(faults)


def test_no_thing_is_listed_twice() -> None:
    things = [what for what, _ in rows()]
    assert len(things) >= LEAST_ROWS
    assert sorted(things) == sorted(set(things))


@pytest.mark.parametrize(
    ("where", "fault"),
    [
        ("`owmesos/core/nothing.py`", "owmesos/core/nothing.py does not exist"),
        ("`owmesos/core/ledger.py` `Ledger.nothing`", "owmesos/core/ledger.py has no Ledger.nothing"),
        ("`pyproject.toml` `no-such-table`", "pyproject.toml does not mention no-such-table"),
        ("`Ledger`", "no file is named"),
    ],
)
def test_a_row_that_leads_nowhere_is_seen(where: str, fault: str) -> None:
    assert faults_of(where) == [fault]
