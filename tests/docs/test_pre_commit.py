"""A commit is checked as CI checks it."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def test_the_hooks_of_pre_commit_are_the_checks_of_the_test_script() -> None:
    script = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    body = script.split("\nchecks() {\n")[1].split("\n}")[0]
    checks = dict(re.findall(r'step "([^"]+)" "\$bin/([^\n]+)', body))
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = {hook["name"]: hook["entry"] for repo in config["repos"] for hook in repo["hooks"]}
    assert checks
    assert hooks == {name: ".venv-test/bin/" + command.replace('"', "", 1) for name, command in checks.items()}
