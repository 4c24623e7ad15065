"""The image of deploy/ is built and used.

Its base is not the one that the Dockerfile names, for there is no registry here, but made of this machine: the Python
that runs the tests, with the packages that owmesos needs installed already (so that pip fetches nothing), and a few of
its programs; `apt-get` only says that it is not there, so there is no node. All else is as the Dockerfile says.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
import tarfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from tests.servers.docker import DockerEngine, add_files, add_programs, add_text, python, with_libraries
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
PROGRAMS = ("sh", "env", "rm", "install", "useradd", "id")
NO_APT = '#!/bin/sh\necho "apt-get is a stand-in: not done: $*"\n'


@pytest.fixture(scope="module")
def owmesos_image(docker_engine: DockerEngine, python_image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    base = re.search(r"^FROM (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert base is not None
    folder = tmp_path_factory.mktemp("deploy")
    _make_base(docker_engine, folder / "base", python_image, base[1])
    context = folder / "context"
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        context.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, context)
    lock = "requirements/openwhisk.lock"
    (context / lock).parent.mkdir()
    shutil.copy(ROOT / lock, context / lock)
    shutil.copytree(ROOT / "owmesos", context / "owmesos", ignore=shutil.ignore_patterns("__pycache__"))
    docker_engine.call("build", "--quiet", "--file", str(DOCKERFILE), "--tag", "owmesos", str(context))
    return "owmesos"


def _make_base(engine: DockerEngine, folder: Path, python_image: str, name: str) -> None:
    """On the image that has this Python already."""
    folder.mkdir()
    prefix = python().parents[1]
    site = prefix / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    with tarfile.open(folder / "more.tar", "w") as tar:
        add_programs(tar, PROGRAMS)
        extensions: list[Path] = []
        for each in (*_needed(), distribution("pip"), distribution("setuptools")):
            extensions += _add_distribution(tar, each, site)
        libraries = with_libraries(extensions)[len(extensions) :]
        add_files(tar, [each for each in libraries if each.parts[1] in ("lib", "lib64", "usr")])
        add_text(tar, "usr/bin/apt-get", NO_APT, mode=0o755)
        add_text(tar, "usr/bin/pip", f'#!/bin/sh\nexec {python()} -m pip "$@"\n', mode=0o755)
        for file, text in (("group", "root:x:0:\n"), ("login.defs", "")):
            add_text(tar, f"etc/{file}", text)
    lines = [
        f"FROM {python_image}",
        "ADD more.tar /",
        f"ENV PATH={prefix}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH=",
        "ENV PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=false",  # which means: no isolation (pip's documentation)
        "WORKDIR /",
    ]
    (folder / "Dockerfile").write_text("\n".join(lines) + "\n")
    engine.call("build", "--quiet", "--tag", name, str(folder))


def _needed() -> Iterator[Distribution]:
    """What owmesos with Kafka requires, and what that requires."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    todo = [(line, "") for line in project["dependencies"] + project["optional-dependencies"]["openwhisk"]]
    known: set[str] = set()
    while todo:
        line, extra = todo.pop()
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
            continue
        one = distribution(wanted.name)
        todo += [(each, which) for each in one.requires or [] for which in wanted.extras or {""}]
        if one.metadata["Name"] not in known:
            known.add(one.metadata["Name"])
            yield one


def _add_distribution(tar: tarfile.TarFile, one: Distribution, site: Path) -> list[Path]:
    """Its compiled files."""
    compiled = []
    for file in one.files or []:
        source = Path(str(one.locate_file(file)))
        if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
            tar.add(source, str(site / str(file)).lstrip("/"))
            compiled += [source] if ".so" in source.suffixes else []
    return compiled


def test_it_runs_as_a_user_of_its_own(docker_engine: DockerEngine, owmesos_image: str) -> None:
    said = docker_engine.call("run", "--rm", owmesos_image)
    assert "Usage: owmesos" in said
    uid = docker_engine.call("run", "--rm", "--entrypoint", "id", owmesos_image, "-un")
    assert uid.strip() == "owmesos"


def test_it_runs_actions(docker_engine: DockerEngine, owmesos_image: str) -> None:
    """As the compose file starts it, but with its own actions in the place of OpenWhisk's Controller."""
    options = ("run", "--standalone", "--master", "local", "--state", "/state", "--admin", "127.0.0.1:8686")
    container = docker_engine.call("run", "--detach", owmesos_image, *options).strip()

    def ask(*arguments: str) -> str:
        return docker_engine.call("exec", container, "owmesos", *arguments)

    eventually(lambda: ask("action", "list", "-o", "json") == "[]\n", 60, interval=0.5, retry_on=(AssertionError,))
    code = "def main(args):\n    return {'hello': args['name']}\n"
    writes = f"import pathlib; pathlib.Path('/state/hello.py').write_text({code!r})"
    docker_engine.call("exec", container, str(python()), "-c", writes)
    ask("action", "create", "hello", "/state/hello.py")
    assert json.loads(ask("invoke", "hello", "--result", "--param", "name", "you")) == {"hello": "you"}
    docker_engine.call("rm", "--force", container)
