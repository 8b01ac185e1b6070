"""A store whose tables something else drops, over both adapters and both databases."""

from mounted import client, mount

__all__ = ["client", "mount"]
