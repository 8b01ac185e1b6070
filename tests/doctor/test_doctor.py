"""Each check of the doctor, with the fault really there."""

from __future__ import annotations

import datetime as dt
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from sqlalchemy.engine import make_url

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror
from expresso_persist.cli import cli
from expresso_persist.db import row_security
from expresso_persist.db.tables import data_backups, leases
from expresso_persist.http.access.auth import Actor, BearerTokens, Permission
from expresso_persist.http.api import Api
from expresso_persist.http.endpoints import ENDPOINTS
from expresso_persist.http.messages import Request
from expresso_persist.model.records import Put, Setting
from expresso_persist.ops import doctor
from expresso_persist.ops.doctor import DoctorContext, Finding, examine, share_of, worst
from roles import grant, plain_role


def look(store: Store, check: str, **options: Any) -> Finding:
    """What one check finds."""
    (found,) = [f for f in examine(DoctorContext(store, environ={}, **options)) if f.check == check]
    return found


def states(store: Store) -> dict[str, str]:
    return {found.check: found.state for found in examine(DoctorContext(store, environ={}))}


def test_there_is_nothing_to_find_where_all_is_well(store: Store, tmp_path: Path) -> None:
    store.backups = BackupManager(store.database, store.inventory, mirrors=[Mirror(str(tmp_path))])
    store.backups.create()
    store.backups.sync_mirrors()
    with store.backups:
        store.backups.start()
        assert _eventually(lambda: look(store, "scheduler").state == "ok")
        assert set(states(store).values()) == {"ok"}
        assert states(store).keys() == doctor.CHECKS.keys()


def _eventually(true: Callable[[], bool]) -> bool:
    """Wait for a thread to get there; the suite's own timeout ends it."""
    pause = threading.Event()
    while not true():
        pause.wait(0.05)
    return True


def test_a_fresh_store_is_no_alarm_and_an_old_one_without_backups_is(store: Store) -> None:
    assert (look(store, "backup").state, look(store, "backup_storage").state) == ("warning", "ok")
    store.importer.import_({"event_name": "Spring"}, actor="anna")
    assert (look(store, "backup").state, look(store, "backup_storage").state) == ("warning", "ok")
    store.backups.interval = 0.0
    assert look(store, "backup").state == "problem"
    found = look(store, "backup_storage")
    assert (found.state, found.text) == (
        "warning", "There is no backup whose storage could be checked.",
    )  # fmt: skip


def test_no_scheduler_no_backup_no_mirror(store: Store) -> None:
    store.importer.import_({"event_name": "Spring"}, actor="anna")
    store.backups.interval = 0.0
    found = states(store)
    assert (found["scheduler"], found["backup"], found["mirror"]) == (
        "problem", "problem", "warning",
    )  # fmt: skip


def test_schedulers_of_different_minds(store: Store, database_url: str) -> None:
    """The second process finds the first on duty, and waits."""
    with Store(database_url) as other:
        first = BackupManager(store.database, store.inventory, interval=600)
        second = BackupManager(other.database, other.inventory, interval=60)
        try:
            first.start()
            assert _eventually(lambda: second.status()["backup_running"]), "the first is on duty"
            second.start()
            assert _eventually(lambda: bool(first.standby()))
            store.backups = first
            found = look(store, "schedulers")
            assert found.state == "warning"
            assert "60 s, 600 s" in found.text
            second.stop()
            assert look(store, "schedulers").state == "ok"
        finally:
            second.stop()
            first.stop()


def _age(store: Store, span: dt.timedelta) -> None:
    with store.database.write() as connection:
        past = store.database.now(connection) - span
        connection.execute(sa.update(data_backups).values(created_at=past))
        connection.execute(sa.update(leases).values(acquired_at=past, expires_at=past))


def test_a_backup_that_is_old(store: Store) -> None:
    store.backups.create()
    assert look(store, "backup").state == "ok"
    _age(store, dt.timedelta(hours=3))
    found = look(store, "backup")
    assert (found.state, "3.0 hours old" in found.text) == ("problem", True)


def test_a_backup_that_was_never_verified(store: Store) -> None:
    store.backups.create()
    with store.database.write() as connection:
        connection.execute(sa.update(data_backups).values(verified_at=None))
    assert look(store, "backup").state == "problem"


def test_a_mirror_whose_disk_is_not_there(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    store.backups = BackupManager(store.database, store.inventory, mirrors=[Mirror(str(folder))])
    store.backups.create()
    store.backups.sync_mirrors()
    assert look(store, "mirror").state == "ok"
    shutil.rmtree(folder)
    store.backups.sync_mirrors()
    assert look(store, "mirror").state == "problem"


@pytest.mark.postgresql
def test_clocks_that_differ(postgresql_url: str) -> None:
    """The host's is moved; the database's goes on."""
    import time_machine

    with Store(postgresql_url, migrate=True) as store:
        assert look(store, "clock").state == "ok"
        now = dt.datetime.now(dt.UTC)
        for seconds, state in ((30, "warning"), (-30, "warning"), (7200, "problem")):
            with time_machine.travel(now + dt.timedelta(seconds=seconds)):
                assert look(store, "clock").state == state


@pytest.mark.postgresql
def test_a_pooler(postgresql_url: str, pgbouncer_url: str) -> None:
    with Store(postgresql_url, migrate=True) as straight, Store(pgbouncer_url) as pooled:
        assert look(straight, "pooler").state == "ok"
        assert look(pooled, "pooler").state == "warning"


def test_tables_of_another_version(store: Store) -> None:
    with store.database.write() as connection:
        connection.execute(sa.text("UPDATE expresso_persist_version SET version_num = '0001'"))
    assert look(store, "schema").state == "problem"


def test_a_disk_without_room(sqlite_url: str) -> None:
    """The file is as large as what is left, so a copy of it does not fit."""
    with Store(sqlite_url, migrate=True) as store:
        file = Path(make_url(sqlite_url).database or "")
        assert look(store, "disk").state == "ok"
        size = file.stat().st_size
        os.truncate(file, min(shutil.disk_usage(file.parent).free, 2**43))  # sparse
        try:
            assert look(store, "disk").state == "warning"
        finally:
            os.truncate(file, size)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs another user")
def test_a_folder_that_this_user_may_not_write_to(tmp_path_factory: pytest.TempPathFactory) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(prefix="expresso-doctor-") as folder:
        Path(folder).chmod(0o755)
        file = Path(folder) / "expresso.db"
        with Store(f"sqlite:///{file}", migrate=True):
            pass
        script = (
            "import os, sys; from expresso_persist import Store\n"
            "from expresso_persist.ops.doctor import DoctorContext, disk\n"
            f"store = Store('sqlite:///{file}', migrate=True)\n"
            "os.setuid(65534)\n"
            "print(disk(DoctorContext(store)).state)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "problem", done.stderr


MOUNTS = """overlay / overlay rw 0 0
server:/export /srv nfs4 rw 0 0
/dev/sda1 /srv/local ext4 rw 0 0
//nas/share /mnt/my\\040nas cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("/home/a.db", None), ("/srv/a.db", "nfs4"), ("/srv/local/a.db", None),
        ("/srv2/a.db", None), ("/mnt/my nas/a.db", "cifs"),
    ],
)  # fmt: skip
def test_a_network_share(file: str, kind: str | None) -> None:
    """By the table of mounts as Linux writes it; nothing can be mounted here."""
    assert share_of(Path(file), MOUNTS) == kind


@pytest.mark.postgresql
def test_a_role_that_walks_through_row_level_security(postgresql_url: str) -> None:
    with Store(postgresql_url, migrate=True) as store:
        assert look(store, "row_security").state == "ok"
        row_security.enable(store.database)
        found = look(store, "row_security")
        assert (found.state, "BYPASSRLS" in found.text) == ("problem", True)
        with plain_role(postgresql_url) as plain:
            grant(postgresql_url, plain, "ALL ON ALL TABLES IN SCHEMA public")
            with Store(plain) as held:
                assert look(held, "row_security").state == "ok"
                with store.database.write() as connection:
                    connection.exec_driver_sql("ALTER TABLE leases DISABLE ROW LEVEL SECURITY")
                found = look(held, "row_security")
                assert (found.state, "leases" in found.text) == ("problem", True)


@pytest.mark.postgresql
def test_a_role_that_lacks_rights(postgresql_url: str) -> None:
    """On everything, on one table, and on none."""
    with Store(postgresql_url, migrate=True) as store, plain_role(postgresql_url) as plain:
        told = CliRunner().invoke(cli, ["doctor", "--database", plain])
        assert (told.exit_code, "PROBLEM  rights" in told.output) == (1, True)
        grant(
            postgresql_url, plain, "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"
        )
        with Store(plain) as held:
            assert look(held, "rights").state == "ok"
            with store.database.write() as connection:
                role = make_url(plain).username
                connection.exec_driver_sql(f"REVOKE DELETE ON leases FROM {role}")
            found = look(held, "rights")
            assert found.state == "problem"
            assert "the rows of leases. As their owner: GRANT SELECT" in found.text


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE commits SET note = 'forged' WHERE revision = 9",
        "UPDATE changes SET after = '{}' WHERE revision = 9",
        "DELETE FROM changes WHERE revision = 9",
        "DELETE FROM commits WHERE revision = 9",
        "DELETE FROM commits WHERE revision = 6",
        "UPDATE tenants SET head_hash = 'x'",
    ],
)
def test_a_trail_that_somebody_wrote_to(
    store: Store, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "COMMITS", 5)
    for number in range(9):
        store.inventory.commit([Put(Setting.of("n", data=number))], actor="t")
    assert look(store, "audit").state == "ok"
    with store.database.write() as connection:
        connection.execute(sa.text(damage))
    assert look(store, "audit").state == "problem"


def test_a_trail_of_any_age_verifies(store: Store) -> None:
    assert look(store, "audit").state == "ok"
    for number in range(3):
        store.inventory.commit([Put(Setting.of("n", data=number))], actor="t")
    assert look(store, "audit").state == "ok"
    store.inventory.forget_history(3, actor="t")
    assert look(store, "audit").state == "ok"
    store.tenants.rename("default", "other", actor="t")
    assert look(store.for_tenant("other"), "audit").state == "ok"


@pytest.mark.parametrize(
    ("token", "state"),
    [("secret12", "warning"), ("a" * 40, "warning"), ("p8sH3kTz0Qw7LmX4vB2nRc6y", "ok")],
)
def test_a_token_that_can_be_guessed(store: Store, token: str, state: str) -> None:
    found = doctor.access(DoctorContext(store, environ={"EXPRESSO_PERSIST_TOKEN": token}))
    assert found.state == state
    assert token not in found.text


def test_the_command_says_how_it_went(database_url: str, tmp_path: Path) -> None:
    def run(*words: str, code: int) -> Any:
        result = CliRunner().invoke(cli, ["doctor", "--json", "--database", database_url, *words])
        assert result.exit_code == code, (result.output, result.exception)
        return json.loads(result.stdout)

    (found,) = run(code=1)["checks"]
    assert (found["check"], found["state"]) == ("schema", "problem")
    with Store(database_url, migrate=True) as store:
        told = run(code=1)
        assert told["state"] == "problem"
        assert [check["check"] for check in told["checks"]] == list(doctor.CHECKS)
        store.backups.start()
        assert _eventually(lambda: bool(store.backups.list()) and states(store)["backup"] == "ok")
        assert run(code=0)["state"] == "warning", "there is no mirror, which is no failure"


def test_no_answer_is_a_finding() -> None:
    url = "postgresql://nobody:hidden@127.0.0.1:1/none"
    result = CliRunner().invoke(cli, ["doctor", "--database", url])
    assert result.exit_code == 1
    assert "PROBLEM" in result.stdout
    assert "hidden" not in result.output


def deep(api: Api, **headers: str) -> tuple[int, dict[str, Any]]:
    health = next(endpoint for endpoint in ENDPOINTS if endpoint.name == "health")
    answer = api.handle(health, Request("GET", health.path, {"deep": "1"}, headers))
    return answer.status, json.loads(answer.body).get("data", {})


def test_health_goes_deep_for_who_may_read(store: Store) -> None:
    tokens = BearerTokens(
        {
            "reader-token": Actor("r", Permission.READ),
            "admin-token": Actor("a", Permission.ADMIN),
        }
    )
    api = Api(store, authorize=tokens)
    assert deep(api)[0] == 401
    assert deep(api, authorization="Bearer wrong-token")[0] == 401
    status, told = deep(api, authorization="Bearer reader-token")
    checks = {check["check"]: check["state"] for check in told["checks"]}
    assert (status, told["state"]) == (200, "problem")
    assert checks.keys() == doctor.CHECKS.keys() - {"access"}
    _, told = deep(api, authorization="Bearer admin-token")
    assert {check["check"] for check in told["checks"]} == doctor.CHECKS.keys()


def test_health_goes_deep_on_every_adapter(client: Any) -> None:
    path = "/api/migration/health?deep=1"
    assert client("GET", path, token=None).status == 401
    assert client("GET", path.replace("1", "perhaps")).status == 422
    told = client("GET", path)
    assert (told.status, told.json["data"]["state"]) == (200, "problem")


def test_health_tells_that_everybody_is_let_in(store: Store) -> None:
    api = Api(store, authorize=lambda request: Actor("anybody", Permission.ADMIN))
    _, told = deep(api, accept="*/*", host="localhost")
    assert {check["check"]: check["state"] for check in told["checks"]}["access"] == "problem"
    _, told = deep(api, x_api_key="something of the host's")
    assert {check["check"]: check["state"] for check in told["checks"]}["access"] == "ok"


def test_the_worst_is_what_counts() -> None:
    states = [Finding("a", "ok", ""), Finding("b", "warning", "")]
    assert (worst([]), worst(states[:1]), worst(states)) == ("ok", "ok", "warning")
    assert worst([*states, Finding("c", "problem", "")]) == "problem"
