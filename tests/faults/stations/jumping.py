"""``python -m expresso_persist`` on a machine whose clock jumps: a file says how far it is off."""

from __future__ import annotations

import runpy
import sys
import threading
import time
from pathlib import Path

import time_machine


def follow(file: Path) -> None:
    """Set the clock whenever the file says something else; never ends."""
    travelling, known = None, "0"
    while True:
        try:
            wanted = file.read_text() or known
        except OSError:
            wanted = known
        if wanted != known:
            if travelling is not None:
                travelling.stop()
            # The real clock is read while nobody travels.
            travelling = time_machine.travel(time.time() + int(wanted), tick=True)
            travelling.start()
            known = wanted
        time.sleep(0.1)


if __name__ == "__main__":
    clock = sys.argv.pop(1)
    threading.Thread(target=follow, args=(Path(clock),), daemon=True).start()
    sys.argv[0] = "expresso-persist"
    runpy.run_module("expresso_persist", run_name="__main__")
