"""Every test here runs on both adapters and both databases."""

import os

from mounted import client, mount

__all__ = ["client", "mount"]

# The generator of requests is not installed where nothing but the core is.
_FRAMEWORKS = ["test_description.py", "test_other_frameworks.py"]
collect_ignore = _FRAMEWORKS if os.environ.get("EXPRESSO_TEST_BARE") else []
