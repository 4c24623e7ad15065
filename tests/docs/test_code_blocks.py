"""What the documents show can be typed: each command and option, and each name in a program, exists."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

import owmesos
from owmesos.cli.main import commands
from tests.docs.test_links import PAGES, ROOT

FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for language, text in FENCED.findall(page.read_text(encoding="utf-8")):
            if language == kind:
                yield str(page.relative_to(ROOT)), text


def typed(text: str) -> Iterator[list[str]]:
    """The words of each command that begins with `owmesos`."""
    for line in text.replace("\\\n", " ").splitlines():
        found = re.match(r"[$#] (?:sudo -u \w+ )?(?:\S*/)?owmesos (.*)", line)
        if found is not None:
            words = shlex.split(found[1], comments=True)
            yield list(takewhile(lambda word: word not in ("&", "|", ">", "&&"), words))


def mentioned(page: Path) -> Iterator[list[str]]:
    """The same of code within a line."""
    for found in re.findall(r"`owmesos ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
        yield found.split()


COMMANDS = [(page, words) for page, text in blocks("console") for words in typed(text)]
COMMANDS += [(str(page.relative_to(ROOT)), words) for page in PAGES for words in mentioned(page)]


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=lambda each: each if isinstance(each, str) else each[0])
def test_a_command_exists_with_its_options(page: str, words: list[str]) -> None:
    command: click.Command = commands
    context = click.Context(commands)
    while words and isinstance(command, click.Group):
        found = command.get_command(context, words[0])
        assert found is not None, f"{page}: unknown command {words[0]!r}"
        command, words = found, words[1:]
    known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)} <= known


def test_there_are_some() -> None:
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("page", "text"), [*blocks("python")], ids=lambda each: each if each.endswith(".md") else "")
def test_a_program_compiles_and_its_names_exist(page: str, text: str) -> None:
    tree = compile(text, page, "exec", flags=ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "owmesos":
            assert hasattr(owmesos, node.attr), f"{page}: owmesos.{node.attr}"
