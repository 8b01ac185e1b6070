"""Figures as people say them."""

from __future__ import annotations

import datetime as dt

__all__ = ["age", "size"]


def age(span: dt.timedelta) -> str:
    """A span of time in the one unit that people would use."""
    seconds = span.total_seconds()
    if seconds < 0:
        return "in the future"
    for unit, length, below in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 2 * 86400)):
        if seconds < below:
            return f"{int(seconds // length)} {unit}"
    return f"{int(seconds // 86400)} days"


def size(count: int) -> str:
    """Bytes as people read them."""
    value = float(count)
    for unit in ("B", "KB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
