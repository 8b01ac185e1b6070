"""What is installed with the library: its licences, its known weaknesses, its list.

    python tools/supply_chain.py licences
    python tools/supply_chain.py audit
    python tools/supply_chain.py sbom dist/
    python tools/supply_chain.py checksums dist/

Each but the last looks at a fresh environment with the three distributions, all their extras,
and nothing else. `tox -e security` and `tox -e dist` call it, with the tools it needs.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "expresso-persist": ROOT,
    "expresso-persist-flask": ROOT / "adapters" / "flask",
    "expresso-persist-fastapi": ROOT / "adapters" / "fastapi",
}
# All that may be installed beside an MIT library without a duty for those who use it.
# LGPL is for psycopg alone: a wheel of its own that is imported and can be replaced, nothing
# of it is copied here or changed, and that is all the LGPL asks for.
ALLOWED = {
    "0BSD", "Apache Software License", "Apache-2.0", "Apache-2.0 OR BSD-3-Clause", "BSD License",
    "BSD-2-Clause", "BSD-3-Clause", "ISC", "ISC License (ISCL)", "MIT", "MIT License", "MIT-0",
    "PSF-2.0", "Python Software Foundation License", "ZPL-2.1", "Zope Public License",
    "Apache-2.0 AND BSD-2-Clause", "Apache-2.0 OR BSD-2-Clause", "MIT AND PSF-2.0",
}  # fmt: skip
ALSO = {
    "psycopg": {"LGPL-3.0-only", "GNU Lesser General Public License v3 (LGPLv3)"},
    "pyrage": {"UNKNOWN"},  # its metadata is silent; the licence in its repository is MIT
    "psycopg-binary": {"LGPL-3.0-only", "GNU Lesser General Public License v3 (LGPLv3)"},
}
OURS = (*FOLDERS, "pip", "setuptools")
UNKNOWN = 75  # EX_TEMPFAIL: neither good nor bad, and never a pass


def tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False
    )


def fresh_environment(folder: Path) -> Path:
    """The Python of an environment with what a user installs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    wanted: list[str] = []
    for path in FOLDERS.values():
        described = tomllib.loads((path / "pyproject.toml").read_text())["project"]
        wanted.append(f"{path}[{','.join(described.get('optional-dependencies', {}))}]")
    subprocess.run([python, "-m", "pip", "install", "-q", *wanted], check=True)
    return python


def refused(found: list[dict[str, str]]) -> list[str]:
    """The packages whose licence is not among those allowed."""
    return [
        f"{package['Name']} {package['Version']}: {package['License']}"
        for package in found
        if package["Name"].lower() not in OURS
        and not {*package["License"].split("; ")}
        <= ALLOWED | ALSO.get(package["Name"].lower(), set())
    ]


def licences(python: Path) -> int:
    done = tool("piplicenses", f"--python={python}", "--from=mixed", "--format=json")
    found = json.loads(done.stdout)
    bad = refused(found)
    print(f"{len(found)} packages, {len(bad)} with a licence that is not allowed", *bad, sep="\n")
    return 1 if bad or not found else 0


def judged(report: dict[str, Any]) -> tuple[list[str], list[str]]:
    """What has known weaknesses, and what could not be looked up."""
    weak, unasked = [], []
    for package in report["dependencies"]:
        if package["name"] in OURS:
            continue
        if "skip_reason" in package:
            unasked.append(package["name"])
        weak += [f"{package['name']}: {known['id']}" for known in package.get("vulns", ())]
    return weak, unasked


def audit(python: Path) -> int:
    """Ask for known weaknesses; pip-audit itself passes what it could not ask about."""
    (packages,) = (python.parent.parent / "lib").glob("python*/site-packages")
    done = tool("pip_audit", "--path", str(packages), "--format=json", "--progress-spinner=off")
    try:
        weak, unasked = judged(json.loads(done.stdout))
    except ValueError:
        weak, unasked = [], ["anything: " + (done.stderr.strip() or "no answer")[-300:]]
    if weak:
        print("KNOWN WEAKNESSES:", *weak, sep="\n")
        return 1
    if unasked:
        print("NOT AUDITED: the advisory service did not answer for", *unasked[:10], sep="\n")
        print(f"({len(unasked)} in all). This says nothing, neither good nor bad.")
        return UNKNOWN
    print("no known weaknesses")
    return 0


def sbom(python: Path, folder: Path) -> int:
    """Write one list for each distribution; what they share is in each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in FOLDERS.items():
        version = tomllib.loads((path / "pyproject.toml").read_text())["project"]["version"]
        file = folder / f"{name}-{version}.cdx.json"
        done = tool(
            "cyclonedx_py", "environment", str(python), "--pyproject",
            str(path / "pyproject.toml"), "--mc-type", "library", "--output-reproducible",
            "--of", "JSON", "-o", str(file),
        )  # fmt: skip
        if done.returncode:
            print(done.stderr)
            return 1
        print(file)
    return 0


def checksums(folder: Path) -> int:
    """Write SHA256SUMS for `sha256sum -c`."""
    files = sorted(path for path in folder.iterdir() if path.name != "SHA256SUMS")
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(lines))
    return 0 if files else 1


def main() -> int:
    verb, *rest = sys.argv[1:]
    if verb == "checksums":
        return checksums(Path(rest[0]))
    with tempfile.TemporaryDirectory() as folder:
        python = fresh_environment(Path(folder))
        if verb == "sbom":
            return sbom(python, Path(rest[0]))
        return {"licences": licences, "audit": audit}[verb](python)


if __name__ == "__main__":
    sys.exit(main())
