"""`owmesos dashboard`: a link that lets its reader in, and no further."""

from __future__ import annotations

import sys
from pathlib import Path

import aiohttp

from owmesos.service.admin_tokens import READ_FILE
from owmesos.system.private_files import read_private, write_private
from tests.cli.running import owmesos_process, running
from tests.fakes.cluster import FakeCluster

BROWSER = """
import pathlib, sys
pathlib.Path({seen!r}).write_text(sys.argv[1])
"""


async def test_the_link_has_the_token_that_may_only_read(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    async with running("--master", fake_cluster.master.address, "--state", str(tmp_path / "state")) as process:
        ran = await process.ask("dashboard")
        assert ran.out == f"{process.url}/#token={read_private(tmp_path / 'state' / READ_FILE)}\n"
        async with aiohttp.ClientSession() as session, session.get(ran.out.strip()) as response:
            assert (response.status, response.content_type) == (200, "text/html")


async def test_a_token_that_is_given_is_in_the_link(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    token = tmp_path / "token"
    write_private(token, "a-token/with+signs-of-its-own==\n")
    options = ("--admin-token-file", str(token))
    async with running(
        "--master", fake_cluster.master.address, "--state", str(tmp_path / "state"), *options
    ) as process:
        ran = await process.ask("dashboard", *options)
        assert ran.out == f"{process.url}/#token=a-token%2Fwith%2Bsigns-of-its-own%3D%3D\n"


async def test_the_browser_is_not_given_the_token_as_an_argument(fake_cluster: FakeCluster, tmp_path: Path) -> None:
    seen, program = tmp_path / "seen", tmp_path / "browser"
    program.write_text(f"#!{sys.executable}\n{BROWSER.format(seen=str(seen))}")
    program.chmod(0o700)
    (tmp_path / "own").mkdir(mode=0o700)
    variables = {"BROWSER": str(program), "XDG_STATE_HOME": str(tmp_path / "own")}
    state = tmp_path / "state"
    async with running("--master", fake_cluster.master.address, "--state", str(state), variables=variables) as process:
        ran = await owmesos_process("dashboard", "--open", "--admin", process.url, variables=variables)
        assert (ran.code, ran.out, ran.err) == (0, "", "")
        file = Path(seen.read_text().removeprefix("file://"))
        token = read_private(state / READ_FILE)
        assert token not in str(file)
        assert f"url={process.url}/#token={token}" in read_private(file)


async def test_without_a_framework_it_says_so() -> None:
    ran = await owmesos_process("dashboard", "--admin", "127.0.0.1:1")
    assert ran.line == (
        "owmesos dashboard: no framework answers at http://127.0.0.1:1: start one with `owmesos run` or give --admin"
    )
