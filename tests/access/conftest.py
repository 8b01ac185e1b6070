"""Every test with ``mount`` or ``client`` runs on both adapters and both databases."""

from mounted import client, mount

__all__ = ["client", "mount"]
