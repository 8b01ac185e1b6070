"""Hosts as people write them; left out where no framework is installed on purpose."""

import os

collect_ignore_glob = ["test_*.py"] if os.environ.get("EXPRESSO_TEST_BARE") else []
