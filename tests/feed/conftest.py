"""The feed: its core on both databases, and real servers of both adapters."""

import os

# Nothing but the core is installed there.
collect_ignore = (
    ["test_served.py", "test_sockets.py"] if os.environ.get("EXPRESSO_TEST_BARE") else []
)
