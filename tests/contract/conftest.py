"""Every test here runs on both adapters and both databases."""

import os

from mounted import client, mount

__all__ = ["client", "mount"]

# The generator of requests is not installed where nothing but the core is.
collect_ignore = ["test_description.py"] if os.environ.get("EXPRESSO_TEST_BARE") else []
