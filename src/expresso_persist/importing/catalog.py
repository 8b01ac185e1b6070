"""What is known about localStorage keys: which are business data, which are not.

Pure. A key that no rule names is business data until shown otherwise: it is stored.
"""

from __future__ import annotations

import enum
import re

import attrs

from expresso_persist.model import secret_rules

__all__ = ["Entry", "KeyClass", "SETTING_KEYS", "classify"]


class KeyClass(enum.Enum):
    """Why a key is in the browser."""

    BUSINESS = "business data"
    PREFERENCE = "device preference"
    CACHE = "cache of server data"
    TRANSIENT = "transient interface state"
    SECRET = "a secret"  # noqa: S105 - names the class, is none


@attrs.frozen
class Entry:
    """What the catalog says of a key: its class and a sentence for the receipt."""

    key_class: KeyClass
    reason: str | None = None


SETTING_KEYS = frozenset(
    {
        "branding_settings",
        "coffee_cue_barista_settings",
        "coffee_cue_settings",
        "coffee_system_branding",
        "coffee_system_config",
        "coffee_system_settings",
        "messageServiceSettings",
        "sms_settings",
        "system_settings",
    }
)
"""Documents that are stored as rows of ``system_settings``."""

_PREFERENCES = frozenset(
    """
        coffee_auto_refresh_enabled coffee_auto_refresh_interval coffee_cue_active_tab
        coffee_cue_app_mode coffee_cue_selected_station coffee_system_user connectionMode
        currentStationId demoMode demoSettings demoSpeed demo_mode_enabled dismissed_info_panels
        last_used_station_id station_id user
    """.split()  # noqa: SIM905 - a list of names reads better without quotes
)

_CACHES = frozenset(
    """
        app_version coffee_cue_hidden_demo_items demo_completed_orders demo_in_progress_orders
        demo_pending_orders demo_previous_orders fallback_completed_orders
        fallback_in_progress_orders fallback_pending_orders fallback_previous_orders
        fallback_stock_data html_etag html_last_modified organiser_interface_version
    """.split()  # noqa: SIM905 - a list of names reads better without quotes
)

_TRANSIENT = frozenset(
    """
        auth_error_count auth_error_refresh_needed coffee_connection_status
        coffee_connection_timestamp coffee_system_errors coffee_system_token_expiry
        demo_data_initialized expresso_persist_device_id fallback_data_available
        jwt_error_endpoints logout_message migration_completed migration_date offlineMode
        tokenExpiresIn tokenExpiry use_fallback_data
    """.split()  # noqa: SIM905 - a list of names reads better without quotes
)

_SECRET = Entry(KeyClass.SECRET, "A secret (a token or password): never stored.")
_PREFERENCE = Entry(KeyClass.PREFERENCE)
_CACHE = Entry(KeyClass.CACHE, "A cache or demo copy of server data; the server has the original.")
_STATE = Entry(KeyClass.TRANSIENT, "Transient interface state; the app makes it again.")
_BUSINESS = Entry(KeyClass.BUSINESS)

_BY_KEY: dict[str, Entry] = {
    **dict.fromkeys(secret_rules.KEYS, _SECRET),
    **dict.fromkeys(_PREFERENCES, _PREFERENCE),
    **dict.fromkeys(_CACHES, _CACHE),
    **dict.fromkeys(_TRANSIENT, _STATE),
}

_BY_PATTERN: tuple[tuple[re.Pattern[str], Entry], ...] = (
    (re.compile(r"\Aorders_cache_station_.+\Z"), _CACHE),
    (re.compile(r"\Aorders_(\d+|all)\Z"), _CACHE),
    (re.compile(r"anti_?flicker", re.IGNORECASE), _STATE),
)


def classify(key: str) -> Entry:
    """What the catalog says of a localStorage key."""
    entry = _BY_KEY.get(key)
    if entry is not None:
        return entry
    for pattern, by_pattern in _BY_PATTERN:
        if pattern.search(key):
            return by_pattern
    return _BUSINESS
