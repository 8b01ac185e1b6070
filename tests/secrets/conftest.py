"""The tests over HTTP run on both adapters and both databases."""

from mounted import client, mount

__all__ = ["client", "mount"]
