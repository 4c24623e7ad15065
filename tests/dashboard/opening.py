"""Opening the dashboard in a browser, and waiting for what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from owmesos.service.admin import AdminServer
from tests.fixtures.admin import TOKENS

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page


@asynccontextmanager
async def opened(
    browser: Browser, server: AdminServer, *, token: str | None = TOKENS.read, **options: Any
) -> AsyncIterator[Page]:
    """A page on the dashboard. It asks nobody else for anything, and no script of it fails."""
    context = await browser.new_context(**{"viewport": {"width": 1440, "height": 960}, **options})
    page = await context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if "Security Policy" in said.text else None)
    page.set_default_timeout(30_000)
    await page.goto(f"{server.url}/" + (f"#token={quote(token, safe='')}" if token is not None else ""))
    yield page
    await context.close()
    assert {url for url in asked if not url.startswith(f"{server.url}/")} == set()
    assert not any(secret in url for url in asked for secret in (TOKENS.admin, TOKENS.read) if secret)
    assert faults == []


async def seen(page: Page, selector: str, text: str) -> None:
    """Returns once the element has the text."""
    from playwright.async_api import TimeoutError as BrowserTimeout

    try:
        await page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.textContent.includes(text)", arg=[selector, text]
        )
    except BrowserTimeout:
        is_there = await page.locator(selector).text_content()
        raise AssertionError(f"{selector} does not say {text!r}, but {is_there!r}") from None


async def label(page: Page, selector: str) -> str:
    return await page.locator(selector).get_attribute("aria-label") or ""
