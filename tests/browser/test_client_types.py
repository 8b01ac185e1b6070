"""The JavaScript is typed by its comments, and the types are checked."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

from ci import missing

WEB = Path(__file__).resolve().parents[2] / "src" / "expresso_persist" / "web"


def test_modules_are_clean_under_strict_type_checking(npm_install: Any) -> None:
    """`tsc --checkJs --strict` finds nothing in any module."""
    node = shutil.which("node")
    if node is None:
        missing("no node: install nodejs")
    compiler = npm_install("typescript@5") / "bin" / "tsc"
    result = subprocess.run(
        [node, compiler, "--project", WEB / "tsconfig.json"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stdout
