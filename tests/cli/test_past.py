"""history, undo and history forget from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from click.testing import Result

from expresso_persist import Store


def test_history_undo_and_forget(
    run: Callable[..., Result], answer: Callable[..., Any], database_url: str
) -> None:
    with Store(database_url, migrate=True) as store:
        store.importer.import_(
            {"event_stock_levels": {"milk": {"oat": {"quantity": 9}}}}, actor="a"
        )
        store.inventory.waste("milk", "oat", 1, reason="sour", actor="anna", note="in \x1b the sun")
        store.inventory.adjust("milk", "oat", -1, actor="anna")
    shown = run("history", "--kind", "event_stock", "--key", '["milk","oat"]').stdout
    assert "waste oat 1 (sour)" in shown
    assert "\x1b" not in shown
    assert "--before 3" in run("history", "--limit", "1").stdout
    assert [e["revision"] for e in answer("history", "--before", "3")["entries"]] == [2, 1]
    refused = run("undo", "2", code=1)
    assert "event_stock:milk/oat: changed later, by revision 3 (anna, movement)" in refused.stderr
    assert "undo_conflict" in run("undo", "2", "--json", code=1).stderr
    assert "Conflict:" in run("undo", "2", "--dry-run").stdout
    assert 'change  event_stock:milk/oat: {"quantity":9}' in run("undo", "2", "--force").stdout
    assert answer("undo", "4")["revision"] == 4
    run("history", "forget", "--older-than", "soon", code=2)
    mistaken = ["history", "--tenant", "x", "forget", "--older-than", "0h"]
    assert "after the verb" in run(*mistaken, code=2).stderr
    assert "Nothing is that old" in run("history", "forget", "--older-than", "400d").stdout
    dry = answer("history", "forget", "--older-than", "0h", "--dry-run")
    assert (dry["through"], dry["changes"], dry["dry_run"]) == (5, 4, True)
    anchor = answer("verify")["anchor"]
    run("history", "forget", "--older-than", "0h")
    assert answer("verify", "--anchor", anchor)["ok"]
    assert "begins after it" in run("undo", "3", code=1).stderr
    assert json.loads(run("verify", "--anchor", f"5.{'0' * 64}", "--json", code=1).stdout)[
        "problems"
    ]
