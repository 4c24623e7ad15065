"""The dashboard's files: anybody gets them, they hold no data and load nothing from elsewhere."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import Path

import aiohttp
import pytest

import owmesos.dashboard
from owmesos.dashboard import page
from owmesos.service.admin import AdminServer

STATIC = Path(owmesos.dashboard.__file__).parent / "static"
STYLE = (STATIC / "dashboard.css").read_text(encoding="utf-8")
OURS = sorted(file for file in STATIC.glob("*") if file.is_file())


@pytest.fixture
def url(admin_server: AdminServer) -> str:
    return admin_server.url


async def test_every_file_is_served_without_a_token_and_under_a_strict_policy(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for path in page.PATHS:
            async with session.get(url + path) as response:
                assert response.status == 200, path
                policy = response.headers["Content-Security-Policy"]
                assert policy.startswith("default-src 'none'; script-src 'self';")
                assert "unsafe" not in policy
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                name = "index.html" if path == "/" else path.removeprefix("/dashboard/")
                assert await response.read() == (STATIC / name).read_bytes()


async def test_a_file_that_has_not_changed_is_not_sent_again(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/dashboard/app.js") as response:
            tag = response.headers["ETag"]
        async with session.get(f"{url}/dashboard/app.js", headers={"If-None-Match": tag}) as response:
            assert (response.status, await response.read()) == (304, b"")


async def test_what_guards_the_api_guards_the_page(url: str) -> None:
    async with aiohttp.ClientSession() as session:
        for headers in ({"Host": "evil.example"}, {"Origin": "https://evil.example"}):
            async with session.get(url, headers=headers) as response:
                assert response.status == 403
        async with session.post(url, json={}) as response:
            assert response.status == 405
        async with session.get(f"{url}/dashboard/../../secret") as response:
            assert response.status == 401


def test_what_is_served_is_what_there_is() -> None:
    there = {file.relative_to(STATIC).as_posix() for file in STATIC.rglob("*") if file.is_file()}
    served = {path.removeprefix("/dashboard/") for path in page.PATHS - {"/"}} | {"index.html"}
    assert served == there - {"uplot/LICENSE"}


@pytest.mark.parametrize("file", OURS, ids=lambda file: file.name)
def test_nothing_is_loaded_from_elsewhere_and_nothing_becomes_markup(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert re.findall(r"https?://(?!www\.w3\.org/)\S+", text) == []
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    if file.suffix == ".html":
        assert not re.search(r"\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", text)


def test_the_page_names_every_module_that_it_needs() -> None:
    imported = {
        name
        for file in STATIC.glob("*.js")
        for name in re.findall(r'from "\./(\S+)";', file.read_text(encoding="utf-8"))
    }
    assert imported | {"app.js"} == {file.name for file in STATIC.glob("*.js")}


def test_uplot_is_as_it_was_published_with_its_licence() -> None:
    assert (
        (STATIC / "uplot" / "uPlot.iife.min.js")
        .read_text(encoding="utf-8")
        .startswith("/*! https://github.com/leeoniya/uPlot (v1.6.32) */")
    )
    assert "MIT License" in (STATIC / "uplot" / "LICENSE").read_text(encoding="utf-8")


THEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", each)) for each in STYLE.split("@media (prefers-color-scheme")[:2]
]


@pytest.mark.parametrize("theme", THEMES, ids=["light", "dark"])
def test_the_legend_of_the_nodes_has_no_two_colours_alike(theme: dict[str, str]) -> None:
    colours = [theme[name] for name in ("used", "others", "reserved", "buffer", "running", "draining", "backoff")]
    for one, other in itertools.combinations(colours, 2):
        assert math.dist(lab(one), lab(other)) > 20, (one, other)


def test_a_state_in_the_legend_looks_like_no_part_of_a_bar() -> None:
    states = re.findall(r"\.s-\w+ { ([^}]+) }", STYLE)
    parts = re.findall(r"\.p-\w+ { ([^}]+) }", STYLE)
    assert states
    assert parts
    assert not set(states) & set(parts)


def lab(colour: str) -> tuple[float, float, float]:
    """CIELAB, where distances are as people see them: 2 can just be told apart side by side."""
    red, green, blue = (linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    x = cube_root((0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.9505)
    y = cube_root(0.2126 * red + 0.7152 * green + 0.0722 * blue)
    z = cube_root((0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.089)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def cube_root(part: float) -> float:
    return part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116
