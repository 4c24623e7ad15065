"""The programs of docs/writing-a-framework.md run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "writing-a-framework.md"
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE.read_text(), re.DOTALL))
PRINTS = {
    "first.py": r"launch-\w{8} runs on 127\.0\.0\.\d\nFINISHED Command exited with status 0\n",
    "waiting.py": r"(.*3 lack memory.*\n){2}",
    "service.py": r"(http://127\.0\.0\.\d:\d+/\n){3}(?s:.*)web-\w{8} KILLED\n",
}


def test_every_program_is_run() -> None:
    assert set(PROGRAMS) == {*PRINTS, "test_service.py"}


@pytest.mark.parametrize("name", PRINTS)
def test_it_prints_what_the_page_says(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(PROGRAMS[name])
    done = subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(PRINTS[name], done.stdout), done.stdout


def test_its_test_passes(tmp_path: Path) -> None:
    (tmp_path / "test_service.py").write_text(PROGRAMS["test_service.py"])
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_service.py"]
    done = subprocess.run(command, cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
