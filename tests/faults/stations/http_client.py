"""A scripted client: it taps, keeps what it tapped until that is answered, and follows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from stations.history import History, Seen, Tap

__all__ = ["Follower", "Tapper"]

_REFUSED = {400, 401, 403, 404, 409, 412, 413, 415, 422}
Urls = Callable[[], str]


class Tapper:
    """Sends one tap after the other; each again, under its key, until it is answered."""

    def __init__(self, name: str, http: httpx.AsyncClient, urls: Urls, history: History) -> None:
        self._name = name
        self._http = http
        self._urls = urls
        self._history = history
        self.gives_up = False  # like the client of the seed: a check of the checker

    async def tap(self, counters: Sequence[str]) -> None:
        """Do one thing."""
        name = str(uuid.uuid4())
        if random.random() < 0.7:
            tap = Tap(name, self._name, "adjust", random.choice(counters), random.randint(-9, 9))
        else:
            tap = Tap(name, self._name, "put", f"tap {name}", random.randint(0, 999))
        if tap.value == 0 and tap.kind == "adjust":
            tap.value = 1
        self._history.taps.append(tap)
        while tap.outcome == "unknown":
            tap.tries += 1
            status = await self._send(tap)
            if status == 200 or self.gives_up:
                tap.outcome = "acknowledged"
            elif status in _REFUSED:
                tap.outcome = "refused"
            else:
                await asyncio.sleep(random.uniform(0, 0.1 * min(tap.tries, 10)))

    async def _send(self, tap: Tap) -> int:
        if tap.kind == "adjust":
            path = "/api/inventory/adjust"
            body: dict[str, Any] = {
                "station_id": "1", "category": "milk", "item": tap.target, "delta": tap.value
            }  # fmt: skip
        else:
            path, body = "/api/inventory/settings/update", {"key": tap.target, "value": tap.value}
        with contextlib.suppress(httpx.HTTPError):
            answer = await self._http.post(
                self._urls() + path, json=body, headers={"Idempotency-Key": tap.id}
            )
            return answer.status_code
        return 0


class Follower:
    """Keeps a local copy fresh by the feed, over ever new connections."""

    def __init__(self, seen: Seen, http: httpx.AsyncClient, urls: Urls, way: str) -> None:
        self.seen = seen
        self.cursor = seen.cursor
        self.careless = False  # forgets where it was: a check of the checker
        self._http = http
        self._urls = urls
        self._way = way

    async def follow(self) -> None:
        """Go on until cancelled."""
        read = {"poll": self._page, "wait": self._page, "stream": self._stream}[self._way]
        while True:
            self.seen.connections += 1
            with contextlib.suppress(httpx.HTTPError, json.JSONDecodeError, _Cut):
                await read()
            if self.careless and random.random() < 0.2:
                await self._skip_to_the_end()
            await asyncio.sleep(random.uniform(0, 0.05))

    async def _page(self) -> None:
        wait = {"wait": "2"} if self._way == "wait" else {}
        answer = await self._http.get(
            f"{self._urls()}/api/inventory/changes", params={"since": self.cursor, **wait}
        )
        if answer.status_code != 200:
            raise _Cut
        data = answer.json()["data"]
        if data["reset"]:
            self.seen.resets += 1
        for commit in data["commits"]:
            self._apply(commit)
        self.cursor = data["cursor"]

    async def _stream(self) -> None:
        url, name, cursor, lines = f"{self._urls()}/api/inventory/stream", "", "", []
        headers = {"Last-Event-ID": self.cursor}
        ends = asyncio.get_running_loop().time() + random.uniform(0.05, 3)  # venues' Wi-Fi
        async with self._http.stream("GET", url, headers=headers) as answer:
            if answer.status_code != 200:
                raise _Cut
            async for line in answer.aiter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "id":
                    cursor = value
                elif field == "data":
                    lines.append(value)
                elif not line and name == "commit":
                    self._apply(json.loads("\n".join(lines)))
                    self.cursor = cursor
                elif not line and name == "reset":
                    self.seen.resets += 1
                if not line:
                    name, lines = "", []
                    if asyncio.get_running_loop().time() > ends:
                        return

    async def _skip_to_the_end(self) -> None:
        with contextlib.suppress(httpx.HTTPError, KeyError, json.JSONDecodeError):
            answer = await self._http.get(f"{self._urls()}/api/inventory/get-all")
            self.cursor = answer.json()["cursor"]

    def _apply(self, commit: dict[str, Any]) -> None:
        self.seen.revisions.append(commit["revision"])
        for change in commit["changes"]:
            key = (change["kind"], tuple(change["key"]))
            if change["after"] is None:
                self.seen.copy.pop(key, None)
            else:
                self.seen.copy[key] = change["after"]


class _Cut(Exception):
    """The connection gave nothing that can be used."""
