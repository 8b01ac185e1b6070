"""One command to serve, one to test, from a plain clone: `./serve` and `./run-tests`.

Standard library only, because it runs before anything is installed. Each command keeps a
virtual environment of its own in the clone (`.venv`, `.venv-test`); delete it to start over.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DISTRIBUTIONS = [ROOT, ROOT / "adapters" / "flask", ROOT / "adapters" / "fastapi"]


def say(text: str) -> None:
    print(f"\N{BLACK RIGHT-POINTING SMALL TRIANGLE} {text}", file=sys.stderr, flush=True)


def run(*command: object, **options: Any) -> None:
    subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **options)


def succeeds(*command: str) -> bool:
    """Whether a command that may fail did not; what it says stays with it."""
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def ensure_venv_module() -> None:
    """Debian ships Python without what `python3 -m venv` needs; get it, or say how."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        advice = f"Python has no venv module here. Run: apt-get install {package}"
        if shutil.which("apt-get") is None:
            sys.exit(f"{advice} (or your system's equivalent), then repeat the command.")
        prefix = [] if os.geteuid() == 0 else ["sudo", "-n"]
        if prefix and not succeeds("sudo", "-n", "true"):
            sys.exit(f"{advice} as root, then repeat the command.")
        say(f"installing {package}, which Debian keeps apart from Python")
        apt = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        if not (succeeds(*apt, "update") and succeeds(*apt, "install", "-y", package)):
            sys.exit(f"That did not work. {advice} as root, then repeat the command.")


class Environment:
    """A virtual environment in the clone that remembers what was installed into it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.folder = ROOT / name
        self.binaries = self.folder / "bin"
        self._stamp = self.folder / "installed-for"

    def create(self) -> None:
        moved = self._stamp.exists() and not self._stamp.read_text().startswith(f"{ROOT}\n")
        # The commands in it name their Python with its whole path.
        if moved or not all((self.binaries / name).exists() for name in ("python", "pip")):
            ensure_venv_module()
            say(f"creating {self.name}")
            # A process of its own: this one may have started before the module was installed.
            run(sys.executable, "-m", "venv", "--clear", self.folder)

    @property
    def up_to_date(self) -> bool:
        return self._stamp.exists() and self._stamp.read_text() == self._fingerprint()

    def remember(self) -> None:
        self._stamp.write_text(self._fingerprint())

    def pip(self, *arguments: object) -> None:
        quiet = ["-q", "--disable-pip-version-check", "--no-input"]
        try:
            run(self.binaries / "python", "-m", "pip", "install", *quiet, *arguments)
        except subprocess.CalledProcessError:
            sys.exit(
                "pip could not install what is needed; its reason is above. "
                "Is there a network? Repeat the command to try again."
            )

    def _fingerprint(self) -> str:
        digest = hashlib.sha256(sys.version.encode())
        for distribution in DISTRIBUTIONS:
            digest.update((distribution / "pyproject.toml").read_bytes())
        return f"{ROOT}\n{digest.hexdigest()}"


def sources_now() -> str:
    """Digest of what the wheels are made from, to see whether they have to be made again."""
    digest = hashlib.sha256()
    for distribution in DISTRIBUTIONS:
        files = [distribution / "pyproject.toml", distribution / "README.md", ROOT / "LICENSE"]
        files += sorted(f for f in (distribution / "src").rglob("*") if f.suffix != ".pyc")
        for file in files:
            if file.is_file():
                digest.update(f"{file.relative_to(ROOT)} {file.stat().st_size}\n".encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


def install_web_tools() -> None:
    """Install what makes and tests the JavaScript, where there is an npm (about ten seconds)."""
    folder = ROOT / "tools" / "web"
    wanted = (folder / "package-lock.json").read_bytes()
    stamp = folder / "node_modules" / "installed-for"
    npm = shutil.which("npm")
    if npm is None or (stamp.exists() and stamp.read_bytes() == wanted):
        return
    say("installing the JavaScript tools")
    quiet = ["--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error"]
    if succeeds(npm, "ci", "--prefix", str(folder), *quiet):
        stamp.write_bytes(wanted)
    else:
        say("npm could not install them: the tests that need them are skipped, or fail on CI")


def _with_server(distribution: Path) -> str:
    """An adapter with the server that `serve` runs it under."""
    return f"{distribution}[serve]" if distribution != ROOT else str(distribution)


def serve(arguments: list[str]) -> None:
    """Install what the server needs, then become the server."""
    environment = Environment(".venv")
    environment.create()
    if not environment.up_to_date:
        say("installing expresso-persist and its adapters (once, about a minute)")
        # Editable, so that a `git pull` is all an update takes.
        environment.pip(*(part for path in DISTRIBUTIONS for part in ("-e", _with_server(path))))
        environment.remember()
    command = environment.binaries / "expresso-persist"
    os.execv(command, [str(command), "serve", *arguments])


def test(arguments: list[str]) -> None:
    """Lint, types, architecture and the whole suite, against built and installed wheels."""
    started = time.monotonic()
    environment = Environment(".venv-test")
    environment.create()
    if not environment.up_to_date:
        say("installing the test tools (once, a few minutes)")
        environment.pip("--upgrade", "pip>=25.1")  # the first with dependency groups
        environment.pip("--group", "pyproject.toml:test", *DISTRIBUTIONS)
        environment.remember()
    installed, sources = environment.folder / "sources", sources_now()
    if not installed.exists() or installed.read_text() != sources:
        say("building and installing the three wheels")
        environment.pip("--force-reinstall", "--no-deps", "--no-build-isolation", *DISTRIBUTIONS)
        installed.write_text(sources)

    install_web_tools()
    binaries = environment.binaries
    steps: dict[str, list[object]] = {
        "lint": [binaries / "ruff", "check"],
        "format": [binaries / "ruff", "format", "--check"],
        "types": [binaries / "mypy"],
        "architecture": [binaries / "lint-imports"],
    }
    failed: list[str] = []
    if not arguments:
        for name, command in steps.items():
            say(name)
            try:
                run(*command)
            except subprocess.CalledProcessError:
                failed.append(name)
    say("tests")
    workers = ["-n", str(min(4, os.cpu_count() or 1)), "--dist", "loadfile"]
    variables = {**os.environ, "EXPRESSO_TEST_INSTALLED": "1"}
    try:
        run(binaries / "python", "-m", "pytest", *(arguments or workers), env=variables)
    except subprocess.CalledProcessError as error:
        failed.append("tests" if error.returncode != 5 else "tests (none were run)")
    say(f"{time.monotonic() - started:.0f} seconds")
    if failed:
        sys.exit(f"FAILED: {', '.join(failed)}")
    say("everything passed")


def main() -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; this is {sys.version.split()[0]}.")
    # Everything after the verb, --help included, belongs to the server or to pytest.
    verb, *rest = sys.argv[1:]
    try:
        {"serve": serve, "test": test}[verb](rest)
    except subprocess.CalledProcessError as error:
        sys.exit(f"This command failed ({error.returncode}): {' '.join(map(str, error.cmd))}")
    except KeyboardInterrupt:
        say("stopped; repeat the command to go on")
        sys.exit(130)


if __name__ == "__main__":
    main()
