"""A backup, a rotation, a restore: killed at every statement, and the database stopped there."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import attrs
import pytest
from sqlalchemy.engine import make_url

from backed_up import (
    Contents,
    assert_no_garbage,
    assert_sound,
    change,
    contents,
    expire,
    give_a_past,
)
from expresso_persist import Store
from expresso_persist.backups import BackupManager, Rotation
from postgres_server import PrivateServer, fresh_database

SCRIPT = Path(__file__).with_name("crash.py")
KEEP = runpy.run_path(str(SCRIPT))["KEEP"]
VERBS = ["run_once", "rotate", "restore"]
Copy = Callable[[], AbstractContextManager[str]]


class Process:
    """What ``crash.py`` answers."""

    def __init__(self, script: subprocess.Popen[str]) -> None:
        self._script = script

    def order(self, verb: str, url: str, point: int | None = None, **options: Any) -> None:
        self.say(json.dumps({"verb": verb, "url": url, "point": point, **options}))

    def run(self, verb: str, url: str, point: int | None = None) -> dict[str, Any]:
        self.order(verb, url, point)
        return self.answer()

    def say(self, line: str) -> None:
        assert self._script.stdin is not None
        self._script.stdin.write(f"{line}\n")
        self._script.stdin.flush()

    def hear(self) -> str:
        assert self._script.stdout is not None
        return self._script.stdout.readline().strip()

    def answer(self) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.hear())
        return answer


@pytest.fixture
def process() -> Iterator[Process]:
    script = subprocess.Popen(
        [sys.executable, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield Process(script)
    script.kill()
    script.communicate()


@pytest.fixture
def copy(database_url: str, tmp_path: Path) -> Copy:
    """Copies of the database, which nobody may use meanwhile."""
    url = make_url(database_url)
    if url.get_backend_name() == "postgresql":
        return lambda: fresh_database(database_url, template=str(url.database))
    numbers = itertools.count()

    @contextlib.contextmanager
    def copied() -> Iterator[str]:
        file = tmp_path / f"copy{next(numbers)}.db"
        shutil.copy(str(url.database), file)
        yield f"sqlite:///{file}"
        for name in tmp_path.glob(f"{file.name}*"):
            name.unlink()

    return copied


@attrs.frozen
class Seen:
    """What there is to lose: the state, and which backups are listed."""

    revision: int
    contents: Contents = attrs.field(repr=False)
    listed: frozenset[str]

    @classmethod
    def of(cls, store: Store) -> Seen:
        return cls(
            store.inventory.head().revision,
            contents(store),
            frozenset(b.id for b in store.backups.list() if b.backup_status == "completed"),
        )

    @property
    def state(self) -> tuple[int, Contents]:
        return self.revision, self.contents


def prepare(url: str) -> Seen:
    with Store(url, migrate=True) as store:
        give_a_past(store)
        expire(store)
        return Seen.of(store)


def judge(url: str, before: Seen, after: Seen, *, reported: bool = False) -> None:
    """The old state or the new one, all backups sound, and work goes on without repair.

    What was reported as done is the new one. (A release that fails is no failure.)
    """
    with Store(url) as store:
        now = Seen.of(store)
        assert now.state in (before.state, after.state)
        assert store.inventory.verify().ok
        # Ids are random, so of the new backup only the number can be compared.
        new, gone = now.listed - before.listed, before.listed - now.listed
        assert len(new) <= len(after.listed - before.listed)
        if reported:
            assert now.state == after.state
            assert len(now.listed) == len(after.listed)
        assert gone in (frozenset(), before.listed - after.listed)
        if before.state != after.state and now.state == after.state:
            assert new, "restored without a safety backup"
        elif gone and after.listed - before.listed:
            assert new, "rotated without a new backup"
        assert_sound(store)

        expire(store)
        if before.state != after.state:
            store.backups.restore(store.backups.list()[-1].id, actor="test")
            assert contents(store) == after.contents
            expire(store)
        change(store, 99, random.Random(99))
        backups = BackupManager(store.database, store.inventory, rotation=Rotation(keep_last=KEEP))
        assert backups.run_once() is not None
        backups.rotate()
        automatic = [b for b in backups.list() if b.backup_type == "automatic"]
        assert len(automatic) == KEEP
        assert automatic[0].verified_at is not None
        assert automatic[0].revision == store.inventory.head().revision
        assert_no_garbage(store)


def some(names: list[str], rounds: int) -> list[int]:
    """Every point in the long form; else those around the commits and a few others."""
    points = range(len(names))
    if rounds >= 100:
        return [*points]
    ends = [n for n in points if names[n].endswith("COMMIT") or names[n].startswith("within")]
    chance = random.Random(5)
    chosen = {
        *chance.sample(ends, min(len(ends), rounds)),
        *chance.sample(points, min(len(points), rounds)),
    }
    return sorted(chosen)


@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_any_statement_it_leaves_the_old_or_the_new_state(
    database_url: str, copy: Copy, process: Process, rounds: int, verb: str
) -> None:
    before = prepare(database_url)
    with copy() as url:
        whole = process.run(verb, url)
        assert (whole["code"], whole["error"]) == (0, None)
        with Store(url) as store:
            after = Seen.of(store)
    assert after != before
    # To copy a database costs PostgreSQL more than all the rest.
    points = some(whole["names"], rounds if database_url.startswith("sqlite") else rounds // 2)
    print(f"{verb}: {len(points)} of {len(whole['names'])} points")
    for point in points:
        with copy() as url:
            assert process.run(verb, url, point)["code"] == 9
            try:
                judge(url, before, after)
            except BaseException as error:
                error.add_note(f"killed at point {point}, {whole['names'][point]}")
                raise


@pytest.mark.postgresql
@pytest.mark.parametrize("verb", ["run_once", "restore"])
def test_postgresql_stopped_at_once_leaves_the_old_or_the_new_state(
    private: PrivateServer, private_url: str, process: Process, rounds: int, verb: str
) -> None:
    """The process lives and learns it, while the server is down or after it came back."""
    before = prepare(private_url)
    template = str(make_url(private_url).database)
    with fresh_database(private.url, template) as url:
        whole = process.run(verb, url)
        with Store(url) as store:
            after = Seen.of(store)
    names = whole["names"]
    writing = [n for n, name in enumerate(names) if name.startswith(("before COMMIT", "within"))]
    points = {names.index("before COMMIT", writing[-1] // 2), *some(names, rounds // 6)}
    for turn, point in enumerate(sorted(points)):
        with fresh_database(private.url, template) as url:
            process.order(verb, url, point, pause=True)
            assert process.hear() == "paused"
            private.stop_at_once()
            if turn % 2:
                private.start()
            process.say("go on")
            answer = process.answer()
            private.start()
            assert answer["code"] == 0
            try:
                assert answer["error"] in (None, "DatabaseUnavailable")
                judge(url, before, after, reported=answer["error"] is None)
            except BaseException as error:
                error.add_note(f"stopped at point {point}, {names[point]}")
                raise
