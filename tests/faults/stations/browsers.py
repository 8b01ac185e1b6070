"""Real browsers with several tabs each, which tap, are closed without warning, and come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from playwright.async_api import BrowserContext, Error, Page, async_playwright

from stations.history import Seen, Tap
from stations.run import COUNTERS, Extra, Venue
from stations.servers import TOKEN

__all__ = ["browsers"]

_MODULE = "/static/expresso-persist/DatabaseInventoryService.js"
_START = """async ([module, token]) => {
  const { DatabaseInventoryService } = await import(module);
  window.service = new DatabaseInventoryService({
    token, retryDelay: 50, maxRetryDelay: 1000, patience: 100, pollInterval: 500,
    warnOnClose: false,
  });
  window.taps = 0;
  await window.service.start();
}"""
# What the caller is told means that the tap is kept, sent or not; a refusal is thrown.
_TAP = """async ([kind, target, value, key]) => {
  const options = { idempotencyKey: key };
  try {
    if (kind === 'adjust') {
      const what = { stationId: '1', category: 'milk', item: target, delta: value };
      await window.service.adjust(what, options);
    } else {
      await window.service.updateSetting(target, value, options);
    }
    return 'acknowledged';
  } catch (error) {
    return error.status >= 400 ? 'refused' : 'unknown';
  }
}"""


class Browser:
    """One browser at one station: its tabs share what is not sent yet."""

    def __init__(self, name: str, context: BrowserContext, url: str, venue: Venue) -> None:
        self.name = name
        self.url = url  # one and the same: what a browser keeps belongs to an origin
        self.tabs: list[Page] = []
        self.kills = 0
        self._context = context
        self._venue = venue

    async def open(self) -> Page:
        """Open a tab, however often that takes."""
        page = await self._context.new_page()
        while True:
            with contextlib.suppress(Error):
                await page.goto(f"{self.url}/api/migration/health", timeout=5000)
                await page.evaluate(_START, [self.url + _MODULE, TOKEN])
                return page
            await asyncio.sleep(0.1)

    async def live(self, tabs: int) -> None:
        """Tap in all tabs until there is nothing left to do."""
        self.tabs = [await self.open() for _ in range(tabs)]
        await asyncio.gather(*(self._work(number) for number in range(tabs)))

    async def _work(self, number: int) -> None:
        while self._venue.work_left():
            await self._tap(self.tabs[number])
            if random.random() < 0.03:
                self.kills += 1
                await self.tabs[number].close()  # runs no handler, asks nobody
                self.tabs[number] = await self.open()
            await asyncio.sleep(random.uniform(0, 0.2))

    async def _tap(self, page: Page) -> None:
        name = str(uuid.uuid4())
        if random.random() < 0.7:
            delta = random.choice([-3, -2, -1, 1, 2, 3])
            tap = Tap(name, self.name, "adjust", random.choice(COUNTERS), delta)
        else:
            tap = Tap(name, self.name, "put", f"tap {name}", random.randint(0, 999))
        tap.tries = 1
        self._venue.history.taps.append(tap)
        with contextlib.suppress(Error):  # the tab was closed: nobody was told anything
            told = await page.evaluate(_TAP, [tap.kind, tap.target, tap.value, tap.id])
            tap.outcome = told

    async def settle(self) -> dict[str, Any]:
        """Wait until nothing is pending in any tab; what the status says in the end."""
        status: dict[str, Any] = {}
        for page in self.tabs:
            quiet, before = time.monotonic(), -1
            while time.monotonic() - quiet < 60:  # a busy machine may take as long as it gets on
                status = await page.evaluate("() => window.service.status()")
                if status["pending"] == 0 and status["caughtUp"]:
                    break
                if status["pending"] != before:
                    quiet, before = time.monotonic(), status["pending"]
                await asyncio.sleep(0.1)
        return status


class Browsers(Extra):
    """All of them."""

    def __init__(self, venue: Venue) -> None:
        self.all: list[Browser] = []
        self.working: list[asyncio.Task[None]] = []
        self._venue = venue

    async def settle(self) -> None:
        """Everything is sent, and every tab's reads are those of the database."""
        await asyncio.gather(*self.working)
        # All of them first: what one of them has still to send, the others will read.
        settled = [await browser.settle() for browser in self.all]
        for browser, status in zip(self.all, settled, strict=True):
            parked = await browser.tabs[0].evaluate("() => window.service.parked()")
            refused = {entry["id"] for entry in parked}
            for tap in self._venue.history.taps:
                if tap.id in refused:  # told to the user there, and kept
                    tap.outcome = "refused"
            for number, page in enumerate(browser.tabs):
                seen = Seen(f"{browser.name}, tab {number}", start=10**9)
                seen.reads = await self._reads(page)
                seen.pending = status["pending"]
                self._venue.history.seen.append(seen)

    async def _reads(self, page: Page) -> Any:
        """What a tab reads, once it is what the database holds, or has had its time."""
        wanted = self._venue.reads()
        for _ in range(100):
            reads = await page.evaluate("() => window.service.getAll()")
            if reads == wanted:
                break
            await asyncio.sleep(0.1)
        return reads


def browsers(count: int, tabs: int) -> Any:
    """What ``run`` takes as ``others``."""

    @contextlib.asynccontextmanager
    async def there(venue: Venue) -> AsyncIterator[Browsers]:
        executable = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        sandbox = [] if os.geteuid() else ["--no-sandbox"]
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(executable_path=executable, args=sandbox)
            everybody = Browsers(venue)
            for number in range(count):
                context = await chromium.new_context()
                everybody.all.append(Browser(f"browser {number}", context, venue.urls(), venue))
            everybody.working = [
                asyncio.create_task(browser.live(tabs)) for browser in everybody.all
            ]
            yield everybody
            await chromium.close()

    return there
