"""Databases: what is in them, how to talk to them, and what differs between them."""
