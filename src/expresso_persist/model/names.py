"""What a tenant may be called."""

from __future__ import annotations

import unicodedata

from expresso_persist.errors import InvalidInput
from expresso_persist.model.secrets import refuse_text

__all__ = ["alike", "check_tenant"]


def check_tenant(name: str) -> str:
    """Give a tenant's name back that every database, log and file can hold.

    Raises:
        InvalidInput: It is empty, too long, a secret, or has characters that cannot be stored
            or seen.
    """
    given: object = name
    if not isinstance(given, str) or not 0 < len(name) <= 256:
        raise InvalidInput("A tenant's name has 1 to 256 characters.")
    if name != name.strip() or not name.isprintable():
        raise InvalidInput("A tenant's name has no control characters, and no blanks at its ends.")
    refuse_text(tenant=name)
    return name


def alike(name: str) -> str:
    """What two names have in common that people would take for one."""
    return unicodedata.normalize("NFKC", name).casefold()
