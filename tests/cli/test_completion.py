"""What Tab offers: from the framework that the line means, and nothing at all where that does not answer."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from owmesos.service.framework import Framework
from tests.cli.conftest import Ask
from tests.cli.running import COMMAND, ROOT, Ran, environment, owmesos, owmesos_process
from tests.waiting import eventually_async

SLEEP = ("launch", "--command", "sleep 60", "--wait", "running", "-o", "json")


def offered(ran: Ran) -> list[str]:
    assert (ran.code, ran.err) == (0, "")
    return [row.partition(",")[2] for row in ran.out.splitlines() if row]


async def tab(words: str) -> list[str]:
    """At the end of this line, in a process as the shell starts it."""
    asked = {name: value for name, value in os.environ.items() if name.startswith("OWMESOS_")}
    number = str(len(words.split(" ")) - 1)
    of_shell = {"_OWMESOS_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": number}
    return offered(await owmesos_process(variables={**asked, **of_shell}))


async def test_commands_options_and_what_the_framework_has(ask: Ask) -> None:
    (db,) = (await ask(*SLEEP, "--name", "db")).json
    webs = [row["launch_id"] for row in (await ask(*SLEEP, "--name", "web", "--count", "2")).json]
    assert await tab("owmesos no") == ["nodes"]
    assert await tab("owmesos launches --st") == ["--state"]
    assert [each.upper() for each in await tab("owmesos launches --state RUN")] == ["RUNNING"]
    assert await tab("owmesos launches --name ") == ["web", "db"]
    assert sorted(await tab("owmesos kill ")) == sorted([*webs, db["launch_id"], "db"])
    for command in ("explain", "story", "logs", f"kill {db['launch_id']}"):
        assert sorted(await tab(f"owmesos {command} w")) == sorted(webs)


async def test_a_name_is_offered_if_one_of_its_launches_has_not_ended(ask: Ask, framework: Framework) -> None:
    first, second = [row["launch_id"] for row in (await ask(*SLEEP, "--name", "web", "--count", "2")).json]
    assert "web" not in await tab("owmesos explain w")
    await ask("kill", first)
    await eventually_async(lambda: framework.launches([first])[0]["ended_at"])
    assert sorted(await tab("owmesos explain w")) == sorted([first, second, "web"])


async def test_it_is_silent_where_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OWMESOS_ADMIN", "127.0.0.1:1")
    assert await tab("owmesos explain ") == []
    assert await tab("owmesos invoke ") == []
    assert await tab("owmesos explain --admin nonsense ") == []


async def test_actions_need_a_framework_that_has_some(ask: Ask) -> None:
    for command in ("invoke", "action get", "activation get", "activation cancel"):
        assert await tab(f"owmesos {command} ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_program(shell: str) -> None:
    ran = owmesos("completion", shell)
    assert ran.code == 0
    assert f"_OWMESOS_COMPLETE={shell}_complete" in ran.out


def test_fish_takes_only_the_first_comma_for_a_separator() -> None:
    lines = [line.strip() for line in owmesos("completion", "fish").out.splitlines() if "string split" in line]
    assert lines == ['set -l metadata (string split -m1 "," $completion);']


def test_another_shell_is_named_as_unknown() -> None:
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in owmesos("completion", "tcsh").line


PROGRAMS = {
    "bash": """
        eval "$(owmesos completion bash)"
        COMP_WORDS=(owmesos nod) COMP_CWORD=1
        _owmesos_completion owmesos
        echo "owmesos ${COMPREPLY[*]}"
    """,
    "zsh": """
        zmodload zsh/zpty
        zpty line zsh -f -i
        zpty -w line 'autoload -Uz compinit && compinit -u -D; eval "$(owmesos completion zsh)"; echo REA''DY'
        zpty -r -m line said '*READY*'
        zpty -w -n line $'owmesos nod\t'
        zpty -r -m line said '*owmesos nodes*'
        print -r -- $said
    """,
    "fish": """
        owmesos completion fish | source
        echo owmesos (complete -C "owmesos nod")
        complete -C "owmesos run --strat"
    """,
}
"""What completes `nod`, as each shell does it."""
_STARTS = {"bash": ["--norc", "--noprofile"], "zsh": ["-f"], "fish": ["--no-config"]}
_THERE = [shell for shell in PROGRAMS if shutil.which(shell)]


@pytest.mark.parametrize("shell", _THERE)
def test_the_shell_itself_completes(shell: str, tmp_path: Path) -> None:
    command = tmp_path / "owmesos"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(COMMAND)} "$@"\n', encoding="utf-8")
    command.chmod(0o700)
    variables = environment(
        PATH=f"{tmp_path}:{os.environ['PATH']}", PYTHONPATH=str(ROOT), TERM="xterm", HOME=str(tmp_path)
    )
    ran = subprocess.run(
        [shell, *_STARTS[shell], "-c", PROGRAMS[shell]],
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert "owmesos nodes" in ran.stdout, ran.stderr
    if shell == "fish":
        assert "that suffices (pack), or with the most (spread)." in ran.stdout
