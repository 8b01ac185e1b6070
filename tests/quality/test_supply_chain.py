"""What is released beside the wheels, and the checks of what they depend on."""

from __future__ import annotations

import runpy
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from ci import missing

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def tool() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "tools" / "supply_chain.py"))


def package(name: str, licence: str) -> dict[str, str]:
    return {"Name": name, "Version": "1", "License": licence}


def test_a_licence_that_nobody_allowed_is_refused(tool: dict[str, Any]) -> None:
    refused = tool["refused"]
    assert refused([package("a", "MIT"), package("b", "MIT; BSD License")]) == []
    assert refused([package("a", "AGPL-3.0-only"), package("b", "MIT; GPLv3"), package("c", "")])
    assert refused([package("a", "UNKNOWN")]) == ["a 1: UNKNOWN"]


def test_the_lgpl_is_for_psycopg_alone(tool: dict[str, Any]) -> None:
    assert tool["refused"]([package("psycopg", "LGPL-3.0-only")]) == []
    assert tool["refused"]([package("other", "LGPL-3.0-only")])


def test_what_could_not_be_asked_about_is_no_pass(tool: dict[str, Any]) -> None:
    """pip-audit lists such packages as skipped, and ends well."""
    judged = tool["judged"]
    asked = {"name": "click", "version": "8", "vulns": []}
    skipped = {"name": "rich", "skip_reason": "Dependency not found on PyPI"}
    ours = {"name": "expresso-persist", "skip_reason": "Dependency not found on PyPI"}
    weak = {"name": "anyio", "version": "1", "vulns": [{"id": "CVE-1"}]}
    assert judged({"dependencies": [asked, ours]}) == ([], [])
    assert judged({"dependencies": [asked, skipped]}) == ([], ["rich"])
    assert judged({"dependencies": [weak, skipped]}) == (["anyio: CVE-1"], ["rich"])


def test_checksums_are_what_sha256sum_reads(tool: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "a.whl").write_bytes(b"a")
    assert tool["checksums"](tmp_path) == 0
    assert tool["checksums"](tmp_path) == 0  # not of itself
    command = ["sha256sum", "-c", "--strict", "SHA256SUMS"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 0
    (tmp_path / "a.whl").write_bytes(b"b")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_the_sources_hold_what_the_tests_need(tmp_path: Path) -> None:
    try:
        import build  # noqa: F401
    except ImportError:
        missing("build is not installed, so no source distribution can be made")
    command = [sys.executable, "-m", "build", "-q", "--sdist", "--no-isolation"]
    subprocess.run([*command, "--outdir", str(tmp_path), str(ROOT)], check=True, cwd=tmp_path)
    (file,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in (
        "SECURITY.md",
        "tools/dev.py",
        "tools/supply_chain.py",
        "adapters/flask/pyproject.toml",
        "adapters/fastapi/src/expresso_persist_fastapi/__init__.py",
        "tests/conftest.py",
        "run-tests",
        "tox.ini",
    ):
        assert wanted in names
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]
