"""What somebody at a terminal sees."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def seen(url: str, *words: str, columns: int) -> str:
    """What a terminal of that many columns shows."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm"}
    command = [sys.executable, "-m", "expresso_persist", *words, "--database", url]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        parts: list[bytes] = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux says so when the other end is closed
                break
            if not part:
                break
            parts.append(part)
        os.close(ours)
        assert process.wait() == 0
    return b"".join(parts).decode()
