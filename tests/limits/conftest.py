"""Every test with ``mount`` or ``client`` runs on both adapters and both databases."""

import os

from mounted import client, mount

__all__ = ["client", "mount"]

collect_ignore = ["test_bodies.py"] if os.environ.get("EXPRESSO_TEST_BARE") else []
