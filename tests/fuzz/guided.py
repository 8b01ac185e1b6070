"""Coverage-guided fuzzing of one target: `python tests/fuzz/guided.py importer -runs=100000`.

The rest of the command line is libFuzzer's. An input over a second is a finding (`-timeout=1`).
"""

from __future__ import annotations

import gc
import itertools
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
with atheris.instrument_imports(include=["expresso_persist"]):
    from fuzz_targets import TARGETS, seeds


def unwatched(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Keep the collector from what atheris itself never lets go of, some 10 KB an input.

    It is what the comparisons of columns give; going through all of it takes seconds.
    """
    inputs = itertools.count(1)

    def run(data: bytes) -> None:
        target(data)
        if next(inputs) % 1000 == 0:
            gc.collect()
            gc.freeze()

    return run


def main() -> None:
    name, *options = sys.argv[1:]
    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds(name)):
            (Path(corpus) / f"seed-{number}").write_bytes(data)
        found = f"-artifact_prefix={Path(__file__).parent / 'found'}/{name}-"
        defaults = ["-timeout=1", "-max_len=20000", "-rss_limit_mb=6000", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *defaults, found, *options, corpus], unwatched(TARGETS[name]))
        atheris.Fuzz()


if __name__ == "__main__":
    main()
