"""A command's options are declared once; flags, types and defaults come from the declaration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import click
import pytest

from owmesos.cli.options import Argument, Option, settings_of, with_options
from owmesos.cli.run import run
from tests.cli.running import owmesos


@dataclass(frozen=True)
class Where:
    """A part that several commands may have."""

    folder: Annotated[Path | None, Option("The folder.", "DIR")] = None
    url: Annotated[str, Option("The server.", "URL", "--server")] = "http://here"


@click.command()
@with_options
def declared(
    *,
    ids: Annotated[tuple[int, ...], Argument("[ID]...")] = (),
    size: Annotated[int, Option("MB.", "MB", "-s")],
    where: Where,
    kind: Annotated[Literal["a", "b"] | None, Option("The kind.")] = None,
    tag: Annotated[tuple[str, ...], Option("May be given more than once.")] = (),
    fast: Annotated[bool, Option("Hurry.")] = False,
    checked: Annotated[bool, Option("Check first.")] = True,
    told: Annotated[bool | None, Option("Tell.")] = None,
) -> dict[str, Any]:
    return dict(locals())


def given(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = declared.main(arguments, standalone_mode=False)
    return found


def test_what_is_not_given_has_the_default_of_its_declaration() -> None:
    nothing = {"ids": (), "kind": None, "tag": (), "fast": False, "checked": True, "told": None}
    assert given("--size", "1") == {"size": 1, "where": Where(), **nothing}


def test_what_is_given_has_the_type_of_its_declaration() -> None:
    text = "-s 2 --folder f --server s --kind b --tag x --tag y --fast --no-checked --no-told 3 4"
    found = given(*text.split())
    assert found.pop("where") == Where(Path("f"), "s")
    assert (found.pop("ids"), found.pop("size"), found.pop("kind"), found.pop("tag")) == ((3, 4), 2, "b", ("x", "y"))
    assert found == {"fast": True, "checked": False, "told": False}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [("", "Missing option '--size'"), ("-s x", "not a valid integer"), ("-s 1 --kind c", "'c' is not one of")],
)
def test_what_does_not_fit_the_declaration_is_wrong_usage(arguments: str, reason: str) -> None:
    with pytest.raises(click.UsageError) as found:
        given(*arguments.split())
    assert reason in found.value.format_message()


def test_a_default_is_shown_with_the_help_if_there_is_one() -> None:
    help_text = " ".join(declared.get_help(click.Context(declared)).split())
    assert "--server URL The server. [default: http://here]" in help_text
    assert "--folder DIR The folder. --" in help_text


def test_settings_are_named_as_the_flags() -> None:
    assert settings_of(Where) == {"folder", "server"}


def test_an_empty_argument_is_wrong_usage() -> None:
    """As of a script whose variable is not set; it would be another path of the API."""

    @click.command()
    @with_options
    def one(*, name: Annotated[str, Argument("ID")]) -> None:
        raise AssertionError(name)

    with pytest.raises(click.UsageError, match="it is empty"):
        one.main([""], standalone_mode=False)


@pytest.mark.parametrize("file", ["--folder", None])
def test_an_empty_path_is_wrong_usage(file: str | None) -> None:
    """It would be the folder where the command runs."""

    @click.command()
    @with_options
    def one(*, where: Where, file: Annotated[Path | None, Argument("[FILE]")] = None) -> None:
        raise AssertionError(where, file)

    with pytest.raises(click.UsageError, match="it is empty"):
        one.main([*([file] if file is not None else []), ""], standalone_mode=False)


@pytest.mark.parametrize("option", ["--state", "--name", "--runtimes", "--local-folder"])
def test_run_has_no_empty_names(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError, match="it is empty"):
        run.main(["--master", "", option, ""], standalone_mode=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("group", ["", "action", "activation", "state"])
def test_no_summary_is_cut_in_a_terminal_of_80_columns(group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, _, summaries = owmesos(*group.split(), "--help").out.partition("Commands:")
    assert summaries
    assert "..." not in summaries
