"""The one way to write, and the trail it leaves."""
