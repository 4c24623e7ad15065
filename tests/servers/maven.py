"""Jars from Maven, fetched into the user's cache folder by the user's own settings: mirrors, proxies, credentials."""

from __future__ import annotations

from pathlib import Path

from tests.servers.process import CACHE, fetched, need

_POM = """\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>owmesos</groupId>
  <artifactId>{name}</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = "    <dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def jars(name: str, *artifacts: str) -> Path:
    """The folder, kept as `name`, with `artifacts` (group:name:version) and all that these need to run; fetches them
    the first time. Raises ServerMissing."""
    need("java", "mvn")
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(pom(name, artifacts))
    command = ("mvn", "--batch-mode", "--quiet", "--no-transfer-progress", "dependency:copy-dependencies")
    fetched(folder, folder / "complete", *command, "-DincludeScope=runtime", f"-DoutputDirectory={folder / 'jars'}")
    return folder / "jars"


def pom(name: str, artifacts: tuple[str, ...]) -> str:
    """A project that has `artifacts` as its dependencies and nothing else."""
    return _POM.format(name=name, dependencies="\n".join(_DEPENDENCY.format(*each.split(":")) for each in artifacts))
