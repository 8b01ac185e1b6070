"""Each verb does what it says, prints what a script can read, and exits truthfully."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dumps import BROKEN, SMALL
from expresso_persist import Store
from expresso_persist.cli import cli, host_group
from expresso_persist.demo import demo_dump, load_demo
from expresso_persist.model.records import Adjust, RecordKey


def test_init_creates_the_tables_once(run, answer) -> None:
    """A dry run changes nothing; the second run has nothing to do."""
    planned = answer("init", "--dry-run")
    assert planned["steps"]
    assert planned["dry_run"]
    run("status", code=1)
    assert answer("init")["steps"]
    assert answer("init")["steps"] == []
    assert "up to date" in run("init").stdout


def test_verbs_that_read_never_create_a_database(tmp_path: Path, monkeypatch) -> None:
    """A mistyped name gets a sentence that says how to create it, and no empty file."""
    monkeypatch.chdir(tmp_path)
    for words in (["status"], ["export"], ["verify"], ["backup", "list"], ["backup", "run"]):
        result = CliRunner().invoke(cli, words)
        assert result.exit_code == 1
        assert "expresso-persist init" in result.stderr
        assert result.stdout == ""
    (tmp_path / "dump.json").write_text(json.dumps(SMALL))
    for words in (["init", "--dry-run"], ["import", "dump.json", "--dry-run"]):
        assert CliRunner().invoke(cli, words).exit_code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["dump.json"]


def test_import_tells_what_became_of_each_key(answer, dump_file: str) -> None:
    """The receipt adds up; importing again commits nothing; dry runs commit nothing."""
    answer("init")
    assert answer("import", dump_file, "--dry-run")["committed"] is False
    receipt = answer("import", dump_file)
    assert receipt["totals"] == {
        "keys": 5, "stored": 3, "unchanged": 0, "kept": 0, "refused": 1, "skipped": 1,
        "quarantined": 0,
    }  # fmt: skip
    assert receipt["revision"] == 1
    again = answer("import", dump_file)
    assert (again["committed"], again["revision"]) == (False, 1)


def test_import_for_people_names_what_was_left_out(run, dump_file: str) -> None:
    """The text says why a key was refused or skipped, and never shows a secret's value."""
    text = run("import", dump_file).stdout
    assert "coffee_system_token" in text
    assert "Committed as revision 1." in text
    assert "not-a-real-token" not in text


def test_import_reads_standard_input(answer) -> None:
    """`-` is standard input, for pipes."""
    assert answer("import", "-", stdin=json.dumps(SMALL))["totals"]["stored"] == 3


def test_quarantine_has_its_own_exit_code(answer, run) -> None:
    """3: everything was kept, but something wants a look."""
    receipt = answer("import", "-", stdin=json.dumps(BROKEN), code=3)
    assert receipt["totals"]["quarantined"] == 1
    assert answer("export")["quarantined"] == ["event_menu"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"localStorage": 3'])
def test_what_is_not_a_dump_is_refused_in_a_sentence(run, text: str) -> None:
    """Exit code 1, nothing on standard output, no traceback."""
    result = run("import", "-", stdin=text, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")


def test_conflicts_can_be_made_to_fail(run, answer) -> None:
    """--on-conflict=fail leaves the stored value alone and exits with 1."""
    answer("import", "-", stdin='{"coffee_wait_time": "6"}')
    run("import", "-", "--on-conflict", "fail", stdin='{"coffee_wait_time": "7"}', code=1)
    assert answer("export")["localStorage"]["coffee_wait_time"] == "6"
    answer("import", "-", "--on-conflict", "existing", stdin='{"coffee_wait_time": "7"}')
    assert answer("export")["localStorage"]["coffee_wait_time"] == "6"


def test_import_says_what_stands_and_what_was_kept_safe(run, answer) -> None:
    """Matched names, conflicts with whose value stands, and the backup of the state before."""
    stored = {"event_inventory": {"milk": [{"id": "m3", "name": "Oat", "enabled": True}]}}
    answer("import", "-", stdin=json.dumps({**stored, "shifts": [{"id": 1}]}))
    dump = json.dumps({"event_inventory": {"milk": {"Oat": {"enabled": False}}}, "shifts": []})
    kept = answer("import", "-", "--on-conflict", "existing", stdin=dump)
    assert (kept["totals"]["kept"], kept["safety_backup_id"]) == (2, None)
    dry = answer("import", "-", "--dry-run", stdin=dump)
    assert dry["safety_backup_id"] is None
    text = run("import", "-", stdin=dump).stdout
    (backup,) = answer("backup", "list")["backups"]
    assert backup["backup_type"] == "preimport"
    assert f"The state before is in safety backup {backup['id']}." in text
    assert "event_inventory: milk/Oat" in text
    assert "is milk/m3" in text
    assert "the file's value stands" in text
    assert "what was stored stands" in text
    run("backup", "restore", "latest", "--yes", code=1)  # which is never a safety backup
    assert answer("backup", "restore", backup["id"], "--yes")["revision"] == 3


def test_import_lists_what_looks_like_one_thing(run, answer) -> None:
    """Each id with the numbers that hang on it, in the dry run and after."""
    dumps = [
        {
            "event_inventory": {"milk": [{"id": item, "name": "Oat"}]},
            "event_stock_levels": {"milk": {item: {"quantity": number}}},
        }
        for item, number in (("oat_1", 10), ("milk-oat-7", 6.5))
    ]
    answer("import", "-", stdin=json.dumps(dumps[0]))
    for options in (("--dry-run",), ()):
        text = run("import", "-", *options, stdin=json.dumps(dumps[1])).stdout
        assert "Items that look like the same thing: 1." in text
        assert "event_stock milk/oat_1: 10" in text
        assert "event_stock milk/milk-oat-7: 6.5" in text
    again = answer("import", "-", stdin=json.dumps(dumps[1]))
    assert again["alike_count"] == len(again["alike"]) == 1


def test_import_records_who_did_it(run, dump_file: str, database_url: str) -> None:
    """The audit trail names the account at the keyboard."""
    run("import", dump_file)
    with Store(database_url) as store:
        (commit,) = store.inventory.commits()
        assert commit.actor.startswith("cli")
        assert commit.source == "import"


def test_export_is_nothing_but_json_and_imports_again(run, answer, tmp_path: Path) -> None:
    """Every string comes back as it was; the file is written whole or not at all."""
    answer("import", "-", stdin=json.dumps(demo_dump()))
    exported = json.loads(run("export").stdout)
    assert exported["localStorage"] == demo_dump()["localStorage"]
    target = tmp_path / "out.json"
    target.write_text("old")
    assert "19 keys" in run("export", "-o", str(target), "--force").stdout
    assert json.loads(target.read_text("utf-8"))["localStorage"] == exported["localStorage"]
    assert answer("import", str(target))["committed"] is False
    assert [path.name for path in tmp_path.glob("*out*")] == ["out.json"]


def test_export_to_an_impossible_place_keeps_the_exit_code_honest(run, tmp_path: Path) -> None:
    """A folder that is not there is a sentence, not a traceback."""
    run("init")
    result = run("export", "-o", str(tmp_path / "no" / "where.json"), code=1)
    assert "No such file or directory" in result.stderr


def test_status_shows_counts_and_the_newest_backup(run, answer, dump_file: str) -> None:
    """For people as lines, for scripts as JSON."""
    run("import", dump_file)
    run("backup", "create")
    status = answer("status")
    assert status["stats"]["event_inventory_items"] == 1
    assert status["backups"]["total_backups"] == 1
    assert "Newest backup" in run("status").stdout


def test_a_command_starts_without_the_http_api() -> None:
    """Only `serve` needs it, and every command would wait for it."""
    look = (
        "import sys, expresso_persist.cli; print([m for m in sys.modules if '_persist.http' in m])"
    )
    found = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_tenants_do_not_meet(answer) -> None:
    """--tenant chooses whose data is read and written."""
    answer("import", "-", "--tenant", "a", stdin='{"coffee_wait_time": "6"}')
    assert answer("export", "--tenant", "a")["localStorage"] == {"coffee_wait_time": "6"}
    assert answer("export")["localStorage"] == {}
    answer("tenant", "create", "b")
    assert answer("export", "--tenant", "b")["localStorage"] == {}


@pytest.mark.parametrize("verb", ["verify", "status", "export", "history"])
def test_a_mistyped_tenant_is_neither_read_nor_made(run, answer, verb: str) -> None:
    """Nothing would be all there is, and all of it well."""
    answer("import", "-", "--tenant", "spring", stdin='{"coffee_wait_time": "6"}')
    result = run(verb, "--tenant", "sprnig", code=1)
    assert "There is no tenant sprnig; there are: spring" in result.stderr
    assert [tenant["name"] for tenant in answer("tenant", "list")["tenants"]] == ["spring"]


def test_verify_exits_with_1_when_somebody_edited_the_trail(run, answer, database_url) -> None:
    """A changed row of the audit trail does not go unnoticed."""
    run("import", "-", stdin='{"coffee_wait_time": "6"}')
    assert answer("verify")["ok"] is True
    with Store(database_url) as store, store.database.write() as connection:
        connection.exec_driver_sql("UPDATE commits SET actor = 'somebody else'")
    assert answer("verify", code=1)["problems"]


def test_a_backup_brings_the_data_back(run, answer, database_url: str) -> None:
    """create, list, verify, restore with a dry run, and the safety backup that it makes."""
    run("import", "-", stdin=json.dumps(demo_dump()))
    before = answer("export")["localStorage"]
    made = answer("backup", "create", "--notes", "before the doors open")
    assert [b["id"] for b in answer("backup", "list")["backups"]] == [made["id"]]
    assert "before the doors open" in run("backup", "list").stdout
    assert answer("backup", "verify", "latest")["ok"] is True

    with Store(database_url) as store:
        key = RecordKey("station_stock", ("1", "milk", "milk_1"))
        store.inventory.commit([Adjust(key, "amount", -1.5)], actor="test")
    assert answer("export")["localStorage"] != before
    plan = answer("backup", "restore", made["id"], "--dry-run")
    assert (plan["committed"], plan["records"]["changed"]) == (False, 1)
    refused = run("backup", "restore", made["id"], code=2)  # nobody there to confirm
    assert "--yes" in refused.stderr
    assert answer("export")["localStorage"] != before

    done = answer("backup", "restore", made["id"], "--yes")
    assert done["committed"] is True
    assert answer("export")["localStorage"] == before
    assert done["safety_backup_id"] in {b["id"] for b in answer("backup", "list")["backups"]}
    again = answer("backup", "restore", "latest", "--yes")  # which is not the safety backup
    assert again["committed"] is False
    assert answer("export")["localStorage"] == before


def test_backup_run_makes_what_is_due_and_no_more(run, answer) -> None:
    """The first run makes the backup; a second one finds nothing due."""
    run("init")
    assert answer("backup", "run")["backup"]["backup_type"] == "automatic"
    assert answer("backup", "run")["backup"] is None


def test_an_unknown_backup_is_json_on_standard_error(run) -> None:
    """With --json failures are JSON too, but never on standard output."""
    run("init")
    result = run("backup", "restore", "nope", "--json", code=1)
    assert result.stdout == ""
    assert json.loads(result.stderr)["code"] == "backup_not_found"


@pytest.mark.parametrize("words", [["frobnicate"], ["import"], ["import", "-", "--mode", "x"]])
def test_misuse_exits_with_2(words: list[str]) -> None:
    """The shell's convention for a command that was not understood."""
    assert CliRunner().invoke(cli, words).exit_code == 2


def test_passwords_are_never_shown(run) -> None:
    """Neither in a result nor in a failure."""
    url = "postgresql://anna:hunter2@127.0.0.1:1/nowhere"
    result = CliRunner().invoke(cli, ["status", "--database", url])
    assert result.exit_code == 1
    assert "hunter2" not in result.output
    result = CliRunner().invoke(cli, ["status", "--database", "hunter2 is no URL"])
    assert result.exit_code == 1
    assert "hunter2" not in result.output


def test_an_unforeseen_error_shows_its_name_only(monkeypatch, sqlite_url: str) -> None:
    """Its text could hold a value; EXPRESSO_PERSIST_DEBUG shows it to a developer."""
    monkeypatch.setattr(Store, "__init__", lambda *_, **__: {}["secret value"])
    result = CliRunner().invoke(cli, ["init", "--database", sqlite_url])
    result = CliRunner().invoke(cli, ["status", "--database", sqlite_url])
    assert result.exit_code == 1
    assert "KeyError" in result.stderr
    assert "secret value" not in result.output
    monkeypatch.setenv("EXPRESSO_PERSIST_DEBUG", "1")
    result = CliRunner().invoke(cli, ["status", "--database", sqlite_url])
    assert isinstance(result.exception, KeyError)


def test_keys_cannot_drive_the_terminal(run) -> None:
    """A key with escape sequences is shown, not obeyed."""
    evil = "fallback_\x1b[2Jkey"
    text = run("import", "-", stdin=json.dumps({"localStorage": {evil: "{"}}), code=3).stdout
    assert "\x1b" not in text
    assert "\\x1b[2J" in text


def test_a_host_gets_the_same_verbs(store: Store, dump_file: str) -> None:
    """`flask expresso …`: the host's own store, without `serve`."""
    group = host_group(lambda: store)
    assert "serve" not in group.commands
    assert CliRunner().invoke(group, ["import", dump_file]).exit_code == 0
    assert store.inventory.head().revision == 1
    result = CliRunner().invoke(group, ["status", "--tenant", "other", "--json"])
    assert json.loads(result.stdout)["stats"]["revision"] == 0


def test_the_demo_event_only_goes_into_an_empty_database(store: Store) -> None:
    """It is stored without a loss, once."""
    receipt = load_demo(store)
    assert receipt is not None
    assert receipt.totals["stored"] == receipt.totals["keys"]
    assert store.inventory.dump()["localStorage"] == demo_dump()["localStorage"]
    assert load_demo(store) is None


def test_python_dash_m_is_the_same_command(tmp_path: Path) -> None:
    """DATABASE_URL is used when --database is not given."""
    environment = {**os.environ, "DATABASE_URL": f"sqlite:///{tmp_path / 'other.db'}"}
    subprocess.run(
        [sys.executable, "-m", "expresso_persist", "init"], check=True, env=environment,
        capture_output=True,
    )  # fmt: skip
    assert (tmp_path / "other.db").exists()
