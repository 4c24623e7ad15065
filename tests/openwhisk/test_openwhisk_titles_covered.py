from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.core.pool.titles import name_of_test
from tests.openwhisk.titles import TESTED

HERE = Path(__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@pytest.fixture(scope="module")
def names() -> set[str]:
    """Of all tests below this folder."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in HERE.rglob("test_*.py")]
    return {node.name for tree in trees for node in ast.walk(tree) if isinstance(node, FUNCTIONS)}


@pytest.mark.parametrize("title", TESTED)
def test_the_title_is_the_name_of_a_test(title: str, names: set[str]) -> None:
    assert name_of_test(title) in names
