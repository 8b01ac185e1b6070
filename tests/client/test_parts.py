"""The parts of the client run in node, and ESLint holds the size of every module for browsers."""

from __future__ import annotations

from pathlib import Path

from web_tools import TOOLS, installed, run_node

WEB = TOOLS.parents[1] / "src" / "expresso_persist" / "web"


def test_parts() -> None:
    """Outbox, replica, leader, feed and the whole, without a browser."""
    installed("fake-indexeddb")
    tests = sorted(Path(__file__).parent.glob("*.test.mjs"))
    assert len(tests) >= 5
    ran = run_node("--import", "fake-indexeddb/auto", "--test-timeout=30000", "--test", *tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_modules_stay_small_and_simple() -> None:
    """No module over 500 lines, no class over 300, no function over 60, complexity at most 15."""
    eslint = installed("eslint") / "bin" / "eslint.js"
    config = TOOLS / "eslint.config.mjs"
    ran = run_node(eslint, "--config", config, ".", cwd=WEB)
    assert ran.returncode == 0, ran.stdout + ran.stderr
