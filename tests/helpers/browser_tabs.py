"""A tab of a station: a page of the server's origin with a started service in it."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

MODULE = "/static/expresso-persist/DatabaseInventoryService.js"

START = """async ([module, options]) => {
  const exports = await import(module);
  window.onceUnauthorized = [];
  const service = new exports.DatabaseInventoryService(
    {retryDelay: 20, maxRetryDelay: 200, pollInterval: 50, patience: 20000, ...options});
  window.service = service;
  window.changes = [];
  window.until = async (met) => {
    for (const end = Date.now() + 45_000; !(await met(service.status())); ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
      if (Date.now() < end) continue;
      const all = JSON.stringify(await service.getAll());
      throw new Error(`${met} is not so: ${JSON.stringify(service.status())} ${all}`);
    }
  };
  service.onChange((change) => window.changes.push(change));
  await service.start();
}"""


class Tab:
    """A page, and what its code does with the service."""

    def __init__(self, page: Page, url: str, **options: object) -> None:
        """Open ``url`` and start the service."""
        self.page = page
        self.url = url
        self.options = options
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.open()

    @classmethod
    def beside(cls, context: BrowserContext, url: str, **options: object) -> Tab:
        """Another tab of the same browser."""
        return cls(context.new_page(), url, **options)

    def open(self) -> None:
        """Load, or load again."""
        self.page.goto(f"{self.url}/api/migration/health")
        self.start()

    def start(self) -> None:
        """Start the service in a page that is loaded."""
        self.page.evaluate(START, [self.url + MODULE, self.options])

    def run(self, body: str, argument: object = None) -> Any:
        """Run JavaScript with ``service``; its errors come back as objects."""
        return self.page.evaluate(
            "async (argument) => { try { return await (async () => {" + body + "})(); }"
            " catch (error) { if (error.name !== 'ExpressoPersistError') throw error;"
            " return {error: error.code, parked: error.parked, message: error.stack}; } }",
            argument,
        )

    def until(self, condition: str) -> None:
        """Wait until an expression over ``status`` (or ``service``) is true."""
        self.page.evaluate(f"window.until(async (status) => {condition})")

    def until_kept(self, text: str) -> None:
        """Wait until the copy on the disk, which comes a moment later, has a text in it."""
        self.page.evaluate(
            """text => window.until(() => new Promise(resolve => {
              indexedDB.open('expresso-persist').onsuccess = ({target}) => {
                const copies = target.result.transaction('copies').objectStore('copies').getAll();
                copies.onsuccess = () => {
                  target.result.close();
                  resolve(JSON.stringify(copies.result).includes(text));
                };
              };
            }))""",
            text,
        )

    def status(self) -> dict[str, Any]:
        """What the service says of itself."""
        status: dict[str, Any] = self.run("return service.status()")
        return status

    def settings(self) -> dict[str, Any]:
        """The settings, read through the service."""
        settings: dict[str, Any] = self.run("return service.getSettings()")
        return settings


def post(url: str, token: str, path: str, body: object) -> dict[str, Any]:
    """Ask the server for something from outside the browser."""
    request = urllib.request.Request(
        url + path,
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        envelope: dict[str, Any] = json.load(answer)
    return envelope
