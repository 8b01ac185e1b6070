"""What each release left, put where the current version opens it."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import psycopg
import pytest

import releases


@attrs.frozen
class Left:
    """A database that a release wrote, and what the release said of it."""

    release: Path
    kind: str
    url: str
    expected: dict[str, Any]

    @property
    def tenants(self) -> list[str]:
        return [*self.expected["tenants"]]


@pytest.fixture(params=releases.releases(), ids=lambda folder: folder.name)
def release(request: pytest.FixtureRequest) -> Path:
    """The fixtures of one release; a release adds its own by being there."""
    folder: Path = request.param
    return folder


@pytest.fixture
def put_back(
    request: pytest.FixtureRequest, release: Path, tmp_path: Path
) -> Callable[[str], Left]:
    """Put the release's database of a kind in place, as it was left."""

    def put(kind: str) -> Left:
        if kind == "sqlite":
            path = tmp_path / "left.db"
            path.write_bytes(gzip.decompress((release / "store.sqlite.gz").read_bytes()))
            url = f"sqlite:///{path}"
        else:
            url = request.getfixturevalue("postgresql_url")
            text = gzip.decompress((release / "store.postgresql.sql.gz").read_bytes()).decode()
            with psycopg.connect(url) as connection:
                connection.execute(text.encode())
        expected = releases.read_json(release / "expected" / f"{kind}.json.gz")
        return Left(release, kind, url, expected)

    return put


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def left(request: pytest.FixtureRequest, put_back: Callable[[str], Left]) -> Left:
    """The release's database, once on SQLite and once on PostgreSQL."""
    return put_back(request.param)


@pytest.fixture
def mirror_folder(release: Path, tmp_path: Path) -> Path:
    """The release's mirror, as a folder that may be written to."""
    return Path(shutil.copytree(release / "mirror", tmp_path / "mirror"))
