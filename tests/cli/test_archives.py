"""backup export and backup import: files, pipes, keys and passphrases."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest
from click.testing import CliRunner, Result

import archives
from expresso_persist.cli import cli
from terminal import seen

Run = Callable[..., Result]


@pytest.fixture
def made(run: Run, answer: Callable[..., Any], dump_file: str) -> str:
    """A database with a dump and a backup of it; its id."""
    run("init")
    run("import", dump_file)
    made: dict[str, Any] = answer("backup", "create", "--notes", "before the doors open")
    backup_id: str = made["id"]
    return backup_id


@pytest.fixture
def elsewhere(tmp_path: Path) -> Run:
    """Run a verb on a machine that has nothing but the archive."""

    def call(*words: str, code: int = 0, **options: Any) -> Result:
        database = f"sqlite:///{tmp_path}/new.db"
        result = CliRunner().invoke(cli, [*words, "--database", database], **options)
        assert result.exit_code == code, (result.stdout, result.stderr)
        assert "Traceback" not in result.output
        return result

    return call


def dumped(run: Run) -> Any:
    return json.loads(run("export").stdout)["localStorage"]


def test_a_backup_travels_as_a_file(
    run: Run, answer, elsewhere: Run, made: str, tmp_path: Path, monkeypatch
) -> None:
    """Named for its time; read where there is no database yet; restored there."""
    monkeypatch.chdir(tmp_path)
    told = answer("backup", "export", "latest")
    file = Path(told["file"])
    assert file.name.endswith(f"-{made[:8]}.expresso.zst")
    assert (told["bytes"], told["backup"]["id"]) == (file.stat().st_size, made)
    assert archives.read(file.read_bytes()).header["backup"]["notes"] == "before the doors open"
    stored = elsewhere("backup", "import", str(file)).stdout
    assert f"Stored and verified as backup {made}" in stored
    assert f"backup restore {made}" in stored
    elsewhere("backup", "restore", made, "--yes")
    assert dumped(elsewhere) == dumped(run)
    assert "imported" in elsewhere("backup", "list").stdout


def test_a_file_is_replaced_on_demand_only(run: Run, made: str, tmp_path: Path) -> None:
    """A mistyped name costs no earlier archive."""
    file = tmp_path / "event.expresso.zst"
    file.write_text("something else")
    refused = run("backup", "export", made, "-o", str(file), code=1)
    assert "--force" in refused.stderr
    assert file.read_text() == "something else"
    run("backup", "export", made, "-o", str(file), "--force")
    assert archives.read(file.read_bytes())
    missing = run("backup", "export", made, "-o", str(tmp_path / "no" / "place"), code=1)
    assert "No such file" in missing.stderr


def test_an_archive_goes_through_a_pipe(made: str, elsewhere: Run, database_url: str) -> None:
    """Standard output has the archive and nothing else; standard input takes it."""
    command = [sys.executable, "-m", "expresso_persist", "backup"]
    archive = subprocess.run(
        [*command, "export", made, "-o", "-", "--database", database_url],
        capture_output=True,
        check=True,
    )
    assert archive.stderr == b""
    assert archives.read(archive.stdout)
    assert made in elsewhere("backup", "import", "-", input=archive.stdout).stdout
    elsewhere("backup", "import", "-", input=archive.stdout[:-1], code=1)


def test_keys_open_what_was_encrypted_for_them(
    run: Run, elsewhere: Run, made: str, tmp_path: Path
) -> None:
    """Two recipients, a file of age for each; nobody else, and no secret in a message."""
    keys = [pyrage.x25519.Identity.generate() for _ in range(3)]
    files = []
    for number, key in enumerate(keys):
        files.append(tmp_path / f"key{number}.txt")
        files[-1].write_text(f"# created: today\n# public key: {key.to_public()}\n{key}\n")
    archive = tmp_path / "event.age"
    recipients = [f"--recipient={key.to_public()}" for key in keys[:2]]
    run("backup", "export", made, "-o", str(archive), *recipients)
    assert archive.read_bytes().startswith(b"age-encryption.org/v1\n")
    closed = elsewhere("backup", "import", str(archive), code=1)
    assert "encrypted" in closed.stderr
    wrong = elsewhere("backup", "import", str(archive), "--identity", str(files[2]), code=1)
    assert "cannot be decrypted" in wrong.stderr
    assert str(keys[2]) not in wrong.output
    no_key = elsewhere("backup", "import", str(archive), "--identity", str(archive), code=1)
    assert "private key" in no_key.stderr
    assert "imported" not in elsewhere("backup", "list").stdout
    words = [f"--identity={file}" for file in (files[2], files[1])]
    assert made in elsewhere("backup", "import", str(archive), *words).stdout
    bad = run("backup", "export", made, "--recipient", "me", "-o", str(tmp_path / "x"), code=1)
    assert "public key" in bad.stderr
    assert not (tmp_path / "x").exists()


def test_a_passphrase_comes_from_the_environment(
    made: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Run, database_url: str
) -> None:
    """Never from the command line, which others can see; and it has to be the right one."""
    asked = run("backup", "export", made, "--passphrase", "-o", str(tmp_path / "x"), code=2)
    assert "EXPRESSO_PERSIST_PASSPHRASE" in asked.stderr
    monkeypatch.setenv("EXPRESSO_PERSIST_PASSPHRASE", "")
    run("backup", "export", made, "--passphrase", "-o", str(tmp_path / "x"), code=1)
    if not database_url.startswith("sqlite"):
        return  # scrypt takes its second and its gigabyte on one database only
    monkeypatch.setenv("EXPRESSO_PERSIST_PASSPHRASE", "correct horse")
    archive = str(tmp_path / "event.age")
    told = run("backup", "export", made, "--passphrase", "-o", archive)
    assert "correct horse" not in told.output
    assert made in run("backup", "import", archive, "--passphrase").stdout
    monkeypatch.setenv("EXPRESSO_PERSIST_PASSPHRASE", "battery staple")
    wrong = run("backup", "import", archive, "--passphrase", code=1)
    assert "cannot be decrypted" in wrong.stderr
    assert "staple" not in wrong.output


def test_what_is_damaged_is_told_in_a_sentence(
    run: Run, elsewhere: Run, made: str, tmp_path: Path
) -> None:
    archive = tmp_path / "event.expresso.zst"
    run("backup", "export", made, "-o", str(archive))
    data = bytearray(archive.read_bytes())
    data[-1] ^= 1
    archive.write_bytes(data)
    refused = elsewhere("backup", "import", str(archive), "--json", code=1)
    answer = json.loads(refused.stderr)
    assert (answer["success"], answer["code"]) == (False, "archive_refused")
    assert refused.stdout == ""
    assert "damaged" in answer["error"]
    elsewhere("backup", "import", str(tmp_path / "missing"), code=2)
    assert elsewhere("backup", "list", "--json").stdout.count('"id"') == 0
    elsewhere("backup", "import", "-", input=b"", code=1)


def test_another_tenants_archive_has_to_be_named(run: Run, made: str, tmp_path: Path) -> None:
    archive = str(tmp_path / "event.expresso.zst")
    run("backup", "export", made, "-o", archive)
    refused = run("backup", "import", archive, "--tenant", "bar", code=1)
    assert "another tenant" in refused.stderr
    run("backup", "import", archive, "--tenant", "bar", "--from-tenant", "default")
    assert dumped(lambda *words: run(*words, "--tenant", "bar")) != dumped(run)
    run("backup", "restore", "latest", "--yes", "--tenant", "bar")
    assert dumped(lambda *words: run(*words, "--tenant", "bar")) == dumped(run)


def test_progress_is_for_those_who_watch(
    run: Run, made: str, database_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    """On a terminal, up to the end; in a script nothing."""
    archive = str(tmp_path / "event.expresso.zst")
    assert run("backup", "export", made, "-o", archive).stderr == ""
    shown = seen(database_url, "backup", "export", made, "-o", archive, "--force", columns=80)
    assert "Writing" in shown
    assert "100%" in shown
    new = sqlite_url.replace("expresso.db", "new.db")
    shown = seen(new, "backup", "import", archive, columns=80)
    assert "Storing" in shown
    assert "100%" in shown
    assert made in shown
