"""The tools of the JavaScript client, at the versions that tools/web pins."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ci import missing

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "web"


@pytest.fixture(scope="session")
def run_node() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run node in tools/web, once its packages are installed."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        missing("no node or no npm: install nodejs and npm")
    lock = TOOLS / "node_modules" / ".package-lock.json"
    if not lock.exists() or lock.stat().st_mtime < (TOOLS / "package-lock.json").stat().st_mtime:
        installed = subprocess.run(
            [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"],
            cwd=TOOLS,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if installed.returncode != 0:
            missing(f"npm could not install what tools/web pins: {installed.stderr[-500:]}")

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [node, *arguments],
            cwd=TOOLS,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    return run
