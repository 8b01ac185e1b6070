"""Both adapters, for what happens when a server is mounted on a database to be adopted."""

from mounted import mount

__all__ = ["mount"]
