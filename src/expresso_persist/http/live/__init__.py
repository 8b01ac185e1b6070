"""Connections that stay open: long polls, server-sent events and WebSockets of the feed."""
