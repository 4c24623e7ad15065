"""The picture of a simulation's page in the documents.

`python -m tests.sizing.test_picture` takes it anew. Look at it then.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.running import ROOT, owmesos
from tests.dashboard.test_pictures import size

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = pytest.mark.browser
PICTURE = ROOT / "docs" / "pictures" / "simulate.png"
EXAMPLE = ROOT / "examples" / "simulation"
WINDOW = {"width": 1280, "height": 1000}


async def take(browser: Browser, folder: Path) -> Path:
    names = ("--trace", str(EXAMPLE / "trace.csv"), "--cluster", str(EXAMPLE / "cluster.yaml"))
    page_file = folder / "page.html"
    policies = ("--policy", "owmesos", "--policy", "fixed:81920")
    ran = owmesos("simulate", *names, "--buffer", "0,0.05,0.1", *policies, "--page", str(page_file))
    assert ran.code == 0, ran.err
    page = await browser.new_page(viewport=WINDOW)
    await page.goto(page_file.as_uri())
    await page.wait_for_selector("body[data-drawn='3']", state="attached")
    await page.mouse.move(600, 420)
    await page.screenshot(path=folder / PICTURE.name)
    return folder / PICTURE.name


async def test_the_picture_of_the_documents_can_be_taken(browser: Browser, tmp_path: Path) -> None:
    assert size(await take(browser, tmp_path)) == size(PICTURE), "run: python -m tests.sizing.test_picture"


async def _main() -> None:
    from tests.fixtures.browser import chromium

    with tempfile.TemporaryDirectory() as folder:
        async with chromium() as browser:
            PICTURE.write_bytes((await take(browser, Path(folder))).read_bytes())
    print(PICTURE)  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main())
