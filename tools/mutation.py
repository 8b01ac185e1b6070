"""Changes the rooms that guard data, one small fault at a time: do their tests notice?

`python tools/mutation.py` runs every room, `python tools/mutation.py db/leases` that one.
It prints a line per room and the changes that no test noticed, as differences. Each room is
run in a copy of the sources, with the test files that the table names; SQLite only, so that
a run needs no server.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "src/expresso_persist"
COPIED = (
    "src",
    "tests",
    "docs",
    "benchmarks",
    "tools",
    "adapters",
    "README.md",
    "CHANGELOG.md",
    "pyproject.toml",
)

# The room (a module of the package) and the tests that are about it, without "tests/".
ROOMS: dict[str, tuple[str, ...]] = {
    "backups/rotation": ("backups/test_rotation_edges.py", "backups/test_rotation.py"),
    "model/operations": ("repository/test_operations.py", "property/test_plan.py"),
    "model/secrets": ("secrets/test_vectors.py", "secrets/test_parts.py"),
    "model/plain_text": ("secrets/test_vectors.py", "secrets/test_disguises.py"),
    "tenants/tokens": ("access/test_token_details.py", "access/test_tokens.py"),
    "db/leases": ("core/test_lease_rows.py",),
    "commits/idempotency": ("repository/test_keyed_requests.py", "backups/test_once.py"),
    "backups/verification": ("backups/test_verification.py",),
    "backups/restore": ("backups/test_restore_parts.py",),
    "commits/repository": ("repository/test_reads_and_writes.py", "repository/test_idempotency.py"),
    "commits/writing": ("repository/test_reads_and_writes.py", "repository/test_idempotency.py"),
    "commits/trail": ("repository/test_reads_and_writes.py", "repository/test_feed.py"),
    "commits/offers": ("repository/test_offer_rules.py", "repository/test_offers.py"),
    "commits/offer_rules": ("repository/test_offer_rules.py", "repository/test_offers.py"),
    "documents/merge": ("importing/test_differences.py", "importing/test_merge.py"),
    "importing/importer": (
        "importing/test_steps.py",
        "importing/test_repetitions.py",
        "importing/test_safety_backups.py",
    ),
    "importing/request": ("importing", "core/test_importer.py"),
    "importing/union": ("importing", "property/test_unions.py"),
    "importing/alignment": ("importing", "property/test_unions.py"),
    "importing/lookalikes": ("importing/test_lookalikes.py", "property/test_items.py"),
    "importing/reading": ("importing/test_reading.py",),
    "tenants/tenancy": (
        "tenants/test_renamed_rows.py",
        "tenants/test_tenancy.py",
        "access/test_names.py",
    ),
}


def run(room: str) -> bool:
    """Run one room in a copy of its own; print its score and what survived."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, copy / name)
        settings = copy / "pyproject.toml"
        header = "[tool.mutmut]\n"
        chosen = [f"tests/{name}" for name in ROOMS[room] if (copy / "tests" / name).exists()]
        settings.write_text(
            settings.read_text("utf-8").replace(
                header,
                f"{header}only_mutate = {[f'{PACKAGE}/{room}.py']!r}\n"
                f"pytest_add_cli_args_test_selection = {chosen!r}\n",
            ),
            encoding="utf-8",
        )
        environment = {**os.environ, "HYPOTHESIS_PROFILE": "mutation", "PYTHONPATH": ""}
        command = [sys.executable, __file__, "--in-copy", room]
        return subprocess.run(command, cwd=copy, env=environment, check=False).returncode == 0


def run_here(room: str) -> None:
    """Run mutmut in the current folder, which is a copy."""
    import libcst as cst
    import mutmut.__main__ as mutmut
    from mutmut.mutation import mutators
    from mutmut.mutation.file_mutation import mutation_operators

    def is_sentence(node: cst.CSTNode) -> bool:
        return not isinstance(node, cst.SimpleString) or " " in node.value

    def strings(node: cst.BaseString) -> list[cst.CSTNode]:
        # One change of a name is enough.
        return [] if is_sentence(node) else [*mutators.operator_string(node)][:1]

    def arguments(node: cst.Call) -> list[cst.CSTNode]:
        def sentences(call: cst.Call) -> int:
            values = [argument.value for argument in call.args]
            return sum(isinstance(v, cst.BaseString) and is_sentence(v) for v in values)

        changes = mutators.operator_arg_removal(node)
        return [change for change in changes if sentences(change) == sentences(node)]

    # What a message says is reviewed by people, not held by tests word for word.
    instead = {mutators.operator_string: strings, mutators.operator_arg_removal: arguments}
    mutation_operators[:] = [(kind, instead.get(op, op)) for kind, op in mutation_operators]
    # For the processes that tests start.
    sources = ("src", "adapters/flask/src", "adapters/fastapi/src")
    os.environ["PYTHONPATH"] = os.pathsep.join(str(Path.cwd() / "mutants" / s) for s in sources)
    log = Path("mutmut.log")
    with log.open("w") as aside:  # a spinner per mutant is no report
        shown, sys.stdout, sys.__stdout__ = sys.stdout, aside, aside  # type: ignore[misc]
        try:
            mutmut._run((), int(os.environ.get("MUTATION_PROCESSES", "1")))  # noqa: SLF001
        except SystemExit:
            aside.flush()
            sys.exit(f"{room}: its tests do not pass as they are.\n{log.read_text()[-4000:]}")
        finally:
            sys.stdout = sys.__stdout__ = shown  # type: ignore[misc]
    found: dict[str, list[str]] = {}
    for path in mutmut.walk_mutatable_files():
        data = mutmut.SourceFileMutationData(path=path)
        data.load()
        for name, code in data.exit_code_by_key.items():
            found.setdefault(mutmut.status_by_exit_code[code], []).append(name)
    noticed = sum(len(found.get(status, ())) for status in ("killed", "timeout", "segfault"))
    total = sum(map(len, found.values()))
    counts = ", ".join(f"{status} {len(names)}" for status, names in sorted(found.items()))
    for status, names in found.items():
        if status in ("survived", "no tests", "suspicious"):
            for name in names:
                print(f"## {status}: {name}")
                lines = mutmut.get_diff_for_mutant(name).splitlines()
                print(*(line for line in lines if line[:3] not in ("---", "+++")), sep="\n")
    print(f"{room}: {noticed} of {total} noticed ({noticed / max(total, 1):.1%}; {counts})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in-copy"]:
        run_here(sys.argv[2])
    else:
        chosen = sys.argv[1:] or list(ROOMS)
        if unknown := set(chosen) - set(ROOMS):
            sys.exit(
                f"No room is called {', '.join(sorted(unknown))}; there are {', '.join(ROOMS)}."
            )
        done = [run(room) for room in chosen]
        sys.exit(0 if all(done) else 1)
