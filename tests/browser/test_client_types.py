"""The JavaScript is typed by its comments, and the types are checked."""

from __future__ import annotations

from web_tools import TOOLS, installed, run_node

PROJECT = TOOLS.parents[1] / "src" / "expresso_persist" / "web" / "tsconfig.json"


def test_modules_are_clean_under_strict_type_checking() -> None:
    """`tsc --checkJs --strict` finds nothing in any module."""
    compiler = installed("typescript") / "bin" / "tsc"
    result = run_node(compiler, "--project", PROJECT)
    assert result.returncode == 0, result.stdout
