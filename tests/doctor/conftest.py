"""The endpoints on both adapters."""

from mounted import client, mount

__all__ = ["client", "mount"]
