"""`scripts/kubernetes`: a real Kubernetes on this machine to try things with.

    scripts/kubernetes up [--nodes N] [--kwok N] [FOLDER]
    scripts/kubernetes down [FOLDER]
    scripts/kubernetes status [FOLDER]
    scripts/kubernetes build

`up` builds it the first time, which takes about 12 minutes, and returns when its nodes are ready. It runs until `down`,
which discards all that it holds. Everything is in FOLDER: the kubeconfig, what etcd keeps, logs.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click

from owmesos.system.private_files import make_private_folder, write_private
from tests.servers.kubernetes.build import BuildFailed, build
from tests.servers.kubernetes.cluster import KubernetesCluster, reserved_net
from tests.servers.process import CACHE, ServerMissing

SETTINGS = "cluster.json"
MAX_NODES = 100  # each is a process of about 120 MB
MAX_KWOK_NODES = 5000


class WrongUsage(Exception):
    """What is wrong, and what to do."""


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 success, 1 failure or (for `status`) not everything runs, 2 wrong usage, 3 there is no Go."""
    options = _parser().parse_args(arguments)
    try:
        return {"up": up, "down": down, "status": status, "build": build_only}[options.command](options)
    except (WrongUsage, ServerMissing, BuildFailed, AssertionError, OSError) as error:
        _say(f"kubernetes: {error}")
        return {WrongUsage: 2, ServerMissing: 3}.get(type(error), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/kubernetes", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, help_ in (
        ("up", "build it if needed, start what does not run, wait until all nodes are ready"),
        ("down", "end all of it, and discard what it holds"),
        ("status", "a line for each process: its name, and its pid or `down`"),
        ("build", "build it if needed, as `up` does, and say where it is"),
    ):
        command = commands.add_parser(name, help=help_, description=help_)
        if name == "build":
            continue
        command.add_argument("folder", nargs="?", type=Path, default=CACHE / "run-kubernetes", metavar="FOLDER")
        if name == "up":
            _add_count(command, "--nodes", 3, MAX_NODES, "nodes that run pods, as processes of this machine")
            _add_count(command, "--kwok", 0, MAX_KWOK_NODES, "nodes that only pretend to, by kwok")
    return parser


def _add_count(command: argparse.ArgumentParser, name: str, default: int, most: int, help_: str) -> None:
    def count(text: str) -> int:
        if not text.isdigit() or int(text) > most:
            raise argparse.ArgumentTypeError(f"a number from 0 to {most} is needed, not {text!r}")
        return int(text)

    command.add_argument(name, type=count, metavar="N", help=f"{help_} [default: {default}]")


def up(options: argparse.Namespace) -> int:
    folder: Path = options.folder.resolve()
    wanted = {"nodes": options.nodes, "kwok": options.kwok}
    if (folder / SETTINGS).exists():
        settings = _settings(folder)
        if any(value not in (None, settings[name]) for name, value in wanted.items()):
            was = f"--nodes {settings['nodes']} --kwok {settings['kwok']}"
            raise WrongUsage(f"the cluster in {folder} was brought up with {was}: `down` it first, or choose a FOLDER")
        _start(folder, settings)
    else:
        if folder.exists() and any(folder.iterdir()):
            raise WrongUsage(f"{folder} holds other files, and `down` would remove them: choose an empty FOLDER")
        build(_say)
        with reserved_net() as net:
            settings = {"net": net, "nodes": 3 if options.nodes is None else options.nodes, "kwok": options.kwok or 0}
            make_private_folder(folder)
            write_private(folder / SETTINGS, json.dumps(settings))
            _start(folder, settings)
    return 0


def _start(folder: Path, settings: dict[str, int]) -> None:
    cluster = _cluster(folder, settings)
    cluster.up(_say)
    beside = Path(sys.executable).with_name("owmesos")
    command = "owmesos" if shutil.which("owmesos") or not beside.exists() else str(beside)
    click.echo(f"export KUBECONFIG={shlex.quote(str(cluster.kubeconfig))}")
    click.echo(f"# next: {command} run --cluster kubernetes --standalone")


def down(options: argparse.Namespace) -> int:
    folder: Path = options.folder.resolve()
    _cluster(folder, _settings(folder)).down(force=True)
    shutil.rmtree(folder)
    return 0


def status(options: argparse.Namespace) -> int:
    folder: Path = options.folder.resolve()
    parts = _cluster(folder, _settings(folder)).status()
    for name, pid in parts.items():
        click.echo(f"{name} {pid or 'down'}")
    return 0 if all(parts.values()) else 1


def build_only(_options: argparse.Namespace) -> int:
    click.echo(build(_say).program)
    return 0


def _settings(folder: Path) -> dict[str, int]:
    try:
        settings: dict[str, int] = json.loads((folder / SETTINGS).read_bytes())
        return {name: settings[name] for name in ("net", "nodes", "kwok")}
    except FileNotFoundError:
        raise WrongUsage(f"no cluster was brought up in {folder}: begin with `scripts/kubernetes up`") from None
    except (ValueError, KeyError, TypeError) as error:
        raise WrongUsage(f"{folder / SETTINGS} is damaged ({error!r}): remove {folder}, and begin with `up`") from None


def _cluster(folder: Path, settings: dict[str, Any]) -> KubernetesCluster:
    return KubernetesCluster(folder, build(_say), detached=True, **settings)


def _say(line: str) -> None:
    click.echo(line, err=True)


if __name__ == "__main__":
    sys.exit(main())
