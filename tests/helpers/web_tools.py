"""The JavaScript tools that tools/web pins; `./run-tests` installs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ci import missing

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "web"


def installed(name: str) -> Path:
    """Return the directory of a package in tools/web."""
    directory = TOOLS / "node_modules" / name
    if not directory.exists():
        missing(f"{name} is not installed: run `npm ci` in tools/web")
    return directory


def run_node(*arguments: str | Path, cwd: Path = TOOLS) -> subprocess.CompletedProcess[str]:
    """Run node, in tools/web unless given another directory."""
    node = shutil.which("node")
    if node is None:
        missing("no node: install nodejs")
    return subprocess.run(
        [node, *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
