"""Copies to a mirror, and stops for ever in the middle of the first file."""

from __future__ import annotations

import sys
import time

from expresso_persist import Store
from expresso_persist.backups import BackupManager, Mirror
from expresso_persist.backups.mirroring import _Beat

url, place = sys.argv[1:]


def hang(_beat: _Beat) -> None:
    """Stand where a slow network would keep us: after a piece was written."""
    if sys._getframe(1).f_code.co_name == "put":
        print("writing", flush=True)
        time.sleep(3600)


_Beat.__call__ = hang  # type: ignore[method-assign]
with Store(url) as store:
    BackupManager(store.database, store.inventory, mirrors=[Mirror(place)]).sync_mirrors()
