"""Backups: made in time, verified by restoring them, rotated with reasons, restored as commits."""

from expresso_persist.backups.archive import ArchiveLimits
from expresso_persist.backups.catalog import Backup
from expresso_persist.backups.host import HostTable, HostTables
from expresso_persist.backups.manager import BackupManager
from expresso_persist.backups.mirroring import Synced
from expresso_persist.backups.mirrors import Copy, Mirror
from expresso_persist.backups.restore_plan import RestorePlan
from expresso_persist.backups.rotation import Decision, Rotation
from expresso_persist.backups.verification import Verification

__all__ = [
    "ArchiveLimits",
    "Backup",
    "BackupManager",
    "Copy",
    "Decision",
    "HostTable",
    "HostTables",
    "Mirror",
    "RestorePlan",
    "Rotation",
    "Synced",
    "Verification",
]
