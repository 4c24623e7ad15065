"""What is shipped: the wheel holds every file of the package, and the version is the one of the metadata."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "owmesos").rglob("*")
    if path.is_file() and "__pycache__" not in path.parts
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the sources, in which the build leaves nothing behind."""
    import shutil

    copy = tmp_path_factory.mktemp("sources")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "owmesos", copy / "owmesos", ignore=shutil.ignore_patterns("__pycache__"))
    build(copy)
    return zipfile.ZipFile(next((copy / "dist").glob("*.whl")))


def build(copy: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "."]
    before = set(copy.iterdir())
    subprocess.run([*command, "--wheel-dir", str(copy / "dist")], cwd=copy, check=True)
    assert set(copy.iterdir()) == before | {copy / "dist"}


def test_the_build_of_http_parser_leaves_nothing_behind_either(tmp_path: Path) -> None:
    import shutil

    left = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "tests")
    copy = Path(shutil.copytree(ROOT / "compat" / "http-parser", tmp_path / "http-parser", ignore=left))
    build(copy)
    with zipfile.ZipFile(next((copy / "dist").glob("*.whl"))) as wheel:
        assert {"http_parser/__init__.py", "http_parser/py.typed"} <= set(wheel.namelist())


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    assert set(wheel.namelist()) >= SOURCES


def test_the_wheel_holds_the_licence(wheel: zipfile.ZipFile) -> None:
    assert any(name.endswith("/LICENSE") for name in wheel.namelist())


def test_only_a_kafka_invoker_needs_the_extra_openwhisk() -> None:
    """A fresh `pip install owmesos`: the demo, `run --standalone` and what is in front of them load without it."""
    lacking = "import sys; sys.modules.update(dict.fromkeys(['kafka', 'cryptography', 'crc32c', 'lz4', 'snappy'])); "
    modules = "owmesos.cli.demo.actions, owmesos.cli.run, owmesos.cli.server_checks, owmesos.invoker.routes"
    subprocess.run([sys.executable, "-c", f"{lacking}import {modules}"], check=True, cwd=ROOT)


def test_the_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="owmesos")
    assert command.value == "owmesos.cli.main:main"


def test_the_changelog_knows_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert version("owmesos") in changelog or "## [Unreleased]" in changelog
