"""`./serve` and `./run-tests` on machines that lack something: a sentence, never a traceback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHELL = shutil.which("sh") or "/bin/sh"


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """As much of a clone as the commands read before anything is installed."""
    for name in ("serve", "run-tests", "pyproject.toml"):
        shutil.copy2(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for adapter in ("flask", "fastapi"):
        (tmp_path / "adapters" / adapter).mkdir(parents=True)
        source = ROOT / "adapters" / adapter / "pyproject.toml"
        shutil.copy2(source, tmp_path / "adapters" / adapter)
    return tmp_path


def refused(*command: str | Path, **environ: str) -> str:
    """What a command that cannot go on says."""
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("name", ["serve", "run-tests"])
def test_without_python_it_says_which_one(clone: Path, name: str) -> None:
    """An empty PATH but for what the script itself needs."""
    programs = clone / "programs"
    programs.mkdir()
    for program in ("sh", "dirname"):
        (programs / program).symlink_to(shutil.which(program) or f"/bin/{program}")
    told = refused(SHELL, clone / name, PATH=str(programs))
    assert "Python 3.11 or newer is needed" in told


@pytest.mark.parametrize("verb", ["serve", "test"])
def test_without_the_venv_module_it_says_what_to_install(clone: Path, verb: str) -> None:
    """Debian keeps it in a package of its own; without apt-get the system's is named."""
    program = (
        "import runpy, sys; sys.modules['ensurepip'] = None; "
        f"sys.argv = ['dev.py', {verb!r}]; "
        f"runpy.run_path({str(clone / 'tools' / 'dev.py')!r}, run_name='__main__')"
    )
    told = refused(sys.executable, "-c", program, PATH=str(clone))
    assert told.startswith("Python has no venv module here.")
    assert f"python3.{sys.version_info.minor}-venv" in told
    assert not (clone / ".venv").exists()


def test_without_network_it_says_so_and_can_be_repeated(clone: Path) -> None:
    """What pip could not get is not remembered as installed."""
    program = [sys.executable, clone / "tools" / "dev.py", "serve"]
    nowhere = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": str(clone)}
    for _ in range(2):
        told = refused(*program, **nowhere)
        assert "Is there a network? Repeat the command to try again." in told
    assert not (clone / ".venv" / "installed-for").exists()
