"""`owmesos simulate` as a process: a trace on a cluster becomes a table and a page, and wrong input one line."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import ROOT, environment, owmesos, owmesos_process, started
from tests.waiting import eventually_async

if TYPE_CHECKING:
    from playwright.async_api import Browser

CLUSTER = """\
agents:
  - {count: 3, cpus: 8, mem: 2048}
changes:
  - {at: 5, leave: agent3}
  - {at: 10, join: agent3}
  - {at: 12, neighbour_takes: 1024}
"""
TRACE = "at,action,duration,memory\n" + "".join(
    f"{number / 4:.2f},action{number % 5},{0.2 + number % 7 / 10:.1f},256\n" for number in range(80)
)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The options that name them; the page is page.html beside them."""
    (tmp_path / "trace.csv").write_text(TRACE)
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    names = {"trace": "trace.csv", "cluster": "cluster.yaml", "page": "page.html"}
    return [text for option, name in names.items() for text in (f"--{option}", str(tmp_path / name))]


async def test_a_trace_becomes_a_table_and_a_page(files: list[str], tmp_path: Path) -> None:
    more = ("--buffer", "0,0.05", "--policy", "owmesos", "--policy", "fixed:6144")
    ran = await owmesos_process("simulate", *files, *more)
    assert ran.code == 0, ran.err
    heading, *lines = ran.out.splitlines()
    assert heading.split() == ["SETTING", "MEDIAN", "P99", "MAX", ">60S", "FAILED", "OVER", "COLD", "USED", "BUSY"]
    assert [re.split(r"  +", line)[0] for line in lines] == [
        *("owmesos, buffer 0 %", "owmesos, buffer 5 %", "fixed, 6,144 MB")
    ]
    assert ran.err == f"written to {tmp_path / 'page.html'}\n"
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "80 activations of 5 actions in 21 s; 3 agents with 6 GB at the start, 2 changes, and a neighbour." in page
    assert "http:" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)


async def test_documents_are_the_same_for_the_same_input(files: list[str]) -> None:
    runs = [(await owmesos_process("simulate", *files, "-o", "json")).json for _ in range(2)]
    assert runs[0] == runs[1]
    (document,) = runs[0]
    assert (document["setting"], document["activations"], document["overprovisioned"]) == ("owmesos, buffer 5 %", 80, 0)
    assert document["wait_median_s"] <= document["wait_p99_s"] <= document["wait_max_s"]
    assert 0 < document["memory_busy"] < document["memory_used"] < 1


async def test_a_drawn_workload_needs_no_trace(files: list[str]) -> None:
    for workload in ("azure", "steady", "bursty"):
        ran = await owmesos_process(
            "simulate", "--workload", workload, *files[2:], "--for", "30", "--load", "1500", "-o", "json"
        )
        assert ran.json[0]["activations"] > 10


def test_the_example_runs(tmp_path: Path) -> None:
    folder = ROOT / "examples" / "simulation"
    arguments = ("--trace", str(folder / "trace.csv"), "--cluster", str(folder / "cluster.yaml"), "--for", "60")
    ran = owmesos("simulate", *arguments, "--page", str(tmp_path / "page.html"), "-o", "json")
    assert ran.json[0]["activations"] > 10
    assert ran.err.endswith("changes of the cluster come after the end.\n")


WRONG: list[tuple[tuple[str, ...], str]] = [
    (("--workload", "azure"), "give either --trace or --workload"),
    (("--buffer", "5%"), "--buffer '5%' is not valid: write shares from 0 to below 1, such as 0,0.05"),
    (("--buffer", "1"), "--buffer '1' is not valid"),
    (("--policy", "fixed"), "--policy fixed is not valid: write owmesos, or fixed:MB with at least 128 MB, such"),
    (("--policy", "fixed:12"), "--policy fixed:12 is not valid"),
    (("--for", "0"), "--for 0 is not valid: write a number of seconds above 0"),
    (("--for", "nan"), "--for nan is not valid"),
    (("--sample", "2"), "--sample 2 is not valid: write a share above 0, up to 1"),
    (("--policy", "fixed:000000000128" + 5_000 * "9"), "--policy fixed:000000000128999"),
    (("--policy", "fixed:0000000001289999999999"), "--policy fixed:0000000001289999999999 is not valid"),
    (("--memory", "0"), "--memory 0 is not valid"),
    (("--load", "100"), "--load needs a --workload: give --sample to take less of a trace"),
    (("--jobs", "0"), "--jobs 0 is not valid"),
    (("--page", "/none/page.html"), "/none/page.html cannot be written: there is no folder /none"),
    (("--page", "/"), "/ is not a regular file: give another --page"),
    (("--skip", "1000"), "trace.csv: no activation is in it from 1000 s on"),
    (("--trace", "/none.csv"), "/none.csv cannot be read: No such file or directory"),
    (("--cluster", "/none.yaml"), "/none.yaml cannot be read: No such file or directory"),
    (("--workload", "unknown"), "Invalid value for '--workload'"),
]


@pytest.mark.parametrize(("more", "says"), WRONG, ids=lambda each: " ".join(each) if isinstance(each, tuple) else "")
def test_wrong_options_are_said_in_one_line(files: list[str], tmp_path: Path, more: tuple[str, ...], says: str) -> None:
    ran = owmesos("simulate", *files, *more)
    assert (ran.code, says in ran.line) == (2, True), ran
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("trace.csv", "at,action,duration\n1,a,1\n2,a,-1\n", "trace.csv:3: duration is '-1'"),
        ("trace.csv", "at,action,duration,x\n", "trace.csv:1: unknown column 'x'"),
        ("trace.csv", "at,action,duration\n", "trace.csv: no activation is in it"),
        ("cluster.yaml", "agents:\n  - {cpus: 1, mem: x}\n", "cluster.yaml:2: mem is 'x': write a number of MB"),
        ("cluster.yaml", "agents: [", "cluster.yaml:1: it is not valid YAML"),
    ],
)
async def test_wrong_files_are_named_with_their_line(
    files: list[str], tmp_path: Path, name: str, text: str, says: str
) -> None:
    (tmp_path / name).write_text(text)
    ran = await owmesos_process("simulate", *files)
    assert (ran.code, says in ran.line) == (2, True), ran


def test_the_name_of_a_file_may_be_any_bytes(files: list[str], tmp_path: Path) -> None:
    trace = (tmp_path / "trace.csv").rename(tmp_path / os.fsdecode(b"trace\xff.csv"))
    ran = owmesos("simulate", *files, "--trace", str(trace))
    assert ran.code == 0, ran
    assert "trace?.csv" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_part_of_a_drawn_workload_cannot_be_taken(files: list[str]) -> None:
    for more in (("--skip", "5"), ("--sample", "0.5")):
        ran = owmesos("simulate", "--workload", "azure", *files[2:], *more)
        assert (ran.code, "--skip and --sample need a --trace: give --for" in ran.line) == (2, True)


def test_a_workload_of_too_many_activations_is_said(files: list[str]) -> None:
    ran = owmesos("simulate", "--workload", "azure", *files[2:], "--load", "100000000")
    assert ran.code == 2
    assert "activations, at most 1,000,000 can be run: give a shorter --for or a smaller --load" in ran.line


def test_without_a_cluster_it_says_what_is_missing(files: list[str]) -> None:
    ran = owmesos("simulate", *files[:2])
    assert (ran.code, "Missing option '--cluster'" in ran.line) == (2, True)


def test_what_is_probably_not_meant_is_said(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text("at,action,duration,memory\n1,large,1,4096\n2,small,1,128\n")
    ran = owmesos("simulate", *files, "--for", "6", "-o", "json")
    said = ran.err.splitlines()
    assert said == [
        "owmesos simulate: 1 action needs more memory than any agent has: those activations fail.",
        "owmesos simulate: 1 change of the cluster comes after the end.",
    ]
    assert ran.json[0]["failed"] == 1
    assert "1 action needs more memory than any agent has" in (tmp_path / "page.html").read_text(encoding="utf-8")


async def test_on_a_terminal_bars_show_how_far_it_is(files: list[str]) -> None:
    ours, theirs = pty.openpty()
    arguments = ("-m", "owmesos", "simulate", *files, "--buffer", "0,0.05")
    process = await _on_terminal(theirs, *arguments)
    os.close(theirs)
    said = b""
    while more := _read(ours):
        said += more
    os.close(ours)
    assert await process.wait() == 0
    assert re.search(rb"owmesos, buffer 0 % .*?\d+%", said)


async def _on_terminal(terminal: int, *arguments: str) -> asyncio.subprocess.Process:
    variables = environment(TERM="xterm", COLUMNS="100")
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=terminal, env=variables, cwd=ROOT
    )


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


def children_of(pid: int) -> list[Path]:
    return [Path(f"/proc/{each}") for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_ctrl_c_ends_it_and_its_processes(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "trace.csv").write_text(
        "at,action,duration\n" + "".join(f"{n / 50},a{n % 40},1\n" for n in range(50_000))
    )
    process = await started("simulate", *files, "--buffer", "0,0.05", start_new_session=True)
    try:
        await eventually_async(lambda: len(children_of(process.pid)) >= 2)
        theirs = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert (process.returncode, out, err) == (130, b"", b"owmesos simulate: interrupted\n")
    await eventually_async(lambda: not any(each.exists() for each in theirs))


# -- the page


@pytest.mark.browser
async def test_the_page_draws_its_plots_and_asks_nobody(browser: Browser, files: list[str], tmp_path: Path) -> None:
    assert owmesos("simulate", *files, "--buffer", "0,0.05").code == 0
    page = await browser.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text))
    await page.goto((tmp_path / "page.html").as_uri())
    await page.wait_for_selector("body[data-drawn='3']", state="attached")
    assert await page.locator("canvas").count() == 3
    assert await page.locator(".runs tbody tr").count() == 2
    assert await page.locator("#memory .u-legend").text_content() is not None
    assert "owmesos, buffer 5 %" in (await page.locator("#waits").text_content() or "")
    assert (len(asked), faults) == (1, [])


@pytest.mark.browser
async def test_names_from_files_stay_text(browser: Browser, files: list[str], tmp_path: Path) -> None:
    hostile = tmp_path / "<img src=x onerror=\"document.title='broken'\">.csv"
    (tmp_path / "trace.csv").rename(hostile)
    assert owmesos("simulate", *files, "--trace", str(hostile)).code == 0
    page = await browser.new_page()
    await page.goto((tmp_path / "page.html").as_uri())
    await page.wait_for_selector("body[data-drawn='3']", state="attached")
    assert "<img src=x" in (await page.locator("p.quiet").text_content() or "")
    assert "broken" not in (await page.title()).split("onerror")[0]
    assert await page.locator("img").count() == 0


def test_json_is_what_the_columns_are_made_of(files: list[str]) -> None:
    ran = owmesos("simulate", *files, "-o", "tsv")
    heading = ran.out.splitlines()[0].split("\t")
    assert json.dumps(heading[:3]) == '["setting", "user_memory", "activations"]'
