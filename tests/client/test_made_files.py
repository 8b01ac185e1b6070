"""The files that applications take are what the modules in web/client make."""

from __future__ import annotations

from pathlib import Path

import pytest

from web_tools import TOOLS, installed, run_node

WEB = TOOLS.parents[1] / "src" / "expresso_persist" / "web"
FILES = [f"DatabaseInventoryService.{ending}" for ending in ("js", "cjs", "d.ts")]
PLACES = ("/home/", "/work/", "/tmp/", "file://", "node_modules")


def test_made_files_are_current(tmp_path: Path) -> None:
    """Making them again changes nothing."""
    installed("esbuild")
    made = run_node("build.mjs", tmp_path)
    assert made.returncode == 0, made.stdout + made.stderr
    stale = [name for name in FILES if (tmp_path / name).read_text() != (WEB / name).read_text()]
    assert not stale, f"{stale} are stale: run `npm ci && npm run build` in tools/web"


@pytest.mark.parametrize("name", FILES)
def test_made_files_name_no_path_of_a_machine(name: str) -> None:
    """ESLint passes over them, and nothing says where they were made."""
    text = (WEB / name).read_text()
    assert text.startswith("/* eslint-disable */\n")
    assert not any(place in text for place in PLACES)


def test_commonjs_runners_load_the_client() -> None:
    """`require` gives the same names as the module, and a ready service."""
    script = (
        f"const client = require({str(WEB / 'DatabaseInventoryService.cjs')!r});"
        "const made = client.default instanceof client.DatabaseInventoryService;"
        "if (!made || typeof client.ExpressoPersistError !== 'function') process.exit(1);"
    )
    loaded = run_node("--eval", script)
    assert loaded.returncode == 0, loaded.stderr
