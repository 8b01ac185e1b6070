"""Coverage-guided fuzzing of one target: `python tests/fuzz/guided.py importer -runs=100000`.

The rest of the command line is libFuzzer's. An input over a second is a finding (`-timeout=1`).
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
with atheris.instrument_imports(include=["expresso_persist"]):
    from fuzz_targets import TARGETS, seeds


def main() -> None:
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(name)):
            (Path(corpus) / f"seed-{number}").write_bytes(data)
        found = f"-artifact_prefix={Path(__file__).parent / 'found'}/{name}-"
        # atheris itself keeps what each comparison of a column gives: 10 KB an input in the end.
        defaults = ["-timeout=1", "-max_len=20000", "-rss_limit_mb=6000", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *defaults, found, *options, corpus], TARGETS[name])
        atheris.Fuzz()


if __name__ == "__main__":
    main()
