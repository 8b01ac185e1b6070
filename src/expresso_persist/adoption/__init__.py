"""Adopting a database of the replaced system: its tables carried over, and kept beside."""

from __future__ import annotations

from expresso_persist.adoption.adopting import last_report, undo, upgrade
from expresso_persist.adoption.report import Adopted, Report, TableReport

__all__ = ["Adopted", "Report", "TableReport", "last_report", "undo", "upgrade"]
