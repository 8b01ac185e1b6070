"""What is shipped: three wheels of one version, with types, pages and migrations in them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

import expresso_persist
from ci import missing
from releases import releases

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {
    "expresso_persist": ROOT,
    "expresso_persist_flask": ROOT / "adapters" / "flask",
    "expresso_persist_fastapi": ROOT / "adapters" / "fastapi",
}


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The names of the files in each of the three wheels, freshly built."""
    folder = tmp_path_factory.mktemp("wheels")
    try:
        import hatchling  # noqa: F401
    except ImportError:
        missing("hatchling is not installed, so no wheel can be built")
    options = ["-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, *options, "--wheel-dir", str(folder), *map(str, FOLDERS.values())],
        check=True,
        cwd=folder,
    )
    found = {}
    for path in folder.glob("*.whl"):
        with zipfile.ZipFile(path) as archive:
            found[path.name.partition("-")[0]] = archive.namelist()
    return found


def test_every_distribution_builds_a_typed_wheel(wheels: dict[str, list[str]]) -> None:
    """Each wheel holds its package, its py.typed and its licence, and nothing beside them."""
    assert set(wheels) == set(FOLDERS)
    for package, names in wheels.items():
        assert f"{package}/__init__.py" in names
        assert f"{package}/py.typed" in names
        tops = {name.split("/")[0] for name in names}
        assert {top for top in tops if not top.endswith(".dist-info")} == {package}
        assert not [name for name in names if "test" in Path(name).name and "testing" not in name]


def test_the_wheel_has_every_page_asset_and_migration(wheels: dict[str, list[str]]) -> None:
    """What the source tree has, the wheel has: web assets and migrations included."""
    source = ROOT / "src"
    wanted = {
        str(path.relative_to(source))
        for path in (source / "expresso_persist").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert wanted - set(wheels["expresso_persist"]) == set()
    assert "expresso_persist/web/localStorage-to-database-migration.html" in wanted
    assert "expresso_persist/web/DatabaseInventoryService.js" in wanted


def test_the_three_distributions_have_one_version_and_licence() -> None:
    """They are released together, and the adapters need the core of the same minor version."""
    projects = {package: project(folder) for package, folder in FOLDERS.items()}
    assert {p["version"] for p in projects.values()} == {expresso_persist.__version__}
    assert {p["license"] for p in projects.values()} == {"MIT"}
    assert {p["requires-python"] for p in projects.values()} == {">=3.11"}
    for package, described in projects.items():
        assert described["name"] == package.replace("_", "-")
    current = Version(expresso_persist.__version__)
    for package in ("expresso_persist_flask", "expresso_persist_fastapi"):
        wanted = [Requirement(text) for text in projects[package]["dependencies"]]
        (core,) = [one.specifier for one in wanted if one.name == "expresso-persist"]
        assert core.contains(current, prereleases=True)
        assert core.contains(f"{current.major}.{current.minor}.9")
        assert not core.contains(f"{current.major}.{current.minor + 1}.0", prereleases=True)
        assert not core.contains(f"{current.major}.{current.minor - 1}.9", prereleases=True)


def test_the_changelog_tells_of_this_version() -> None:
    """CHANGELOG.md has a dated section for each release, newest first, under Unreleased."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## \[([^\]]+)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.MULTILINE)
    assert versions[0] == ("Unreleased", "")
    released = [Version(version) for version, _ in versions[1:]]
    assert released == sorted(set(released), reverse=True)
    assert all(date for _, date in versions[1:])
    current = Version(expresso_persist.__version__)
    assert current == released[0] or (current.is_devrelease and current > released[0])
    # What each release wrote is kept, see tools/make_release_fixtures.py.
    assert {folder.name for folder in releases()} == {str(version) for version in released}


@pytest.mark.skipif(
    "EXPRESSO_TEST_INSTALLED" not in os.environ, reason="the sources are what is tested here"
)
def test_the_suite_tests_the_installed_wheel() -> None:
    """Nothing of the source tree is on the path."""
    assert ROOT / "src" not in Path(expresso_persist.__file__).parents
