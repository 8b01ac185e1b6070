"""Requests about stock and settings, and what they do."""
